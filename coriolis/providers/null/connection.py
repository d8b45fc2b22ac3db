# SPDX-License-Identifier: Apache-2.0
"""The capabilities of the null provider. All of it is computed from the connection info; there is no state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coriolis.dataplane import NbdSink, NbdSource, Sink, Source
from coriolis.providers.api import (
    Concern,
    Context,
    Controller,
    Deployed,
    Devices,
    Disk,
    DiskSnapshot,
    Environment,
    Gone,
    Instance,
    InstanceSummary,
    Layout,
    Network,
    OsType,
    PlannedDisk,
    PlannedNic,
    Snapshot,
    StorageBackend,
    StorageInventory,
    Volume,
)
from coriolis.providers.null.export import serve

NETWORK = "null-network"
STORAGE = "null-storage"
_PREFIX = "null-"
_DIGITS = 7
_DEPLOYED = "null-deployed-"


@dataclass(frozen=True)
class Shape:
    """What the connection info asks for."""

    instances: int = 10
    disks: int = 1
    disk_size_bytes: int = 16 << 20
    seed: int | None = None

    def plugin(self, size: int) -> tuple[str, list[str]]:
        """The nbdkit plugin and its arguments for a disk of ``size`` bytes."""
        if self.seed is None:
            return "null", [f"size={size}"]
        return "sparse-random", [f"size={size}", f"seed={self.seed}"]


def _id(number: int) -> str:
    return f"{_PREFIX}{number:0{_DIGITS}d}"


def _instance(shape: Shape, instance_id: str) -> Instance:
    return Instance(
        id=instance_id,
        name=instance_id,
        instance_name=instance_id,
        num_cpu=1,
        memory_mb=512,
        os_type=OsType.OTHER,
        devices=Devices(
            disks=tuple(
                Disk(
                    id=f"disk-{n}",
                    size_bytes=shape.disk_size_bytes,
                    format="raw",
                    controller_id="scsi-0",
                    unit_number=n,
                )
                for n in range(shape.disks)
            ),
            controllers=(Controller(id="scsi-0", type="scsi"),),
        ),
    )


class NullInventory:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def list_instances(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        wanted = (name or "").lower()
        page: list[InstanceSummary] = []
        for number in range(1, self._shape.instances + 1):
            if limit is not None and len(page) >= limit:
                break
            instance_id = _id(number)
            if (marker is None or instance_id > marker) and wanted in instance_id:
                page.append(
                    InstanceSummary(id=instance_id, name=instance_id, num_cpu=1, memory_mb=512, os_type=OsType.OTHER)
                )
        return page

    def get_instance(self, environment: Environment, name: str, context: Context) -> Instance:
        digits = name.removeprefix(_PREFIX)
        ours = name.startswith(_PREFIX) and len(digits) == _DIGITS and digits.isascii() and digits.isdigit()
        if ours and 1 <= int(digits) <= self._shape.instances:
            return _instance(self._shape, name)
        raise Gone(f"There is no instance {name!r}; they are {_id(1)} to {_id(self._shape.instances)}.")


class NullNetworks:
    def list_networks(self, environment: Environment, context: Context) -> list[Network]:
        return [Network(id=NETWORK, name=NETWORK)]


class NullStorage:
    def list_storage(self, environment: Environment, context: Context) -> StorageInventory:
        backend = StorageBackend(id=STORAGE, name=STORAGE)
        return StorageInventory(storage_backends=(backend,), config_default=STORAGE)


class NullPlanning:
    def check_source(self, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
        return []

    def plan(
        self,
        instance: Instance,
        environment: Environment,
        network_map: dict[str, Any],
        storage_mappings: dict[str, Any],
        context: Context,
    ) -> Layout:
        return Layout(
            name=instance.name,
            disks=tuple(
                PlannedDisk(disk_id=disk.id, size_bytes=disk.size_bytes, storage=STORAGE, boot=index == 0)
                for index, disk in enumerate(instance.devices.disks)
            ),
            nics=tuple(PlannedNic(nic_id=nic.id, network=NETWORK) for nic in instance.devices.nics),
        )


class NullSnapshots:
    def create(
        self, instance: Instance, base: Snapshot | None, key: str, environment: Environment, context: Context
    ) -> Snapshot:
        return Snapshot(
            ref=f"null-snapshot-{key}",
            instance_id=instance.id,
            disks=tuple(
                DiskSnapshot(disk_id=disk.id, size_bytes=disk.size_bytes, identity=f"{instance.id}/{disk.id}")
                for disk in instance.devices.disks
            ),
        )

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        return None

    def release(self, ref: Any, key: str, context: Context) -> None:
        return None


class NullBlocks:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    @contextlib.contextmanager
    def open_source(self, snapshot: Snapshot, disk_id: str, context: Context) -> Iterator[Source]:
        disk = next((d for d in snapshot.disks if d.disk_id == disk_id), None)
        if disk is None:
            raise Gone(f"The snapshot has no disk {disk_id!r}.")
        plugin, arguments = self._shape.plugin(disk.size_bytes)
        with serve(plugin, arguments, context) as uri:
            yield NbdSource(uri=uri, size=disk.size_bytes, identity=disk.identity)

    @contextlib.contextmanager
    def open_sink(self, volume: Volume, context: Context) -> Iterator[Sink]:
        plugin, arguments = self._shape.plugin(volume.size_bytes)
        with serve(plugin, arguments, context) as uri:
            yield NbdSink(uri=uri, zeroed=volume.zeroed)


class NullVolumes:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def create(self, disk: PlannedDisk, layout: Layout, key: str, environment: Environment, context: Context) -> Volume:
        return Volume(
            disk_id=disk.disk_id,
            ref=f"null-volume-{key}",
            size_bytes=disk.size_bytes,
            zeroed=self._shape.seed is None,
        )

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        return None


class NullCompute:
    """Instances of a source never run; deployed ones always do, as nothing is kept that could say otherwise."""

    def create(
        self,
        instance: Instance,
        layout: Layout,
        volumes: list[Volume],
        key: str,
        environment: Environment,
        context: Context,
    ) -> Deployed:
        return Deployed(ref=f"{_DEPLOYED}{key}", name=layout.name)

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        return None

    def is_running(self, ref: str, context: Context) -> bool:
        return ref.startswith(_DEPLOYED)

    def start(self, ref: str, context: Context) -> Deployed:
        return Deployed(ref=ref, name=ref, running=True)

    def stop(self, ref: str, context: Context) -> None:
        return None


class NullConnection:
    def __init__(self, connection_info: dict[str, Any]) -> None:
        shape = Shape(**connection_info)
        blocks = NullBlocks(shape)
        self.inventory = NullInventory(shape)
        self.networks = NullNetworks()
        self.storage = NullStorage()
        self.options = None
        self.planning = NullPlanning()
        self.snapshots = NullSnapshots()
        self.read_blocks = blocks
        self.write_blocks = blocks
        self.volumes = NullVolumes(shape)
        self.compute = NullCompute()
        self.minions = None

    def check(self, context: Context) -> None:
        return None

    def close(self) -> None:
        return None
