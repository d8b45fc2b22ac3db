# SPDX-License-Identifier: Apache-2.0
"""Availability zones in which something can be made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated


def server_zones(cloud: Cloud) -> list[str]:
    with translated(f"listing the availability zones of {cloud.name}"):
        return available(cloud.sdk.compute.availability_zones())


def volume_zones(cloud: Cloud) -> list[str]:
    with translated(f"listing the availability zones of volumes of {cloud.name}"):
        return available(cloud.cinder.availability_zones())


def available(zones: Iterable[Any]) -> list[str]:
    """Names, sorted, of the zones (of the SDK) that are available; of one that does not say, it is assumed."""
    return sorted(zone.name for zone in zones if (zone.state or {}).get("available", True))
