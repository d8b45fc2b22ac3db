# SPDX-License-Identifier: Apache-2.0
"""A real Ceph for the tests of direct access to volumes, and what they do with its images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coriolis.providers.api import Context
from coriolis.providers.openstack.ceph_access import Cluster
from coriolis.providers.openstack.rbd import RbdImage, rbd_of
from tests.lab.ceph import Ceph

CHILD = Path(__file__).with_name("rbd_child.py")
MIB = 1 << 20
AUTH_URL = "https://cloud.example:5000/v3"


@contextlib.contextmanager
def running() -> Iterator[Ceph]:
    """A cluster of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ceph-"))
    ceph = Ceph(folder / "ceph")
    try:
        ceph.up()
        yield ceph
    finally:
        ceph.wipe()
        shutil.rmtree(folder, ignore_errors=True)


def context(folder: Path, epoch: int = 1) -> Context:
    return Context(log=logging.getLogger("test"), scratch=folder, epoch=epoch, cancelled=threading.Event())


@dataclass
class Volume:
    """A volume as Cinder makes it, new and empty; ``info`` is the connection info that Cinder gives for it."""

    ceph: Ceph
    name: str = field(default_factory=lambda: f"volume-{uuid.uuid4()}")

    def create(self, size: int = 64 * MIB) -> Volume:
        self.ceph.rbd("create", f"volumes/{self.name}", "--size", f"{size}B")
        return self

    def copy(self, snapshot: str) -> Volume:
        """A new volume that shows a snapshot of this one, as Cinder makes it to be read."""
        made = Volume(self.ceph)
        made.change(["clone", self.name, snapshot])
        return made

    @property
    def info(self) -> dict[str, Any]:
        data = {
            "name": f"volumes/{self.name}",
            "hosts": ["127.0.0.1"],
            "ports": [str(self.ceph.monitor)],
            "cluster_name": "ceph",
            "auth_enabled": True,
            "auth_username": "cinder",
            "secret_type": "ceph",
            "secret_uuid": str(uuid.uuid4()),
            "volume_id": self.name.removeprefix("volume-"),
            "discard": True,
            "keyring": None,
            "qos_specs": None,
            "access_mode": "rw",
            "encrypted": False,
        }
        return {"driver_volume_type": "rbd", "data": data}

    def image(self, *, conf: bool = True) -> RbdImage:
        return rbd_of(self.info, cluster(self.ceph, conf=conf))

    def change(self, *steps: list[Any]) -> None:
        """Through librbd, by another program."""
        command = self._child(*steps)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]

    @contextlib.contextmanager
    def held(self, *steps: list[Any]) -> Iterator[subprocess.Popen[str]]:
        """Another program has it open; at the end of the block it goes through ``steps``."""
        child = subprocess.Popen(
            self._child(["hold"], *steps),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdin
        assert child.stdout
        try:
            assert child.stdout.readline() == "held\n"
            yield child
            child.stdin.close()
            child.wait(60)
        finally:
            child.kill()
            child.wait()

    def content(self, snapshot: str | None = None) -> bytes:
        """All bytes, as ``rbd export`` gives them."""
        with self._exported(snapshot) as path:
            return path.read_bytes()

    def digest(self) -> str:
        """SHA-256 of all bytes, for large ones."""
        with self._exported() as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextlib.contextmanager
    def _exported(self, snapshot: str | None = None) -> Iterator[Path]:
        spec = f"volumes/{self.name}" + (f"@{snapshot}" if snapshot else "")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "raw"
            self.ceph.rbd("export", "--no-progress", spec, str(path))
            yield path

    def allocated(self) -> list[tuple[int, int]]:
        """(offset, length) of what was ever written."""
        found = json.loads(self.ceph.rbd("diff", "--format=json", f"volumes/{self.name}"))
        return [(int(one["offset"]), int(one["length"])) for one in found]

    def _child(self, *steps: list[Any]) -> list[str]:
        return ["/usr/bin/python3", str(CHILD), str(self.ceph.conf), "admin", "volumes", self.name, json.dumps(steps)]


def cluster(ceph: Ceph, *, conf: bool = True, user: str = "coriolis") -> Cluster:
    """What an operator would have written of it."""
    return Cluster(
        name="lab",
        auth_url=AUTH_URL,
        pools=("volumes",),
        conf=ceph.conf if conf else None,
        user=user,
        keyring=ceph.keyring(user),
    )
