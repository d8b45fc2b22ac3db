# SPDX-License-Identifier: Apache-2.0
"""What a project may still use, compared with what an instance needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openstack import exceptions

from coriolis.providers.api import Concern, Need, Unauthorized
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated


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


@dataclass(kw_only=True)
class Room:
    """``limited``: what is needed of quotas that have an end."""

    concerns: list[Concern] = field(default_factory=list)
    limited: list[Need] = field(default_factory=list)


def check_quotas(cloud: Cloud, needs: Needs, *, code: str = "openstack.quota") -> Room:
    """A blocking concern of that ``code`` for each quota without room; a plain one where a service does not let us
    ask."""
    room = Room()
    asked = (
        ("compute", needs.compute, compute_quotas),
        ("block storage", needs.volume, volume_quotas),
        ("network", needs.network, network_quotas),
    )
    for service, needed, ask in asked:
        wanted = {name: count for name, count in needed.items() if count > 0}
        if not wanted:
            continue
        try:
            quotas = ask(cloud)
        except Unauthorized:
            message = f"the {service} quotas are not checked: {cloud.name} does not let us read them"
            room.concerns.append(Concern(code="openstack.quota_unknown", message=message))
            continue
        room.concerns += lacking(service, quotas, wanted, code=code)
        room.limited += limited(service, quotas, wanted)
    return room


def limited(service: str, quotas: Mapping[str, Quota], needed: Mapping[str, int]) -> list[Need]:
    """What is needed of quotas that have an end."""
    return [
        Need(name=f"{service} quota {name}", count=count, free=free)
        for name, count in sorted(needed.items())
        if name in quotas and (free := quotas[name].free) is not None
    ]


def lacking(service: str, quotas: Mapping[str, Quota], needed: Mapping[str, int], *, code: str) -> list[Concern]:
    """What there is no room for."""
    found = []
    for name, count in sorted(needed.items()):
        quota = quotas.get(name)
        if quota is None or quota.free is None or count <= quota.free:
            continue
        message = (
            f"{service} quota {name} of the project is too small: {count} needed, {quota.used} of {quota.limit} used; "
            "free some, or ask an administrator to raise it"
        )
        found.append(Concern(code=code, message=message, blocking=True))
    return found


def compute_quotas(cloud: Cloud) -> dict[str, Quota]:
    """instances, cores, ram. Source: GET /limits of Nova, which a reader may ask."""
    limits = _get(cloud.sdk.compute, "/limits", "limits", "reading the compute limits")["absolute"]
    return {
        name: Quota(limit=int(limits[most]), used=int(limits[used]))
        for name, most, used in (
            ("instances", "maxTotalInstances", "totalInstancesUsed"),
            ("cores", "maxTotalCores", "totalCoresUsed"),
            ("ram", "maxTotalRAMSize", "totalRAMUsed"),
        )
    }


def volume_quotas(cloud: Cloud) -> dict[str, Quota]:
    """volumes, gigabytes, and both by type (``gigabytes_fast``). Source: GET /os-quota-sets of Cinder."""
    path = f"/os-quota-sets/{cloud.project_id}?usage=True"
    return read_usage(_get(cloud.cinder, path, "quota_set", "reading the quotas of block storage"), "in_use")


def network_quotas(cloud: Cloud) -> dict[str, Quota]:
    """port, floatingip ... Source: GET /quotas/{project}/details of Neutron."""
    path = f"/quotas/{cloud.project_id}/details"
    return read_usage(_get(cloud.sdk.network, path, "quota", "reading the network quotas"), "used")


def read_usage(body: Mapping[str, Any], used: str) -> dict[str, Quota]:
    """Quotas of a body with ``limit``, ``used`` under the name that is given, and ``reserved`` of each."""
    return {
        name: Quota(limit=int(entry["limit"]), used=int(entry[used]) + int(entry.get("reserved") or 0))
        for name, entry in body.items()
        if isinstance(entry, Mapping) and "limit" in entry
    }


def _get(service: Any, path: str, key: str, doing: str) -> dict[str, Any]:
    with translated(doing):
        answer = service.get(path)
        exceptions.raise_from_response(answer)
        return dict(answer.json()[key])
