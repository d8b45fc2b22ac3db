# SPDX-License-Identifier: Apache-2.0
"""Whether a server's disks can be read with the rights, quotas and transports that there are: asked before a byte
moves. What the server itself tells is in `source_checks`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from coriolis.providers.api import Concern, Context, Disk, Environment, Instance, Invalid
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.transports.choice import choose, transport

_GIB = 1 << 30
_LOCAL = ("root", "ephemeral", "swap")
_READS_ONLY = frozenset({"reader", "observer", "audit"})
_UNLIMITED = -1


@dataclass(frozen=True, kw_only=True)
class Room:
    """What is left of a quota of Cinder, for so many ``things``."""

    things: str
    limit: int
    used: int

    def lacks(self, needed: int) -> bool:
        return self.limit != _UNLIMITED and self.used + needed > self.limit


def reading_concerns(cloud: Cloud, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
    volumes = [disk for disk in instance.devices.disks if not disk.id.startswith(_LOCAL)]
    return [
        *_of_rights(cloud.roles),
        *_of_times(instance, volumes),
        *(_of_transports(cloud, instance, environment, context) if volumes else ()),
        *(of_room(room_of(cloud), volumes) if volumes else ()),
    ]


def room_of(cloud: Cloud) -> list[Room]:
    """Snapshots, volumes and GiB of the project, in this order."""
    with translated(f"asking Cinder of {cloud.name} for the project's limits"):
        said = cloud.cinder.get_limits().absolute
    return [
        Room(things="snapshots", limit=said.max_total_snapshots, used=said.total_snapshots_used),
        Room(things="volumes", limit=said.max_total_volumes, used=said.total_volumes_used),
        Room(things="GiB", limit=said.max_total_volume_gigabytes, used=said.total_gigabytes_used),
    ]


def of_room(room: Iterable[Room], volumes: list[Disk]) -> Iterator[Concern]:
    """Each volume is read from a snapshot, and from a volume that is made of it: both count for their size."""
    count, size = len(volumes), sum(-(-disk.size_bytes // _GIB) for disk in volumes)
    needed = {"snapshots": count, "volumes": count, "GiB": 2 * size}
    for one in room:
        if one.lacks(needed[one.things]):
            message = (
                f"to be read, {count} volumes need {needed[one.things]} more {one.things} for a while, and the project "
                f"has {one.used} of {one.limit}: raise the quota or delete something"
            )
            yield Concern(code="openstack.source_quota", message=message, blocking=True)


def _of_rights(roles: frozenset[str]) -> Iterator[Concern]:
    if roles and roles <= _READS_ONLY:
        message = (
            f"the credentials may only look ({', '.join(sorted(roles))}): snapshots, and volumes made of them, need "
            "the role member in the project"
        )
        yield Concern(code="openstack.rights", message=message, blocking=True)


def _of_times(instance: Instance, volumes: list[Disk]) -> Iterator[Concern]:
    if not instance.running or len(instance.devices.disks) < 2:
        return
    if any(disk.id == "root" for disk in instance.devices.disks) and volumes:
        message = (
            f"server {instance.name} runs: the snapshot of its root disk begins when those of its volumes are there, "
            "seconds later; with shutdown_instances the last round has all disks at one time"
        )
        yield Concern(code="openstack.points_apart", message=message)
    elif len(volumes) > 1:
        message = (
            f"server {instance.name} runs: its volumes get their snapshots at nearly the same time, as Cinder gets to "
            "them; with shutdown_instances the last round has them at one time"
        )
        yield Concern(code="openstack.points_apart", message=message)


def _of_transports(cloud: Cloud, instance: Instance, environment: Environment, context: Context) -> Iterator[Concern]:
    wanted = str(environment.get("replica_export_mechanism", "auto"))
    try:
        choose(cloud, wanted, environment, context)
    except Invalid as error:
        yield Concern(code="openstack.no_transport", message=error.message, blocking=True)
        return
    about = instance.extra.get("volumes") or {}
    encrypted = sorted(disk for disk, facts in about.items() if facts.get("encrypted"))
    if not encrypted:
        return
    why = "another one is wanted" if wanted not in ("auto", "minion") else None
    why = why or transport("minion").why_not(cloud, environment, context)
    if why is not None:
        message = f"volumes {', '.join(encrypted)} are encrypted and can be read through a minion only: {why}"
        yield Concern(code="openstack.no_transport", message=message, blocking=True)
