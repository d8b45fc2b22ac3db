# SPDX-License-Identifier: Apache-2.0
"""What a project may still use, compared with what an instance needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openstack import exceptions

from coriolis.providers.api import Concern, Gone, Need, Unauthorized
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated

#: A limit of each volume, of which nothing is ever used.
_OF_EACH = frozenset({"per_volume_gigabytes"})
_FORBIDDEN = 403


@dataclass(frozen=True, kw_only=True)
class Quota:
    """``limit`` -1: unlimited. ``used`` counts what is reserved, too."""

    limit: int
    used: int

    @property
    def free(self) -> int | None:
        """None: unlimited."""
        return None if self.limit < 0 else max(0, self.limit - self.used)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one instance takes from the quotas. Names are those of the services; memory is MiB, volumes are GiB."""

    compute: Mapping[str, int] = field(default_factory=dict)
    volume: Mapping[str, int] = field(default_factory=dict)
    network: Mapping[str, int] = field(default_factory=dict)

    def __or__(self, later: Needs) -> Needs:
        """One after the other: of each the greater."""
        return Needs(
            compute=_greater(self.compute, later.compute),
            volume=_greater(self.volume, later.volume),
            network=_greater(self.network, later.network),
        )

    def __mul__(self, times: int) -> Needs:
        """So many at the same time."""
        return Needs(
            compute={name: count * times for name, count in self.compute.items()},
            volume={name: count * times for name, count in self.volume.items()},
            network={name: count * times for name, count in self.network.items()},
        )


def _greater(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}


def volume_needs(volumes: Iterable[tuple[str | None, int]], *, snapshots: bool = False) -> dict[str, int]:
    """Of new volumes, each a type (None: the cloud's default) and GiB. ``snapshots``: of one for each, too, which
    counts for its volume's size."""
    found: Counter[str] = Counter()
    largest = 0
    for kind, size in volumes:
        largest = max(largest, size)
        for suffix in ("", *((f"_{kind}",) if kind else ())):
            found[f"volumes{suffix}"] += 1
            found[f"gigabytes{suffix}"] += 2 * size if snapshots else size
            if snapshots:
                found[f"snapshots{suffix}"] += 1
    return {**found, "per_volume_gigabytes": largest} if found else {}


@dataclass(kw_only=True)
class Room:
    """``limited``: what is needed of quotas that have an end."""

    concerns: list[Concern] = field(default_factory=list)
    limited: list[Need] = field(default_factory=list)


def check_quotas(cloud: Cloud, needs: Needs, *, code: str, minion: Needs | None = None, minions: int = 0) -> Room:
    """A concern of that ``code`` for each quota without room, and a plain one where a service does not let us ask.
    ``minion``: what each of so many ``minions`` takes for a while."""
    room = Room()
    one = minion if minion is not None and minions else Needs()
    most = needs | one * minions
    asked = (
        ("compute", needs.compute, one.compute, most.compute, compute_quotas),
        ("block storage", needs.volume, one.volume, most.volume, volume_quotas),
        ("network", needs.network, one.network, most.network, network_quotas),
    )
    for service, stays, of_a_minion, at_once, ask in asked:
        if not any(at_once.values()):
            continue
        try:
            quotas = ask(cloud)
        except (Unauthorized, Gone):  # Neutron may lack the extension
            message = f"the {service} quotas are not checked: {cloud.name} does not let us read them"
            room.concerns.append(Concern(code="openstack.quota_unknown", message=message))
            continue
        room.concerns += lacking(service, quotas, stays, of_a_minion, at_once, code=code)
        room.limited += limited(service, quotas, stays)
    return room


def limited(service: str, quotas: Mapping[str, Quota], needed: Mapping[str, int]) -> list[Need]:
    """What is needed of quotas that have an end, and that all instances share."""
    return [
        Need(name=f"{service} quota {name}", count=count, free=free)
        for name, count in sorted(needed.items())
        if count and name not in _OF_EACH and name in quotas and (free := quotas[name].free) is not None
    ]


def lacking(
    service: str,
    quotas: Mapping[str, Quota],
    needed: Mapping[str, int],
    of_a_minion: Mapping[str, int],
    at_once: Mapping[str, int],
    *,
    code: str,
) -> list[Concern]:
    """What there is no room for. That of minions is needed for a while only, and others may end: it is blocking when
    the quota is too small for one, otherwise a plain concern when it is for those of all disks ``at_once``."""
    found = []
    for name, most in sorted(at_once.items()):
        quota, stays, one = quotas.get(name), needed.get(name, 0), of_a_minion.get(name, 0)
        if quota is None or quota.free is None or most <= quota.free:
            continue
        blocking = stays > quota.free or one > quota.limit
        if stays > quota.free:
            wanted = f"{stays} needed"
        else:
            wanted = f"{one} needed for a minion, {most} when all disks are moved at the same time"
        free_some = "" if name in _OF_EACH else "free some, or "
        message = (
            f"{service} quota {name} of the project is too small: {wanted}, {quota.used} of {quota.limit} used; "
            f"{free_some}ask an administrator to raise it"
        )
        found.append(Concern(code=code, message=message, blocking=blocking))
    return found


def compute_quotas(cloud: Cloud) -> dict[str, Quota]:
    """instances, cores, ram. Source: GET /limits of Nova, which a reader may ask."""
    limits = fetched(lambda: cloud.sdk.compute, "/limits", "reading the compute limits")["limits"]["absolute"]
    return {
        name: Quota(limit=int(limits[most]), used=int(limits[used]))
        for name, most, used in (
            ("instances", "maxTotalInstances", "totalInstancesUsed"),
            ("cores", "maxTotalCores", "totalCoresUsed"),
            ("ram", "maxTotalRAMSize", "totalRAMUsed"),
        )
    }


def volume_quotas(cloud: Cloud) -> dict[str, Quota]:
    """volumes, snapshots, gigabytes, these by type (``gigabytes_fast``), and per_volume_gigabytes. Source: GET
    /os-quota-sets of Cinder."""
    path = f"/os-quota-sets/{cloud.project_id}?usage=True"
    answer = fetched(lambda: cloud.cinder, path, "reading the quotas of block storage")
    return read_usage(answer["quota_set"], "in_use")


def network_quotas(cloud: Cloud) -> dict[str, Quota]:
    """port, floatingip, security_group ... Source: GET /quotas/{project}/details of Neutron."""
    path = f"/quotas/{cloud.project_id}/details"
    answer = fetched(lambda: cloud.sdk.network, path, "reading the network quotas")
    return read_usage(answer["quota"], "used")


def read_usage(body: Mapping[str, Any], used: str) -> dict[str, Quota]:
    """Quotas of a body with ``limit``, ``used`` under the name that is given, and ``reserved`` of each."""
    return {
        name: Quota(limit=int(entry["limit"]), used=int(entry.get(used) or 0) + int(entry.get("reserved") or 0))
        for name, entry in body.items()
        if isinstance(entry, Mapping) and "limit" in entry
    }


def fetched(service: Callable[[], Any], path: str, doing: str, **more: Any) -> dict[str, Any]:
    """What a service answers. ``service``: its proxy, which may have to find out first what the service can.

    :raises ProviderError: it does not answer, or refuses
    """
    with translated(doing):
        answer = service().get(path, **more)
        if answer.status_code == _FORBIDDEN:  # its text has the word quota, as that of one that is used up
            raise Unauthorized(f"{doing}: the credentials lack the right to do this")
        exceptions.raise_from_response(answer)
        return dict(answer.json())
