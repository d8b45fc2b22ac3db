# SPDX-License-Identifier: Apache-2.0
"""A provider for the worker's own tests: the instance's name says how the call goes."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from coriolis.providers.api import (
    Cancelled,
    Capability,
    Context,
    Devices,
    Disk,
    Gone,
    Instance,
    Keepsake,
    Provider,
    Unavailable,
    connection_schema,
)

_LOG = logging.getLogger("coriolis.trial")


def _touch(context: Context, name: str) -> None:
    """Tells the test that the provider's code runs; by progress, as a real provider would."""
    context.progress("at", 0, 0, f"{name} {os.getpid()} {os.getpgid(0)}")


def _hang_holding_the_lock() -> None:
    ctypes.PyDLL(None).sleep(1000)  # keeps the interpreter's lock: no thread and no signal handler runs


def _daemon(folder: Path) -> int:
    """A process that leaves our group, our session and our parentage, as ``qemu-nbd --fork`` does."""
    note = folder / "daemon.pid"
    code = (
        "import os,sys,time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        f"open({str(note)!r}+'.new','w').write(str(os.getpid()))\n"
        f"os.rename({str(note)!r}+'.new',{str(note)!r})\n"
        "time.sleep(1000)"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={**os.environ})
    while not note.exists():
        time.sleep(0.01)
    return int(note.read_text())


class Trial:
    def __init__(self, info: dict[str, Any], keepsake: Keepsake) -> None:
        self.info, self.keepsake = info, keepsake
        self.inventory = self
        self.networks = self.storage = self.planning = self.snapshots = None
        self.read_blocks = self.write_blocks = None
        self.volumes = self
        self.compute = None
        self.made = Path(info["made"]) if "made" in info else None

    def check(self, context: Context) -> None:
        if self.info.get("fail"):
            raise Unavailable(f"cannot log in with {self.info['password']}")
        if self.info.get("recall"):
            self.do_recall(context)

    def close(self) -> None:
        return None

    def list_instances(self, environment: Any, *, marker: Any, limit: Any, name: Any, context: Context) -> list[Any]:
        time.sleep(1000)
        return []

    def get_instance(self, environment: Any, name: str, context: Context) -> Instance:
        behave = getattr(self, "do_" + name.split("/")[0], None)
        if behave is None:
            raise Gone(f"no instance {name}")
        behave(context)
        devices = Devices(disks=(Disk(id="d", size_bytes=1),))
        return Instance(id=name, name=name, num_cpu=1, memory_mb=64, devices=devices)

    # ---- behaviours

    def do_clock(self, context: Context) -> None:
        context.progress("at", 0, 0, repr(self.info["connected_at"]))

    def do_keep(self, context: Context) -> None:
        self.keepsake.write(self.info["password"] * self.info.get("times", 1))

    def do_recall(self, context: Context) -> None:
        text = self.keepsake.read()
        raise Gone(f"kept: {text and len(text)}")

    def do_plain(self, context: Context) -> None:
        _touch(context, "plain")

    def do_polite(self, context: Context) -> None:
        _touch(context, "polite")
        if context.cancelled.wait(100):
            raise Cancelled

    def do_stubborn(self, context: Context) -> None:
        """Does not look at the token, but can be terminated; leaves a note when it tidied up."""
        try:
            _touch(context, "stubborn")
            time.sleep(1000)
        finally:
            assert self.made is not None
            (self.made / "tidied").touch()

    def do_hang(self, context: Context) -> None:
        _touch(context, "hang")
        _hang_holding_the_lock()

    def do_daemon(self, context: Context) -> None:
        _touch(context, f"daemon {_daemon(context.scratch)}")
        _hang_holding_the_lock()

    def do_leaver(self, context: Context) -> None:
        _touch(context, f"leaver {_daemon(context.scratch)}")

    def do_segfault(self, context: Context) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def do_bug(self, context: Context) -> None:
        raise KeyError(self.info["password"])

    def do_away(self, context: Context) -> None:
        raise Unavailable(f"no route for {self.info['password']}", retry_after_seconds=7.0)

    def do_talk(self, context: Context) -> None:
        password = self.info["password"]
        _LOG.info("logging in with %s", password)
        print("printing", password, flush=True)
        os.write(2, f"raw {password}\n".encode())
        context.event("INFO", f"event {password}")
        logging.getLogger("some.library").warning('{"token": "%s"}', password)

    def do_busy(self, context: Context) -> None:
        for n in range(10_000):
            context.progress("disk", n + 1, 10_000, "")
        context.event("INFO", "one")
        context.event("WARNING", "two")
        if context.cancelled.wait(100):
            raise Cancelled

    # ---- volumes

    def create(self, disk: Any, layout: Any, key: str, environment: Any, context: Context) -> Any:
        from coriolis.providers.api import Invalid, Volume

        if disk.properties.get("refuse"):
            raise Invalid("no such pool")
        if disk.properties.get("away"):
            raise Unavailable("busy")
        assert self.made is not None
        (self.made / key).write_text(disk.disk_id)
        return Volume(disk_id=disk.disk_id, ref=key, size_bytes=disk.size_bytes)

    def delete(self, ref: Any, key: str, context: Context) -> None:
        assert self.made is not None
        (self.made / (ref or key)).unlink(missing_ok=True)


PROVIDER = Provider(
    name="trial",
    title="Trial",
    capabilities=frozenset({Capability.INVENTORY, Capability.VOLUMES}),
    connection_schema=connection_schema({"type": "object"}),
    connect=lambda info, context: Trial(info, context.keepsake),
    support="fake",
)


def _connect_at(info: dict[str, Any], context: Context) -> Trial:
    at = time.monotonic()  # the first line of a provider's code that runs in an attempt
    return Trial({**info, "connected_at": at}, context.keepsake)


# What real providers of OpenStack preload.
HEAVY = (
    "openstack",
    "openstack.connection",
    "openstack.block_storage.v3._proxy",
    "openstack.compute.v2._proxy",
    "openstack.identity.v3._proxy",
    "openstack.image.v2._proxy",
    "openstack.network.v2._proxy",
    "keystoneauth1.identity",
)

WARM = Provider(
    name="trial-warm",
    title="Trial with a heavy library",
    capabilities=frozenset({Capability.INVENTORY}),
    connection_schema=connection_schema({"type": "object"}),
    connect=_connect_at,
    preload=HEAVY,
    support="fake",
)


BROKEN = Provider(
    name="trial-broken",
    title="Trial whose library is not there",
    capabilities=frozenset(),
    connection_schema=connection_schema({"type": "object"}),
    connect=_connect_at,
    preload=("library_that_is_not_there",),
    support="fake",
)
