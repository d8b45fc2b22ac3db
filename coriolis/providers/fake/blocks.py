# SPDX-License-Identifier: Apache-2.0
"""Snapshots, volumes and their bytes in the fake cloud."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from coriolis.dataplane import DiskFormat, FileSink, ImageSource, NbdSource, Sink, Source
from coriolis.providers.api import (
    Cancelled,
    Conflict,
    Context,
    DiskSnapshot,
    Environment,
    Gone,
    Instance,
    Invalid,
    Layout,
    PlannedDisk,
    Snapshot,
    Volume,
    from_json,
    to_json,
)
from coriolis.providers.fake import disks
from coriolis.providers.fake.cloud import Cloud, State, tag
from coriolis.providers.fake.faults import Faults, Reached

_POLL_SECONDS = 0.01


class FakeSnapshots:
    """A snapshot is a copy of each disk's file. A bitmap of the same name in the disk marks what is written later."""

    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def create(
        self, instance: Instance, base: Snapshot | None, key: str, environment: Environment, context: Context
    ) -> Snapshot:
        with self._faults.around("snapshots.create", context) as reached:
            with self._cloud.locked(f"instances/{instance.id}"):
                return self._create(instance.id, base, key, context, reached)

    def _create(
        self, instance_id: str, base: Snapshot | None, key: str, context: Context, reached: Reached
    ) -> Snapshot:
        folder = f"snapshots/{tag(key)}"
        with self._cloud.change() as state:
            if instance_id not in state["instances"]:
                raise Gone(f"The fake cloud has no instance {instance_id!r}.")
            record = state["snapshots"].setdefault(key, {"folder": folder, "snapshot": None, "instance": instance_id})
            if record["snapshot"] is not None:
                return from_json(Snapshot, record["snapshot"])
        found = state["instances"][instance_id]["disks"]
        (self._cloud.path / folder).mkdir(exist_ok=True)
        usable = base.ref if base is not None and base.ref in state["snapshots"] else None
        taken = []
        for number, (disk_id, disk) in enumerate(sorted(found.items())):
            context.check_cancelled()
            if number == len(found) - 1:
                reached("middle")
            taken.append(self._take(disk_id, disk, folder, key, usable))
            context.progress("snapshot", number + 1, len(found), f"Snapshot of {disk_id}")
        snapshot = Snapshot(ref=key, instance_id=instance_id, disks=tuple(taken))
        with self._cloud.change() as state:
            state["snapshots"][key]["snapshot"] = to_json(snapshot)
        return snapshot

    def _take(self, disk_id: str, disk: dict[str, Any], folder: str, key: str, base: str | None) -> DiskSnapshot:
        live = self._cloud.path / disk["file"]
        file = f"{folder}/{disk_id}.{disk['format']}"
        bitmap = None
        if disk["format"] == "qcow2":
            # A crashed try may have left its copy, with writes missing that came since: take it anew.
            disks.untrack(live, tag(key))
            disks.track(live, tag(key))
            if base is not None and tag(base) in disks.bitmaps(live):
                bitmap = tag(base)
        disks.copy(live, self._cloud.path / file)
        return DiskSnapshot(
            disk_id=disk_id,
            size_bytes=disk["size"],
            identity=f"fake-{tag(key)}-{disk_id}",
            changes_since=f"fake-{bitmap}-{disk_id}" if bitmap else None,
            properties={"file": file, "format": disk["format"], "bitmap": bitmap or ""},
        )

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        with self._faults.around("snapshots.delete", context) as reached:
            state = self._cloud.read()
            name = str(ref) if ref in state["snapshots"] else key
            record = state["snapshots"].get(name)
            if record is None:
                return
            instance = state["instances"].get(record["instance"], {"disks": {}})
            with self._cloud.locked(f"instances/{record['instance']}"):
                for disk in instance["disks"].values():
                    if disk["format"] == "qcow2":
                        disks.untrack(self._cloud.path / disk["file"], tag(name))
                reached("middle")
                self._cloud.remove_file(record["folder"])
                with self._cloud.change() as state:
                    state["snapshots"].pop(name, None)

    def release(self, ref: Any, key: str, context: Context) -> None:
        """The copies go, the bitmaps stay."""
        with self._faults.around("snapshots.release", context):
            record = self._cloud.read()["snapshots"].get(str(ref))
            if record is not None:
                self._cloud.remove_file(record["folder"])


class FakeReadBlocks:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    @contextlib.contextmanager
    def open_source(self, snapshot: Snapshot, disk_id: str, context: Context) -> Iterator[Source]:
        with self._faults.around("read_blocks.open_source", context):
            disk = next((d for d in snapshot.disks if d.disk_id == disk_id), None)
            if disk is None or snapshot.ref not in self._cloud.read()["snapshots"]:
                raise Gone(f"The fake cloud has no snapshot {snapshot.ref!r} with a disk {disk_id!r}.")
            path = self._cloud.path / disk.properties["file"]
            if disk.changes_since is None:
                yield ImageSource(path=path, format=DiskFormat(disk.properties["format"]), identity=disk.identity)
                return
            bitmap = disk.properties["bitmap"]
            with disks.serve(path, bitmap, context) as uri:
                yield NbdSource(
                    uri=uri,
                    bitmap=bitmap,
                    base_identity=disk.changes_since,
                    size=disk.size_bytes,
                    identity=disk.identity,
                )


class FakeVolumes:
    """``polls``: how often one has to look until a thing that was asked for is there, or gone."""

    def __init__(self, cloud: Cloud, faults: Faults, polls: int) -> None:
        self._cloud = cloud
        self._faults = faults
        self._polls = polls

    def create(self, disk: PlannedDisk, layout: Layout, key: str, environment: Environment, context: Context) -> Volume:
        with self._faults.around("volumes.create", context) as reached:
            self._settle(key, "deleting", context)
            with self._cloud.change() as state:
                record = state["volumes"].setdefault(key, self._new(disk, key))
                if record["size"] != disk.size_bytes:
                    raise Conflict(f"The volume of {key!r} has {record['size']} bytes, not {disk.size_bytes}.")
                if disk.storage is not None and disk.storage not in state["storage"]:
                    raise Invalid(f"The fake cloud has no storage {disk.storage!r}.")
            reached("middle")
            path = self._cloud.path / record["file"]
            if record["status"] == "creating":
                with path.open("ab") as file:
                    file.truncate(disk.size_bytes)
            self._settle(key, "creating", context)
            return Volume(disk_id=disk.disk_id, ref=record["ref"], size_bytes=disk.size_bytes, zeroed=True)

    def _new(self, disk: PlannedDisk, key: str) -> dict[str, Any]:
        return {
            "ref": f"v-{tag(key)}",
            "file": f"volumes/{tag(key)}.raw",
            "size": disk.size_bytes,
            "storage": disk.storage,
            "owner": None,
            "epoch": 0,
            "status": "creating",
            "polls": self._polls,
        }

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        with self._faults.around("volumes.delete", context) as reached:
            name = find_volume(self._cloud.read(), ref) or key
            with self._cloud.change() as state:
                record = state["volumes"].get(name)
                if record is None or record["owner"] is not None:
                    return
                record.update(status="deleting", polls=self._polls)
            reached("middle")
            self._cloud.remove_file(record["file"])
            self._settle(name, "deleting", context)

    def _settle(self, key: str, status: str, context: Context) -> None:
        """Waits until the volume has left ``status``."""
        while True:
            with self._cloud.change() as state:
                record = state["volumes"].get(key)
                if record is None or record["status"] != status:
                    return
                if record["polls"] <= 0 and status == "deleting":
                    del state["volumes"][key]
                    return
                if record["polls"] <= 0:
                    record["status"] = "available"
                    return
                record["polls"] -= 1
            if context.cancelled.wait(_POLL_SECONDS):
                raise Cancelled


def find_volume(state: State, ref: Any) -> str | None:
    """The key of the volume with this reference."""
    return next((key for key, record in state["volumes"].items() if record["ref"] == ref), None)


class FakeWriteBlocks:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    @contextlib.contextmanager
    def open_sink(self, volume: Volume, context: Context) -> Iterator[Sink]:
        """:raises Conflict: a newer epoch has opened the volume"""
        with self._faults.around("write_blocks.open_sink", context):
            with self._cloud.change() as state:
                key = find_volume(state, volume.ref)
                if key is None:
                    raise Gone(f"The fake cloud has no volume {volume.ref!r}.")
                record = state["volumes"][key]
                if record["epoch"] > context.epoch:
                    raise Conflict(f"The volume {volume.ref} was opened by epoch {record['epoch']} already.")
                record["epoch"] = context.epoch
            yield FileSink(
                path=self._cloud.path / record["file"],
                format=DiskFormat.RAW,
                size=volume.size_bytes,
                create=False,
                zeroed=volume.zeroed,
            )
