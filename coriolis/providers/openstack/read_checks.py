# SPDX-License-Identifier: Apache-2.0
"""Whether a server's disks can be read with the rights, quotas and transports that there are: asked before a byte
moves. What the server itself tells is in `source_checks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coriolis.providers.api import Concern, Context, Disk, Environment, Instance, Invalid
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.quotas import Needs, check_quotas, volume_needs
from coriolis.providers.openstack.rights import looks_only
from coriolis.providers.openstack.transports.choice import choose, takes, transport

_GIB = 1 << 30
_MINION = "minion"
_DECRYPTING = ("worker", _MINION)  # transports: the hypervisor decrypts for a server
_LOCAL = ("root", "ephemeral", "swap")


def reading_concerns(cloud: Cloud, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
    volumes = [disk for disk in instance.devices.disks if not disk.id.startswith(_LOCAL)]
    ways, told = _ways(cloud, instance, len(volumes), environment, context) if volumes else ([], [])
    minions = ways.count(_MINION)
    room = check_quotas(
        cloud,
        needs(volumes),
        code="openstack.source_quota",
        minion=takes(_MINION, cloud, environment, context) if minions else None,
        minions=minions,
    )
    return [
        *looks_only(cloud.roles, "snapshots, and volumes made of them,"),
        *_of_times(instance, volumes),
        *told,
        *room.concerns,
    ]


def needs(volumes: Sequence[Disk]) -> Needs:
    """Each volume is read from a snapshot, and from a volume that is made of it, of the same type."""
    sizes = ((disk.storage_backend_identifier, -(-disk.size_bytes // _GIB)) for disk in volumes)
    return Needs(volume=volume_needs(sizes, snapshots=True))


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


def _ways(
    cloud: Cloud, instance: Instance, volumes: int, environment: Environment, context: Context
) -> tuple[list[str], list[Concern]]:
    """The transport of each volume, as far as it is known before there is a snapshot of it."""
    wanted = str(environment.get("replica_export_mechanism", "auto"))
    try:
        way = choose(cloud, wanted, environment, context)
    except Invalid as error:
        return [], [_none(error.message)]
    about = instance.extra.get("volumes") or {}
    encrypted = sorted(disk for disk, facts in about.items() if facts.get("encrypted"))
    if not encrypted or way in _DECRYPTING:
        return [way] * volumes, []
    ways = [way] * (volumes - len(encrypted))
    reasons = {
        name: transport(name).why_not(cloud, environment, context) for name in _DECRYPTING if wanted in ("auto", name)
    }
    possible = next((name for name, reason in reasons.items() if reason is None), None)
    if possible is not None:
        return [*ways, *[possible] * len(encrypted)], []
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "another one is wanted"
    return ways, [_none(f"volumes {', '.join(encrypted)} are encrypted and can be read through a server only: {why}")]


def _none(message: str) -> Concern:
    return Concern(code="openstack.no_transport", message=message, blocking=True)
