# SPDX-License-Identifier: Apache-2.0
"""The state of a fake cloud: one JSON file, changed under a lock and replaced whole, and disk files beside it.

Tests build a cloud with `Cloud.create`, and look at it with `Cloud.read` and `Cloud.leftovers`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from coriolis.providers.api import Unauthorized, Unavailable
from coriolis.providers.fake import disks

State = dict[str, Any]

DEFAULT_NETWORKS = ("net-a", "net-b")
DEFAULT_STORAGE = ("fast", "slow")


def tag(key: str) -> str:
    """A name that is fit for files and bitmaps, the same for the same key."""
    return hashlib.sha256(key.encode()).hexdigest()[:20]


class Cloud:
    """:raises Unavailable: there is no cloud at ``path``. :raises Unauthorized: its token is another"""

    def __init__(self, path: Path, token: str | None = None) -> None:
        self.path = path
        state = self.read()
        if state["token"] not in (None, token):
            raise Unauthorized("token: the fake cloud does not know this token.")

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        token: str | None = None,
        networks: Iterable[str] = DEFAULT_NETWORKS,
        storage: Iterable[str] = DEFAULT_STORAGE,
        quota_bytes: int | None = None,
    ) -> Cloud:
        """A new, empty cloud in a directory that need not exist. ``quota_bytes``: what its volumes may have."""
        for folder in ("instances", "snapshots", "volumes"):
            (path / folder).mkdir(parents=True)
        state: State = {
            "token": token,
            "networks": list(networks),
            "storage": list(storage),
            "quota_bytes": quota_bytes,
            "instances": {},
            "snapshots": {},
            "volumes": {},
            "minions": {},
            "calls": {},
        }
        _replace(path / "cloud.json", state)
        return cls(path, token)

    def read(self) -> State:
        """The whole state as it is now."""
        try:
            state: State = json.loads((self.path / "cloud.json").read_text())
        except OSError as error:
            raise Unavailable(f"The fake cloud at {self.path} does not answer ({error.strerror}).") from error
        return state

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """The state for changing; nothing is kept if the block fails."""
        with self.locked("cloud"):
            state = self.read()
            yield state
            _replace(self.path / "cloud.json", state)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Only one process (and thread) at a time; freed by the kernel when the process dies."""
        try:
            file = (self.path / f"{name}.lock").open("w")
        except OSError as error:
            raise Unavailable(f"The fake cloud at {self.path} does not answer ({error.strerror}).") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def count(self, call: str) -> int:
        """Notes a call; gives how many there were of it, this one included."""
        with self.change() as state:
            state["calls"][call] = state["calls"].get(call, 0) + 1
            number: int = state["calls"][call]
        return number

    def add_instance(
        self,
        name: str,
        *,
        disk_sizes: Iterable[int] = (1 << 20,),
        running: bool = True,
        num_cpu: int = 1,
        memory_mb: int = 512,
        networks: Iterable[str] = (DEFAULT_NETWORKS[0],),
        instance_id: str | None = None,
        firmware: str = "BIOS",
        os_type: str = "linux",
    ) -> str:
        """An instance with disks of zeros; gives its id."""
        instance_id = instance_id or f"i-{tag(name)}"
        found = {}
        for number, size in enumerate(disk_sizes):
            file = f"instances/{instance_id}-{number}.qcow2"
            disks.create(self.path / file, size)
            found[f"disk-{number}"] = {"file": file, "format": "qcow2", "size": size}
        with self.change() as state:
            state["instances"][instance_id] = {
                "name": name,
                "num_cpu": num_cpu,
                "memory_mb": memory_mb,
                "running": running,
                "firmware": firmware,
                "os_type": os_type,
                "networks": list(networks),
                "disks": found,
                "key": None,
            }
        return instance_id

    def write(self, instance_id: str, disk_id: str, offset: int, data: bytes) -> None:
        """What the guest would write: it shows in the next snapshot, and as changed since the earlier ones."""
        disk = self.read()["instances"][instance_id]["disks"][disk_id]
        with self.locked(f"instances/{instance_id}"):
            disks.write(self.path / disk["file"], disk["format"], offset, data)

    def disk_bytes(self, instance_id: str, disk_id: str) -> bytes:
        """The whole disk as it is now."""
        disk = self.read()["instances"][instance_id]["disks"][disk_id]
        return disks.read(self.path / disk["file"], disk["format"])

    def leftovers(self) -> list[str]:
        """What exists because somebody made it through the provider API, other than finished instances and their
        volumes: snapshots, volumes without owner, files and bitmaps without record."""
        state = self.read()
        left = [f"snapshot {key}" for key in state["snapshots"]]
        left += [f"volume {key}" for key, volume in state["volumes"].items() if volume["owner"] is None]
        left += [f"minion {ref}" for ref in state["minions"]]
        known = {volume["file"] for volume in state["volumes"].values()}
        left += [f"file {file}" for file in self._files("volumes") if file not in known]
        taken = {folder for snapshot in state["snapshots"].values() for folder in [snapshot["folder"]]}
        left += [f"folder {folder}" for folder in self._files("snapshots") if folder not in taken]
        bitmaps = {tag(key) for key in state["snapshots"]}
        for instance in state["instances"].values():
            for disk in instance["disks"].values():
                if disk["format"] == "qcow2":
                    found = set(disks.bitmaps(self.path / disk["file"])) - bitmaps
                    left += [f"bitmap {name} of {disk['file']}" for name in sorted(found)]
        return left

    def _files(self, folder: str) -> list[str]:
        return sorted(f"{folder}/{path.name}" for path in (self.path / folder).iterdir())

    def remove_file(self, relative: str) -> None:
        """A file or folder of the cloud; content when it is gone already."""
        path = self.path / relative
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _replace(path: Path, state: State) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(state, indent=1, sort_keys=True))
    os.replace(draft, path)
