# SPDX-License-Identifier: Apache-2.0
"""A private libvirtd with its own virtlogd, in mount, host name and process namespaces of its own.

Several can live on one machine, and with the machine's own libvirtd. QEMU runs as root, without security drivers
and cgroups. Everything that it runs, guests too, dies when it stops, or when the process that started it ends
(unless it was started detached). Needs root.

From Python: ``with running(Path("/tmp/x")) as host: ... host.connection_info``. From a shell::

    python tests/integration/libvirt_host.py start /tmp/x     # prints the connection info as JSON, stays detached
    python tests/integration/libvirt_host.py stop /tmp/x
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 30.0
FOLDERS = ("etc", "run", "lib", "cache", "log", "pool", "sockets", "log/qemu", "lib/dnsmasq")

_LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
"""
_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "logd"
"""
# The first process of the namespaces: it reaps what it inherits, and ends when its standard input does (or, detached,
# when it is killed). The kernel then kills everything else in them.
_REAPER = """\
import os, select, sys
watch = [0] if sys.argv[1] == "attached" else []
while True:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        sys.exit(1)
    if select.select(watch, [], [], 0.1)[0] and not os.read(0, 4096):
        sys.exit(0)
"""
_INIT = """\
set -e
hostname "$1"; dir=$2
for pair in etc:/etc/libvirt run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "${pair#*:}"; mount --bind "$dir/${pair%%:*}" "${pair#*:}"
done
mount -t proc proc /proc
# libvirt locks the terminal of a console that somebody opens; a bare container has no folder for such locks.
mkdir -p "$(readlink -m /var/lock)"
[ "$4" = shared ] || mount -t sysfs sysfs /sys
virtlogd --pid-file /run/libvirt/virtlogd.pid </dev/null >"$dir/log/virtlogd.out" 2>&1 &
libvirtd --pid-file /run/libvirt/libvirtd.pid </dev/null >"$dir/log/libvirtd.out" 2>&1 &
exec "$5" -c "$6" "$3"
"""


@dataclass(frozen=True, kw_only=True)
class LibvirtHost:
    """A running private libvirtd. All paths are valid inside and outside of its namespaces, but for those that
    libvirt itself names below ``/var/lib/libvirt``, ``/var/log/libvirt`` and ``/run/libvirt``."""

    directory: Path
    name: str
    pid: int

    @property
    def socket(self) -> Path:
        return self.directory / "run/libvirt-sock"

    @property
    def init_pid(self) -> int:
        """The first process of the namespaces, by its number outside."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    @property
    def uri(self) -> str:
        return f"qemu:///system?socket={self.socket}"

    @property
    def pool(self) -> Path:
        """Folder of the storage pool ``default``, which `define_pool` makes."""
        return self.directory / "pool"

    @property
    def connection_info(self) -> dict[str, Any]:
        """For the ``libvirt`` provider."""
        return {"connection_uri": self.uri, "socket_directory": str(self.directory / "sockets")}

    def console_log(self, domain: str) -> Path:
        """What the first serial port of a domain made by the provider has printed."""
        return self.directory / f"log/qemu/{domain}-serial0.log"

    def define_pool(self, name: str = "default", folder: Path | None = None) -> None:
        """A storage pool over a folder, and nothing when it is there already."""
        import libvirt

        connection = libvirt.open(self.uri)
        try:
            if name in connection.listStoragePools() + connection.listDefinedStoragePools():
                return
            target = folder or self.pool
            target.mkdir(parents=True, exist_ok=True)
            pool = connection.storagePoolDefineXML(
                f"<pool type='dir'><name>{name}</name><target><path>{target}</path></target></pool>"
            )
            pool.setAutostart(1)
            pool.create()
        finally:
            connection.close()

    def stop(self) -> None:
        _end(self.pid)


def start(
    directory: Path, *, name: str = "", detached: bool = False, own_network: bool = False
) -> tuple[LibvirtHost, Any]:
    """Starts one, answering. Gives it and the process that holds it (None when it is detached).

    :param directory: everything is below; should have a short name, for unix sockets are in it
    :param own_network: in a network namespace of its own, so that bridges vanish with it and collide with none
    :raises RuntimeError: it did not answer in time
    """
    directory = directory.resolve()
    for folder in FOLDERS:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    name = name or "cor-" + hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    host_uuid = uuid.uuid5(uuid.NAMESPACE_URL, f"{name}{directory}")
    (directory / "etc/libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=host_uuid))
    (directory / "etc/qemu.conf").write_text(_QEMU_CONF)
    (directory / "etc/virtlogd.conf").write_text("")
    (directory / "etc/libvirt.conf").write_text("")
    mode = "detached" if detached else "attached"
    network = ["--net"] if own_network else []
    holder = subprocess.Popen(
        ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", *network,
         "sh", "-c", _INIT, "libvirt-host", name, str(directory), mode,
         "own" if own_network else "shared", sys.executable, _REAPER],
        stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=(directory / "log/init.out").open("w"),
        start_new_session=True,
    )  # fmt: skip
    host = LibvirtHost(directory=directory, name=name, pid=holder.pid)
    (directory / "pid").write_text(str(holder.pid))
    try:
        _wait_until_it_answers(host, holder)
    except RuntimeError:
        holder.kill()
        holder.wait()
        raise
    return host, (None if detached else holder)


@contextlib.contextmanager
def running(directory: Path, *, name: str = "") -> Iterator[LibvirtHost]:
    """A private libvirtd for as long as the block lasts."""
    host, holder = start(directory, name=name)
    try:
        yield host
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()


def _wait_until_it_answers(host: LibvirtHost, holder: subprocess.Popen[bytes]) -> None:
    import libvirt

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if holder.poll() is not None:
            break
        if host.socket.exists():
            try:
                libvirt.open(host.uri).close()
                return
            except libvirt.libvirtError:
                pass
        time.sleep(0.1)
    said = [(host.directory / f"log/{part}.out").read_text() for part in ("init", "virtlogd", "libvirtd")
            if (host.directory / f"log/{part}.out").exists()]  # fmt: skip
    raise RuntimeError(f"the private libvirtd in {host.directory} does not answer: {' '.join(said)}")


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def main(arguments: list[str]) -> int:
    action, directory = arguments[0], Path(arguments[1]).resolve()
    if action == "start":
        host, _ = start(directory, detached=True)
        host.define_pool()
        print(json.dumps(host.connection_info))
        return 0
    if action == "stop":
        with contextlib.suppress(FileNotFoundError):
            pid = int((directory / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and str(directory) in command.read_text():
                _end(pid)
            (directory / "pid").unlink()
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
