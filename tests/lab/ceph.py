# SPDX-License-Identifier: Apache-2.0
"""A small real Ceph on the loopback: one monitor, one manager, one BlueStore OSD on a sparse file; cephx is on.

``python -m tests.lab.ceph up|down|status|wipe|additions DIR``. Everything is below DIR, as the user who asks; ``up``
may be repeated and starts only what does not run, ``down`` keeps the data. ``additions`` writes what makes a cloud of
the lab keep volumes and images in it: ``python -m tests.lab up --additions FILE``. The programs are those of Debian's
ceph-mon, ceph-mgr and ceph-osd. The manager runs without its Python modules: only what it says of sizes is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.places import LAB, Home
from tests.lab.processes import LabError, Processes, wait_until
from tests.lab.spec import Additions

POOLS = ("images", "volumes", "vms")
PORTS_OF_A_CEPH = 30
PROGRAMS = ("ceph", "ceph-authtool", "ceph-mgr", "ceph-mon", "ceph-osd", "monmaptool", "rados", "rbd")
# What Nova's libvirt keeps the key of client.cinder under.
SECRET_UUID = "5b0a9d1c-1f3e-4f0a-9a57-7c1cbb1f4d10"
_PATIENCE = 90.0

# As Ceph's documents say it for OpenStack ("Block Devices and OpenStack"). client.coriolis is a worker's.
_VOLUMES = "profile rbd pool=volumes, profile rbd pool=vms, profile rbd pool=images"
_USERS: Mapping[str, tuple[str, ...]] = {
    "client.cinder": ("mon", "profile rbd", "osd", _VOLUMES, "mgr", "profile rbd"),
    "client.glance": ("mon", "profile rbd", "osd", "profile rbd pool=images", "mgr", "profile rbd pool=images"),
    "client.coriolis": ("mon", "profile rbd", "osd", _VOLUMES),
}
# Of the monitor's key ring: whose key lies where, and what it may do.
_SERVERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "mon.": ("mon", ("mon", "allow *")),
    "client.admin": ("", ("mon", "allow *", "osd", "allow *", "mgr", "allow *")),
    "osd.0": ("osd", ("mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *")),
    "mgr.a": ("mgr", ("mon", "allow profile mgr", "osd", "allow *")),
}
_DAEMONS = {"mon": ("ceph-mon", "a"), "mgr": ("ceph-mgr", "a"), "osd": ("ceph-osd", "0")}
# What is the same in every cluster.
_OPTIONS: Mapping[str, Any] = {
    "auth cluster required": "cephx",
    "auth service required": "cephx",
    "auth client required": "cephx",
    "auth allow insecure global id reclaim": "false",
    "public addr": "127.0.0.1",
    "cluster addr": "127.0.0.1",
    "ms bind ipv6": "false",
    "admin socket": "",  # the path of one may be too long
    "log to file": "false",
    "log to stderr": "true",
    "mon cluster log file": "/dev/null",
    "mon cluster log to file": "false",
    "mgr tick period": 1,
    "mgr stats period": 1,
    "mon tick interval": 1,
    "paxos propose interval": 0.1,
    "mon data avail warn": 1,
    "mon data avail crit": 1,
    "mon allow pool size one": "true",
    "mon allow pool delete": "true",
    "mon warn on pool no redundancy": "false",
    "osd objectstore": "bluestore",
    "osd pool default size": 1,
    "osd pool default min size": 1,
    "osd pool default pg autoscale mode": "off",
    "osd crush chooseleaf type": 0,
    "osd op num shards": 1,
    "osd op num threads per shard": 2,
    "bluestore block size": 64 << 30,  # of the sparse file
    "bluestore block create": "true",
    "bluestore cache autotune": "false",
    "bluestore cache size": 64 << 20,
}


def available() -> bool:
    return all(shutil.which(program) for program in PROGRAMS)


class Ceph:
    """One cluster. ``path``: its folder. Nothing is touched before a method is called."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path.resolve())
        self.conf = self.home.etc / "ceph.conf"
        self._processes = Processes(self.home.run, self.home.log, self.home.path)

    def keyring(self, user: str) -> Path:
        """Of a client such as ``admin``, ``cinder``, ``glance``, ``coriolis``."""
        return self.home.etc / f"ceph.client.{user}.keyring"

    def key(self, user: str) -> str:
        return self._run("ceph-authtool", "-p", "-n", f"client.{user}", str(self.keyring(user))).strip()

    @property
    def monitor(self) -> int:
        """The port of the monitor's older protocol, the one that Cinder tells."""
        return self._port + 1

    def up(self, port: int | None = None) -> None:
        """Content when it runs already. ``port``: the first of `PORTS_OF_A_CEPH`; only the first time counts.

        :raises LabError: a program is missing, or something does not come up
        """
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing:
            raise LabError(f"not installed: {', '.join(missing)} (apt install ceph-mon ceph-mgr ceph-osd)")
        made = self.home.path / "made"
        if not made.exists():
            self.wipe()
            self._make(port or _free_ports(PORTS_OF_A_CEPH))
        self._start("mon")
        if not made.exists():
            self._make_osd()
        self._start("mgr")
        self._start("osd")
        if not made.exists():
            self._fill()
            made.touch()
        self._await()

    def down(self) -> None:
        self._processes.stop(("osd", "mgr", "mon"))

    def wipe(self) -> None:
        self.down()
        shutil.rmtree(self.home.path, ignore_errors=True)

    def kill(self, daemon: str) -> None:
        """As a crash of ``mon``, ``mgr`` or ``osd``."""
        self._processes.stop((daemon,), signal.SIGKILL)

    def pause(self, daemon: str) -> None:
        self._processes.pause(daemon)

    def resume(self, daemon: str) -> None:
        self._processes.resume(daemon)

    def status(self) -> dict[str, Any]:
        """Process ids (None: it does not run) and memory in MiB of each daemon; bytes used, when it answers."""
        daemons = {name: {"pid": self._processes.pid(name), "mib": self._processes.memory(name)} for name in _DAEMONS}
        report: dict[str, Any] = {"daemons": daemons}
        if all(entry["pid"] for entry in daemons.values()):
            report["bytes_used"] = self.command("df")["stats"]["total_used_bytes"]
        return report

    def command(self, *words: str) -> Any:
        """Of the administrator, its answer parsed."""
        text = self._run("ceph", "--connect-timeout", "20", *words, "--format", "json")
        return json.loads(text) if text.strip() else None

    def rbd(self, *words: str, user: str = "admin") -> str:
        return self._run("rbd", "--id", user, *words)

    def additions(self, name: str = "ceph") -> Additions:
        """What makes a cloud keep volumes, of the backend ``name``, and images, of the store ``name``, in here."""
        cinder = {
            "volume_driver": "cinder.volume.drivers.rbd.RBDDriver",
            # os-brick looks for key rings in /etc/ceph only, by this name: so it finds ours, and nothing is put there.
            "rbd_cluster_name": os.path.relpath(self.home.etc / "ceph", "/etc/ceph"),
            "rbd_ceph_conf": str(self.conf),
            "rbd_user": "cinder",
            "rbd_pool": "volumes",
            "rbd_secret_uuid": SECRET_UUID,
            "rbd_flatten_volume_from_snapshot": "false",
            "rbd_max_clone_depth": "5",
            "report_discard_supported": "true",
        }
        glance = {
            "type": "rbd",
            "rbd_store_pool": "images",
            "rbd_store_user": "glance",
            "rbd_store_ceph_conf": str(self.conf),
            "rbd_store_chunk_size": "8",
        }
        # Cinder clones an image in Ceph only when Glance says where it lies.
        sections = {"glance": {"DEFAULT": {"show_image_direct_url": "true"}}}
        return Additions(cinder_backends={name: cinder}, glance_stores={name: glance}, sections=sections)

    def give_key(self, libvirt_socket: Path) -> None:
        """A libvirtd learns the key of client.cinder, which Nova names for volumes in here."""
        uri = f"qemu+unix:///system?socket={libvirt_socket}"
        with tempfile.TemporaryDirectory(dir=self.home.run) as folder:
            definition, key = Path(folder) / "secret.xml", Path(folder) / "key"
            definition.write_text(
                f"<secret ephemeral='no' private='yes'><uuid>{SECRET_UUID}</uuid>"
                "<usage type='ceph'><name>client.cinder of the lab</name></usage></secret>"
            )
            key.write_text(self.key("cinder"))
            self._run("virsh", "-q", "-c", uri, "secret-define", str(definition))
            self._run("virsh", "-q", "-c", uri, "secret-set-value", SECRET_UUID, "--file", str(key))

    @property
    def _port(self) -> int:
        return int((self.home.path / "port").read_text())

    def _run(self, *command: str, seconds: float = 120.0) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self._environment(),
            cwd=self.home.path,
        )
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip()[-2000:] or done.returncode}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "CEPH_ARGS": f"--conf={self.conf}"}

    def _make(self, port: int) -> None:
        self.home.make()
        for folder in ("mon", "mgr", "osd", "no-modules"):
            (self.home.var / folder).mkdir()
        (self.home.path / "port").write_text(str(port))
        identity = str(uuid.uuid4())
        self.conf.write_text(_conf(self.home, identity, port))
        ring = str(self.home.var / "mon" / "keyring")
        for name, (folder, rights) in _SERVERS.items():
            own = str(self.home.var / folder / "keyring" if folder else self.keyring("admin"))
            caps = [word for pair in zip(rights[::2], rights[1::2], strict=True) for word in ("--cap", *pair)]
            self._run("ceph-authtool", "--create-keyring", own, "--gen-key", "-n", name, *caps)
            if own != ring:
                self._run("ceph-authtool", ring, "--import-keyring", own)
        everybody, map_file = str(self.home.var / "keyring"), str(self.home.var / "monmap")
        shutil.move(ring, everybody)
        address = f"[v2:127.0.0.1:{port},v1:127.0.0.1:{port + 1}]"
        self._run("monmaptool", "--create", "--addv", "a", address, "--fsid", identity, map_file)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", map_file, "--keyring", everybody)
        os.unlink(everybody)

    def _make_osd(self) -> None:
        identity = str(uuid.uuid4())
        self.command("osd", "new", identity)
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", identity)

    def _fill(self) -> None:
        """Pools and users."""
        for pool in POOLS:
            self.command("osd", "pool", "create", pool, "8", "8")
            self.command("osd", "pool", "application", "enable", pool, "rbd")
        for user, rights in _USERS.items():
            path = self.keyring(user.removeprefix("client."))
            self._run("ceph", "--connect-timeout", "20", "auth", "get-or-create", user, *rights, "-o", str(path))
            path.chmod(0o600)

    def _start(self, daemon: str) -> None:
        program, name = _DAEMONS[daemon]
        self._processes.start(daemon, [program, "-i", name, "-f"], self._environment())

    def _await(self) -> None:
        """Until each pool takes writes, and the manager knows how much room there is."""

        def ready() -> bool:
            try:
                report = self.command("df")
                rooms = {pool["name"]: pool["stats"]["max_avail"] for pool in report["pools"]}
                if not all(rooms.get(pool) for pool in POOLS):
                    return False
                for pool in POOLS:
                    self._run("rados", "-p", pool, "put", "coriolis-lab", "/dev/null", seconds=10)
            except (LabError, subprocess.TimeoutExpired):
                return False
            return True

        if not wait_until(ready, _PATIENCE, lambda: all(map(self._processes.pid, _DAEMONS))):
            raise LabError(f"Ceph does not come up, see {self.home.log}: {self._last_words()}")

    def _last_words(self) -> str:
        """Of the daemons that do not run."""
        logs = {name: self.home.log / f"{name}.log" for name in _DAEMONS if not self._processes.pid(name)}
        return "; ".join(f"{name}: {log.read_text(errors='replace')[-600:]}" for name, log in logs.items())


def _conf(home: Home, identity: str, port: int) -> str:
    """The manager and the OSD find their ports above the monitor's two."""
    mine = {
        "fsid": identity,
        "mon host": f"[v2:127.0.0.1:{port},v1:127.0.0.1:{port + 1}]",
        "ms bind port min": port + 2,
        "ms bind port max": port + PORTS_OF_A_CEPH - 1,
        "keyring": f"{home.etc}/ceph.$name.keyring",
        "run dir": home.run,
        "mon data": home.var / "mon",
        "mgr data": home.var / "mgr",
        "mgr module path": home.var / "no-modules",
        "osd data": home.var / "osd",
    }
    sections = {"global": {**_OPTIONS, **mine}, **{name: {"keyring": home.var / name / "keyring"} for name in _DAEMONS}}
    lines: list[str] = []
    for section, entries in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in entries.items())]
    return "\n".join(lines) + "\n"


def _free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that nobody listens on."""
    for first in range(28000, 31000, count):
        probes = [socket.socket() for _ in range(count)]
        try:
            for number, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + number))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise LabError(f"no {count} free ports in a row")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.ceph", description=__doc__)
    parser.add_argument("what", choices=["up", "down", "status", "wipe", "additions"])
    parser.add_argument("folder", nargs="?", type=Path, default=LAB / "ceph", metavar="DIR")
    parser.add_argument("--port", type=int, help=f"the first of {PORTS_OF_A_CEPH}; default: free ones")
    given = parser.parse_args()
    ceph = Ceph(given.folder)
    begun = time.monotonic()
    try:
        if given.what == "up":
            ceph.up(given.port)
        elif given.what == "additions":
            print(json.dumps(dataclasses.asdict(ceph.additions())))
        elif given.what != "status":
            getattr(ceph, given.what)()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    if given.what in ("up", "status"):
        print(json.dumps({"conf": str(ceph.conf), "seconds": round(time.monotonic() - begun, 1), **ceph.status()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
