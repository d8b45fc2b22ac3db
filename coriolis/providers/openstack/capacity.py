# SPDX-License-Identifier: Apache-2.0
"""Room in the storage and on the hosts of the cloud, which its services tell administrators only. It is nothing but a
warning: thin volumes may fit all the same, and others take room, too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from coriolis.providers.api import Concern, Context, PlannedDisk, ProviderError
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.flavors import Flavor
from coriolis.providers.openstack.kept import listed
from coriolis.providers.openstack.quotas import fetched
from coriolis.providers.openstack.storage import list_types

_ADMIN = "admin"
_GIB = 1 << 30
_BACKEND = "volume_backend_name"
_LIMIT_MICROVERSION = "1.16"  # of Placement: not more candidates than we look at


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Of a storage back end. ``free``: GiB; None: it has no end, or nobody knows."""

    backend: str
    free: float | None


def capacity_concerns(
    cloud: Cloud, volumes: Iterable[PlannedDisk], flavor: Flavor | None, context: Context
) -> Iterator[Concern]:
    """``volumes``: that are to be made; ``flavor``: of a server that is, likewise."""
    if _ADMIN not in cloud.roles:
        return
    sizes = [(disk.storage, disk.size_bytes // _GIB) for disk in volumes]
    if sizes:
        found = _asked(cloud, "block_storage", "storage-pools", lambda: _storage(cloud), context)
        yield from _told("storage", found, lambda told: too_full(sizes, told["backends"], read_pools(told["pools"])))
    if flavor is not None and not flavor.special:  # extra specs may ask for other resources
        wanted = resources(flavor)
        found = _asked(cloud, "compute", f"hosts-{wanted}", lambda: _has_host(cloud, wanted), context)
        yield from _told("hosts", found, lambda has: () if has else (_no_host(flavor),))


def too_full(
    volumes: Iterable[tuple[str | None, int]], backends: Mapping[str, str], pools: Sequence[Pool]
) -> Iterator[str]:
    """``volumes``: type (None: the cloud's default) and GiB; ``backends``: of types that name one."""
    wanted: dict[str | None, list[int]] = defaultdict(list)
    for kind, size in volumes:
        wanted[backends.get(kind or "")].append(size)
    for backend, sizes in wanted.items():
        rooms = [pool.free for pool in pools if backend in (None, pool.backend)]
        known = [room for room in rooms if room is not None]
        if not known or len(known) < len(rooms) or (sum(sizes) <= sum(known) and max(sizes) <= max(known)):
            continue
        where = f"storage back end {backend}" if backend else "the storage back ends"
        yield (
            f"{sum(sizes)} GiB are needed in {where}, {max(sizes)} GiB for one volume; {sum(known):.0f} GiB are free, "
            f"{max(known):.0f} GiB in one pool"
        )


def read_pools(entries: Iterable[Mapping[str, Any]]) -> list[Pool]:
    """Of Cinder's answer. A pool without numbers says ``infinite`` or ``unknown``."""
    found = []
    for entry in entries:
        facts = entry.get("capabilities") or {}
        try:
            free: float | None = float(facts.get("free_capacity_gb", "unknown"))
        except (TypeError, ValueError):
            free = None
        found.append(Pool(backend=str(facts.get(_BACKEND)), free=None if free == float("inf") else free))
    return found


def resources(flavor: Flavor) -> str:
    """What a server that boots from a volume takes of a host, in Placement's words."""
    disk = flavor.ephemeral + -(-flavor.swap // 1024)
    wanted = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": disk}
    return ",".join(f"{name}:{count}" for name, count in wanted.items() if count)


def _no_host(flavor: Flavor) -> str:
    return f"no host has room for a server of flavor {flavor.name}, {flavor.vcpus} CPUs and {flavor.ram} MiB of memory"


def _told(what: str, found: Mapping[str, Any], short_of: Callable[[Any], Iterable[str]]) -> Iterator[Concern]:
    if "why_not" in found:
        message = f"the room of the {what} is not checked: {found['why_not']}"
        yield Concern(code="openstack.capacity_unknown", message=message)
        return
    for message in short_of(found["answer"]):
        yield Concern(code="openstack.capacity", message=message)


# ---- asked once for all instances of a job ----------------------------------------------------------------------


def _asked(cloud: Cloud, service: str, what: str, ask: Callable[[], Any], context: Context) -> dict[str, Any]:
    """``answer``, or ``why_not``: nobody waits twice for a service that workers do not reach."""

    def safely() -> dict[str, Any]:
        try:
            return {"answer": ask()}
        except ProviderError as error:
            return {"why_not": error.message}

    try:
        found: dict[str, Any] = listed(cloud, service, what, safely, context, has=lambda _: True)
    except ProviderError as error:  # somebody else waits for it already
        return {"why_not": error.message}
    return found


def _storage(cloud: Cloud) -> dict[str, Any]:
    types = {str(one.name): (one.extra_specs or {}).get(_BACKEND) for one in list_types(cloud)}
    path = "/scheduler-stats/get_pools?detail=true"
    pools = fetched(lambda: cloud.cinder, path, "asking for the pools of block storage")
    return {"backends": {name: str(backend) for name, backend in types.items() if backend}, "pools": pools["pools"]}


def _has_host(cloud: Cloud, wanted: str) -> bool:
    path = "/allocation_candidates?" + urlencode({"resources": wanted, "limit": 1})
    doing = "asking Placement for a host"
    answer = fetched(lambda: cloud.sdk.placement, path, doing, microversion=_LIMIT_MICROVERSION)
    return bool(answer["allocation_requests"])
