# SPDX-License-Identifier: Apache-2.0
"""Volume types."""

from __future__ import annotations

from typing import Any

from openstack import exceptions as sdk_errors

from coriolis.providers.api import Context, Environment, StorageBackend, StorageInventory
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated

_ZONES_OF_TYPE = "RESKEY:availability_zones"


class OpenStackStorage:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def list_storage(self, environment: Environment, context: Context) -> StorageInventory:
        types = list_types(self._cloud)
        context.check_cancelled()
        return StorageInventory(
            storage_backends=tuple(
                StorageBackend(id=one.id, name=one.name, additional_provider_properties=_properties(one))
                for one in types
            ),
            config_default=environment.get("volume_type") or default_type(self._cloud),
        )


def list_types(cloud: Cloud) -> list[Any]:
    """The volume types that the project may use, by name."""
    with translated(f"listing the volume types of {cloud.name}"):
        return sorted(cloud.cinder.types(), key=lambda one: (one.name, one.id))


def default_type(cloud: Cloud) -> str | None:
    """The name of the type that volumes get when nobody says which; None when the cloud has none."""
    with translated(f"reading the default volume type of {cloud.name}"):
        try:
            return str(cloud.cinder.get_type("default").name)
        except sdk_errors.NotFoundException:
            return None


def _properties(one: Any) -> dict[str, Any]:
    specs = one.extra_specs or {}  # what our credentials may see of them
    zones = str(specs.get(_ZONES_OF_TYPE, ""))
    return {
        "description": one.description,
        "public": bool(one.is_public),
        "availability_zones": [zone.strip() for zone in zones.split(",") if zone.strip()],
        "multiattach": "True" in str(specs.get("multiattach", "")),
    }
