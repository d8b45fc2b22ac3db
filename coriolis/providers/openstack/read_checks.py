# SPDX-License-Identifier: Apache-2.0
"""Whether a server's disks can be read with the rights, quotas and transports that there are: asked before a byte
moves. What the server itself tells is in `source_checks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coriolis.providers.api import Concern, Context, Disk, Environment, Instance, Invalid
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.quotas import Needs, check_quotas
from coriolis.providers.openstack.rights import looks_only
from coriolis.providers.openstack.transports.choice import choose, transport

_GIB = 1 << 30
_DECRYPTING = ("worker", "minion")  # transports: the hypervisor decrypts for a server
_LOCAL = ("root", "ephemeral", "swap")


def reading_concerns(cloud: Cloud, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
    volumes = [disk for disk in instance.devices.disks if not disk.id.startswith(_LOCAL)]
    return [
        *looks_only(cloud.roles, "snapshots, and volumes made of them,"),
        *_of_times(instance, volumes),
        *(_of_transports(cloud, instance, environment, context) if volumes else ()),
        *check_quotas(cloud, needs(volumes), code="openstack.source_quota").concerns,
    ]


def needs(volumes: Sequence[Disk]) -> Needs:
    """Each volume is read from a snapshot, and from a volume that is made of it: both count for their size."""
    count, size = len(volumes), sum(-(-disk.size_bytes // _GIB) for disk in volumes)
    return Needs(volume={"snapshots": count, "volumes": count, "gigabytes": 2 * size})


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
    ways = [name for name in _DECRYPTING if wanted in ("auto", name)]
    reasons = {name: transport(name).why_not(cloud, environment, context) for name in ways}
    if all(reasons.values()):
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "another one is wanted"
        message = f"volumes {', '.join(encrypted)} are encrypted and can be read through a server only: {why}"
        yield Concern(code="openstack.no_transport", message=message, blocking=True)
