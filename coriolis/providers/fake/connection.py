# SPDX-License-Identifier: Apache-2.0
"""The fake cloud's connection and what it shows: instances, networks, storage, plans."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from coriolis.providers.api import (
    Concern,
    Conflict,
    Context,
    Controller,
    Devices,
    Disk,
    Environment,
    Firmware,
    Gone,
    Instance,
    InstanceSummary,
    Invalid,
    Layout,
    Need,
    Network,
    Nic,
    Option,
    OptionsOf,
    OsType,
    PlannedDisk,
    PlannedNic,
    StorageBackend,
    StorageInventory,
)
from coriolis.providers.fake.blocks import FakeReadBlocks, FakeSnapshots, FakeVolumes, FakeWriteBlocks
from coriolis.providers.fake.cloud import Cloud, State
from coriolis.providers.fake.compute import FakeCompute
from coriolis.providers.fake.faults import Faults
from coriolis.providers.fake.minions import FakeMinions


def to_instance(instance_id: str, record: dict[str, Any]) -> Instance:
    return Instance(
        id=instance_id,
        name=record["name"],
        instance_name=record["name"],
        num_cpu=record["num_cpu"],
        memory_mb=record["memory_mb"],
        os_type=OsType(record["os_type"]),
        firmware_type=Firmware(record["firmware"]),
        running=record["running"],
        devices=Devices(
            disks=tuple(
                Disk(
                    id=disk_id,
                    size_bytes=disk["size"],
                    format=disk["format"],
                    controller_id="0",
                    unit_number=number,
                    storage_backend_identifier=disk.get("storage"),
                )
                for number, (disk_id, disk) in enumerate(sorted(record["disks"].items()))
            ),
            nics=tuple(
                Nic(id=f"nic-{number}", network_name=network, network_id=network)
                for number, network in enumerate(record["networks"])
            ),
            controllers=(Controller(id="0", type="virtio"),),
        ),
    )


class FakeInventory:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def list_instances(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        with self._faults.around("inventory.list_instances", context):
            found = sorted(self._cloud.read()["instances"].items())
            wanted = (name or "").lower()
            return [
                InstanceSummary(
                    id=instance_id,
                    name=record["name"],
                    instance_name=record["name"],
                    num_cpu=record["num_cpu"],
                    memory_mb=record["memory_mb"],
                    os_type=OsType(record["os_type"]),
                )
                for instance_id, record in found
                if (marker is None or instance_id > marker) and wanted in record["name"].lower()
            ][:limit]

    def get_instance(self, environment: Environment, name: str, context: Context) -> Instance:
        with self._faults.around("inventory.get_instance", context):
            instances = self._cloud.read()["instances"]
            if name in instances:
                return to_instance(name, instances[name])
            found = [i for i, record in instances.items() if record["name"] == name]
            if not found:
                raise Gone(f"The fake cloud has no instance {name!r}.")
            if len(found) > 1:
                raise Conflict(f"The fake cloud has {len(found)} instances named {name!r}. Use an id.")
            return to_instance(found[0], instances[found[0]])


class FakeNetworks:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def list_networks(self, environment: Environment, context: Context) -> list[Network]:
        with self._faults.around("networks.list_networks", context):
            return [Network(id=name, name=name) for name in self._cloud.read()["networks"]]


class FakeStorage:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def list_storage(self, environment: Environment, context: Context) -> StorageInventory:
        with self._faults.around("storage.list_storage", context):
            names = self._cloud.read()["storage"]
            return StorageInventory(
                storage_backends=tuple(StorageBackend(id=name, name=name) for name in names),
                config_default=next(iter(names), None),
            )


class FakeOptions:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def list_options(
        self, of: OptionsOf, environment: Environment, names: Collection[str] | None, context: Context
    ) -> list[Option]:
        with self._faults.around("options.list_options", context):
            if of is not OptionsOf.DESTINATION or (names is not None and "storage" not in names):
                return []
            found = tuple(self._cloud.read()["storage"])
            return [Option(name="storage", values=found, config_default=next(iter(found), None))]


class FakePlanning:
    def __init__(self, cloud: Cloud, faults: Faults) -> None:
        self._cloud = cloud
        self._faults = faults

    def check_source(self, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
        with self._faults.around("planning.check_source", context):
            return []

    def plan(
        self,
        instance: Instance,
        environment: Environment,
        network_map: dict[str, Any],
        storage_mappings: dict[str, Any],
        context: Context,
    ) -> Layout:
        with self._faults.around("planning.plan", context):
            state = self._cloud.read()
            return Layout(
                name=instance.name,
                disks=tuple(
                    PlannedDisk(
                        disk_id=disk.id,
                        size_bytes=disk.size_bytes,
                        storage=_storage(disk, environment, storage_mappings, state["storage"]),
                        boot=number == 0,
                    )
                    for number, disk in enumerate(instance.devices.disks)
                ),
                nics=tuple(
                    PlannedNic(
                        nic_id=nic.id,
                        network=_network(nic, network_map, state["networks"]),
                        mac_address=nic.mac_address,
                    )
                    for nic in instance.devices.nics
                ),
                needs=tuple(_needs(instance, state)),
            )


def _needs(instance: Instance, state: State) -> Iterator[Need]:
    if state["quota_bytes"] is not None:
        used = sum(volume["size"] for volume in state["volumes"].values())
        wanted = sum(disk.size_bytes for disk in instance.devices.disks)
        yield Need(name="volume quota", count=wanted, free=max(0, state["quota_bytes"] - used), unit="bytes")


def _network(nic: Nic, network_map: dict[str, Any], known: list[str]) -> str:
    target = network_map.get(nic.network_id or nic.network_name, network_map.get(nic.network_name))
    name = target.get("id") if isinstance(target, dict) else target
    if name is None:
        raise Invalid(f"network_map: the network {nic.network_name!r} of the instance is not mapped.")
    if name not in known:
        raise Invalid(f"network_map: the fake cloud has no network {name!r}. It has: {', '.join(known)}.")
    return str(name)


def _storage(disk: Disk, environment: Environment, mappings: dict[str, Any], known: list[str]) -> str | None:
    """By disk, then by the source's backend, then the default of the mapping, the environment or the cloud."""
    by_disk = {each["disk_id"]: each["destination"] for each in mappings.get("disk_mappings", [])}
    by_backend = {each["source"]: each["destination"] for each in mappings.get("backend_mappings", [])}
    default = mappings.get("default") or environment.get("storage") or next(iter(known), None)
    name = by_disk.get(disk.id) or by_backend.get(disk.storage_backend_identifier) or default
    if name not in known:
        raise Invalid(f"storage_mappings: the fake cloud has no storage {name!r}. It has: {', '.join(known)}.")
    return str(name)


class FakeConnection:
    def __init__(self, connection_info: dict[str, Any], context: Context) -> None:
        self._cloud = Cloud(Path(connection_info["path"]), connection_info.get("token"))
        self._faults = Faults(connection_info.get("faults", ""), self._cloud.count)
        polls = connection_info.get("eventual_polls", 0)
        self.inventory = FakeInventory(self._cloud, self._faults)
        self.networks = FakeNetworks(self._cloud, self._faults)
        self.storage = FakeStorage(self._cloud, self._faults)
        self.options = FakeOptions(self._cloud, self._faults)
        self.planning = FakePlanning(self._cloud, self._faults)
        self.snapshots = FakeSnapshots(self._cloud, self._faults)
        self.read_blocks = FakeReadBlocks(self._cloud, self._faults)
        self.volumes = FakeVolumes(self._cloud, self._faults, polls)
        self.write_blocks = FakeWriteBlocks(self._cloud, self._faults)
        self.compute = FakeCompute(self._cloud, self._faults)
        self.minions = FakeMinions(self._cloud, self._faults)

    def check(self, context: Context) -> None:
        with self._faults.around("check", context):
            self._cloud.read()

    def close(self) -> None:
        return None
