# SPDX-License-Identifier: Apache-2.0
"""The flavor of a new server: named, the best fit, or made for it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from coriolis.providers.api import Concern, Conflict, Context, Environment, Instance, Invalid
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.kept import listed
from coriolis.providers.openstack.tags import tag

_ADMIN = "admin"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flavor:
    """``id`` None: has to be made. Memory and swap are MiB, disks GiB."""

    id: str | None
    name: str
    vcpus: int
    ram: int
    disk: int = 0
    ephemeral: int = 0
    swap: int = 0
    special: bool = False  # has extra specs: special hardware, perhaps


def plan_flavor(
    cloud: Cloud, instance: Instance, environment: Environment, context: Context
) -> tuple[Flavor, list[Concern]]:
    """:raises Invalid: there is no such flavor, or none fits and none may be made"""
    wanted = environment.get("flavor_name")

    def ask() -> list[dict[str, Any]]:
        return [dataclasses.asdict(one) for one in list_flavors(cloud)]

    def choose(rows: list[dict[str, Any]]) -> Flavor | None:
        flavors = [Flavor(**row) for row in rows]
        return called(flavors, str(wanted)) if wanted else best_fit(flavors, instance)

    rows = listed(cloud, "compute", "flavors", ask, context, has=lambda rows: choose(rows) is not None)
    chosen = choose(rows)
    if chosen is not None:
        return chosen, list(_too_small(chosen, instance))
    if wanted:
        raise Invalid(f"flavor_name: there is no flavor {wanted}")
    if not environment.get("create_flavor"):
        raise Invalid(
            f"no flavor of {cloud.name} has {instance.num_cpu} CPUs and {instance.memory_mb} MiB of memory; name one "
            "as flavor_name, or set create_flavor in destination_environment"
        )
    made = Flavor(
        id=None,
        name=f"coriolis.{instance.num_cpu}.{instance.memory_mb}",
        vcpus=instance.num_cpu,
        ram=instance.memory_mb,
    )
    if _ADMIN in cloud.roles:
        return made, []
    message = (
        f"no flavor of {cloud.name} has {instance.num_cpu} CPUs and {instance.memory_mb} MiB of memory, and only an "
        "administrator may make one (create_flavor)"
    )
    return made, [Concern(code="openstack.needs_admin", message=message, blocking=True)]


def list_flavors(cloud: Cloud) -> list[Flavor]:
    """Those that servers can be made of."""
    with translated(f"listing the flavors of {cloud.name}"):
        return [_read(one) for one in cloud.sdk.compute.flavors() if not one.is_disabled]


def best_fit(flavors: Iterable[Flavor], instance: Instance) -> Flavor | None:
    """The smallest that has enough; of the source flavor's name if that is as large as the instance. Flavors with
    extra specs or further disks come last."""
    enough = [one for one in flavors if one.vcpus >= instance.num_cpu and one.ram >= instance.memory_mb]

    def rank(one: Flavor) -> tuple[Any, ...]:
        exact = (one.vcpus, one.ram) == (instance.num_cpu, instance.memory_mb)
        alike = exact and one.name == instance.flavor_name
        return (not alike, one.special, one.ephemeral + one.swap > 0, one.ram, one.vcpus, one.disk, one.name)

    return min(enough, key=rank, default=None)


def called(flavors: Iterable[Flavor], wanted: str) -> Flavor | None:
    """By its id or name."""
    return next((one for one in flavors if wanted in (one.id, one.name)), None)


def _too_small(found: Flavor, instance: Instance) -> Iterator[Concern]:
    if found.vcpus >= instance.num_cpu and found.ram >= instance.memory_mb:
        return
    message = (
        f"flavor {found.name} has {found.vcpus} CPUs and {found.ram} MiB of memory, the instance {instance.num_cpu} "
        f"and {instance.memory_mb} MiB"
    )
    yield Concern(code="openstack.small_flavor", message=message)


def ensure_flavor(cloud: Cloud, planned: dict[str, Any], mark: str) -> str:
    """The id of the planned flavor; made with the mark, private to the project, if need be. ``planned``: a Flavor's
    fields."""
    if planned.get("id"):
        return str(planned["id"])
    with translated(f"making flavor {planned['name']}"):
        found = _called(cloud, planned["name"]) or _make(cloud, planned, mark)
        if not found.is_public:
            _give_access(cloud, str(found.id))
        return str(found.id)


def _called(cloud: Cloud, name: str) -> Any | None:
    """Also one that our project may not use yet: an attempt that was killed may have left it so."""
    return next((one for one in cloud.sdk.compute.flavors(is_public=None) if one.name == name), None)


def _make(cloud: Cloud, planned: dict[str, Any], mark: str) -> Any:
    sizes = {name: planned[name] for name in ("name", "vcpus", "ram")}
    try:
        with translated(f"making flavor {planned['name']}"):
            return cloud.sdk.compute.create_flavor(**sizes, disk=0, is_public=False, description=mark)
    except Conflict:  # another instance of this size was first
        found = _called(cloud, planned["name"])
        if found is None:
            raise
        return found


def _give_access(cloud: Cloud, flavor: str) -> None:
    if cloud.project_id not in _projects(cloud, flavor):
        with contextlib.suppress(Conflict), translated("giving the project a flavor"):  # Conflict: it has it by now
            cloud.sdk.compute.flavor_add_tenant_access(flavor, cloud.project_id)


def _projects(cloud: Cloud, flavor: str) -> set[str]:
    """Who may use a flavor that is not public."""
    return {entry["tenant_id"] for entry in cloud.sdk.compute.get_flavor_access(flavor)}


def delete_flavor(cloud: Cloud, key: str) -> None:
    """Removes the flavor that was made with the key, unless servers of this project use it, or others may."""
    if _ADMIN not in cloud.roles:
        return
    with translated("removing a flavor of ours"):
        for one in list(cloud.sdk.compute.flavors(is_public=None)):
            if one.description != tag(key) or _projects(cloud, str(one.id)) - {cloud.project_id}:
                continue
            if not any(cloud.sdk.compute.servers(details=False, flavor=one.id)):
                cloud.sdk.compute.delete_flavor(one, ignore_missing=True)


def _read(one: Any) -> Flavor:
    return Flavor(
        id=str(one.id),
        name=str(one.name),
        vcpus=int(one.vcpus),
        ram=int(one.ram),
        disk=int(one.disk or 0),
        ephemeral=int(one.ephemeral or 0),
        swap=int(one.swap or 0),
        special=bool(one.extra_specs),
    )
