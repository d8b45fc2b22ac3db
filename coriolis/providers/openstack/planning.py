# SPDX-License-Identifier: Apache-2.0
"""What the cloud would make of an instance, and what stands in the way. Everything that is named is looked up, and the
quotas are asked, before a byte moves."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from coriolis.providers.api import (
    Concern,
    Context,
    Disk,
    Environment,
    Instance,
    Invalid,
    Layout,
    PlannedDisk,
    Purpose,
    Unauthorized,
    boot_disk,
    choose_storage,
)
from coriolis.providers.openstack.capacity import capacity_concerns
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.flavors import Flavor, plan_flavor
from coriolis.providers.openstack.hardware import hardware_concerns, image_properties
from coriolis.providers.openstack.kept import listed
from coriolis.providers.openstack.nics import NicPlanner
from coriolis.providers.openstack.quotas import Needs, Room, check_quotas, volume_needs
from coriolis.providers.openstack.read_checks import reading_concerns
from coriolis.providers.openstack.rights import looks_only
from coriolis.providers.openstack.source_checks import source_concerns
from coriolis.providers.openstack.storage import default_type, list_types
from coriolis.providers.openstack.transports.choice import choose, takes
from coriolis.providers.openstack.zones import server_zones, volume_zones

GIB = 1 << 30
#: It is stored with every reference to a server that is not made yet; Nova would take about 48 KiB.
USER_DATA_BYTES = 16384
_NAME_LENGTH = 255


class OpenStackPlanning:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def check_source(self, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
        return [
            *source_concerns(instance, is_admin="admin" in self._cloud.roles),
            *reading_concerns(self._cloud, instance, environment, context),
        ]

    def plan(
        self,
        instance: Instance,
        environment: Environment,
        network_map: dict[str, Any],
        storage_mappings: dict[str, Any],
        context: Context,
    ) -> Layout:
        name = server_name(instance, environment)
        images = image_properties(instance, environment)
        properties = {**self._properties(environment, context), "image_properties": images}
        flavor, concerns = plan_flavor(self._cloud, instance, environment, context)
        context.check_cancelled()
        nics = NicPlanner(self._cloud, environment, network_map, context)
        planned_nics = nics.plan(instance)
        if properties["floating_network"] and not planned_nics:
            raise Invalid("floating_ip_network: the instance has no NIC that could have a floating address")
        context.check_cancelled()
        disks = self._disks(instance, environment, storage_mappings, images, context)
        concerns = [*concerns, *nics.concerns, *hardware_concerns(instance, environment), *self._rights(environment)]
        context.check_cancelled()
        needs = needs_of(disks, len(planned_nics), flavor, properties, context, self._default_type(disks, context))
        room = self._room(disks, flavor, needs, environment, context)
        return Layout(
            name=name,
            disks=disks,
            nics=planned_nics,
            properties={**properties, "flavor": dataclasses.asdict(flavor)},
            concerns=(*concerns, *room.concerns),
            needs=tuple(room.limited),
        )

    def _properties(self, environment: Environment, context: Context) -> dict[str, Any]:
        """Ids of all that the environment names. :raises Invalid: there is no such thing"""
        sdk: Any = self._cloud.sdk
        data = environment.get("user_data")
        if data and len(data.encode()) > USER_DATA_BYTES:
            raise Invalid(f"user_data: it has {len(data.encode())} bytes; at most {USER_DATA_BYTES} are possible")
        group = environment.get("server_group")
        keypair = environment.get("keypair_name")
        external = environment.get("floating_ip_network")
        self._check_zones(environment, context)
        return {
            "server_group": self._id("server_group", group, lambda: sdk.compute.find_server_group(group)),
            "keypair": keypair and self._id("keypair_name", keypair, lambda: sdk.compute.find_keypair(keypair)),
            "floating_network": self._floating(external) if external else None,
        }

    def _id(self, field: str, wanted: str | None, find: Any) -> str | None:
        if not wanted:
            return None
        with translated(f"looking for {field} {wanted}"):
            found = find()
        if found is None:
            raise Invalid(f"{field}: {self._cloud.name} has no {wanted}")
        return str(found.id)

    def _floating(self, wanted: str) -> str:
        with translated(f"looking for network {wanted}"):
            found = self._cloud.sdk.network.find_network(wanted, ignore_missing=True)
        if found is None or not found.is_router_external:
            raise Invalid(f"floating_ip_network: {self._cloud.name} has no external network {wanted}")
        return str(found.id)

    def _check_zones(self, environment: Environment, context: Context) -> None:
        for field, service, ask in (
            ("availability_zone", "compute", server_zones),
            ("volumes_availability_zone", "block_storage", volume_zones),
        ):
            wanted = str(environment.get(field) or "").partition(":")[0]  # Nova: zone:host, for administrators
            if not wanted:
                continue
            zones = listed(
                self._cloud,
                service,
                f"{service}-zones",
                functools.partial(ask, self._cloud),
                context,
                has=functools.partial(_holds, wanted),
            )
            if wanted not in zones:
                raise Invalid(f"{field}: {wanted} is not there; there are {', '.join(zones) or 'none'}")

    def _rights(self, environment: Environment) -> Iterator[Concern]:
        yield from looks_only(self._cloud.roles, "volumes, ports and servers")
        if ":" in str(environment.get("availability_zone") or "") and "admin" not in self._cloud.roles:
            message = "availability_zone: only an administrator may name the host of a server"
            yield Concern(code="openstack.needs_admin", message=message, blocking=True)

    def _room(
        self, disks: Sequence[PlannedDisk], flavor: Flavor, needs: Needs, environment: Environment, context: Context
    ) -> Room:
        """For what is made, and for what moving the disks takes for a while."""
        moving = moved(disks, context)
        minion, no_way = self._minion(environment, context) if moving else (None, [])
        room = check_quotas(self._cloud, needs, code="openstack.quota", minion=minion, minions=len(moving))
        context.check_cancelled()
        of_server = None if context.purpose is Purpose.REPLICATE else flavor
        room.concerns += [*no_way, *capacity_concerns(self._cloud, absent(disks, context), of_server, context)]
        return room

    def _minion(self, environment: Environment, context: Context) -> tuple[Needs | None, list[Concern]]:
        """What each disk needs for a minion, if that is how bytes get into volumes."""
        wanted = str(environment.get("replica_import_mechanism", "auto"))
        try:
            way = choose(self._cloud, wanted, environment, context)
        except Invalid as error:
            return None, [Concern(code="openstack.no_transport", message=error.message, blocking=True)]
        return takes(way, self._cloud, environment, context), []

    def _disks(
        self,
        instance: Instance,
        environment: Environment,
        mappings: dict[str, Any],
        images: dict[str, str],
        context: Context,
    ) -> tuple[PlannedDisk, ...]:
        if not instance.devices.disks:
            raise Invalid(f"instance {instance.name} has no disk to boot from")
        wanted = {choose_storage(disk, mappings) or environment.get("volume_type") for disk in instance.devices.disks}
        zeroed = {str(name) for name in environment.get("zeroed_volume_types", ())}
        types = self._types({str(name) for name in wanted if name} | zeroed, context)
        unknown = sorted(zeroed - set(types.values()))
        if unknown:
            raise Invalid(f"zeroed_volume_types: {self._cloud.name} has no volume type named {', '.join(unknown)}")
        boot = boot_disk(instance)
        return tuple(
            PlannedDisk(
                disk_id=disk.id,
                size_bytes=-(-disk.size_bytes // GIB) * GIB,
                storage=volume_type(disk, mappings, environment, types),
                boot=disk.id == boot,
                properties={"image_properties": images} if disk.id == boot else {},
            )
            for disk in instance.devices.disks
        )

    def _default_type(self, disks: Sequence[PlannedDisk], context: Context) -> str | None:
        """What volumes become of which nobody says the type; asked for only when there are such. None: nobody knows."""
        if all(disk.storage for disk in absent(disks, context)):
            return None
        ask = functools.partial(default_type, self._cloud)
        try:
            found = listed(self._cloud, "block_storage", "default-volume-type", ask, context, has=lambda _name: True)
        except Unauthorized:
            return None
        return None if found is None else str(found)

    def _types(self, wanted: set[str], context: Context) -> dict[str, str]:
        """Id to name; asked for only when some are wanted."""
        if not wanted:
            return {}

        def ask() -> dict[str, str]:
            return {str(one.id): str(one.name) for one in list_types(self._cloud)}

        def has(types: dict[str, str]) -> bool:
            return wanted <= types.keys() | set(types.values())

        types: dict[str, str] = listed(self._cloud, "block_storage", "volume-types", ask, context, has=has)
        return types


def _holds(wanted: str, names: list[str]) -> bool:
    return wanted in names


def server_name(instance: Instance, environment: Environment) -> str:
    """:raises Invalid: it cannot be the name of a server"""
    name = str((environment.get("server_name") or instance.name) + environment.get("name_suffix", "")).strip()
    if not name or len(name) > _NAME_LENGTH or not name.isprintable():
        raise Invalid(
            f"{name!r} cannot be the name of a server; give another as server_name in destination_environment"
        )
    return name


def volume_type(disk: Disk, mappings: dict[str, Any], environment: Environment, types: dict[str, str]) -> str | None:
    """Name of the mapped volume type; None: the cloud's default. ``types``: id to name.

    :raises Invalid: there is no such type
    """
    wanted = choose_storage(disk, mappings) or environment.get("volume_type")
    if not wanted:
        return None
    if wanted in types.values():
        return str(wanted)
    if wanted in types:
        return types[wanted]
    known = ", ".join(sorted(types.values())) or "none"
    raise Invalid(f"storage_mappings, volume_type: there is no volume type {wanted}; there are {known}")


def absent(disks: Iterable[PlannedDisk], context: Context) -> list[PlannedDisk]:
    """Disks whose volumes are to be made."""
    return [disk for disk in disks if disk.disk_id not in context.present]


def moved(disks: Sequence[PlannedDisk], context: Context) -> Sequence[PlannedDisk]:
    """Disks whose bytes are written: of a replica all, in each round."""
    return disks if context.purpose is Purpose.REPLICATE else absent(disks, context)


def needs_of(
    disks: Iterable[PlannedDisk],
    nics: int,
    flavor: Flavor,
    properties: dict[str, Any],
    context: Context,
    default: str | None = None,
) -> Needs:
    """What is taken from the quotas: of a replica only the volumes, of which some may be there already. ``default``:
    the volume type of disks that name none."""
    volumes = volume_needs((disk.storage or default, disk.size_bytes // GIB) for disk in absent(disks, context))
    if context.purpose is Purpose.REPLICATE:
        return Needs(compute={}, volume=volumes, network={})
    return Needs(
        compute={"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram},
        volume=volumes,
        network={"port": nics, "floatingip": 1 if properties.get("floating_network") else 0},
    )
