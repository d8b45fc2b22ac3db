# SPDX-License-Identifier: Apache-2.0
"""What the options of an environment can be in this cloud and project. One call for each kind of thing asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from coriolis.providers.api import Context, Environment, Option, OptionsOf
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.storage import default_type, list_types
from coriolis.providers.openstack.zones import server_zones, volume_zones

Values = tuple[Any, ...]


class OpenStackOptions:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def list_options(
        self, of: OptionsOf, environment: Environment, names: Collection[str] | None, context: Context
    ) -> list[Option]:
        found = []
        known: dict[Callable[[Cloud], Values], Values] = {}  # several options have the same values
        for name, look in _OPTIONS[of].items():
            if names is None or name in names:
                context.check_cancelled()
                if look not in known:
                    known[look] = look(self._cloud)
                default = default_type(self._cloud) if name == "volume_type" else None
                found.append(Option(name=name, values=known[look], config_default=default))
        return found


def _named(things: Iterable[Any]) -> Values:
    """As objects, since names need not be unique; ordered by name."""
    pairs = sorted((thing.name or thing.id, thing.id) for thing in things)
    return tuple({"id": identifier, "name": name} for name, identifier in pairs)


def _networks(cloud: Cloud) -> Values:
    with translated(f"listing the networks of {cloud.name}"):
        return _named(cloud.sdk.network.networks())


def _external_networks(cloud: Cloud) -> Values:
    with translated(f"listing the external networks of {cloud.name}"):
        return _named(cloud.sdk.network.networks(is_router_external=True))


def _security_groups(cloud: Cloud) -> Values:
    with translated(f"listing the security groups of {cloud.name}"):
        return _named(cloud.sdk.network.security_groups(project_id=cloud.project_id))


def _flavors(cloud: Cloud) -> Values:
    with translated(f"listing the flavors of {cloud.name}"):
        return _named(cloud.sdk.compute.flavors(get_extra_specs=False))


def _keypairs(cloud: Cloud) -> Values:
    with translated(f"listing the keypairs of {cloud.name}"):
        return tuple(sorted(pair.name for pair in cloud.sdk.compute.keypairs()))


def _server_groups(cloud: Cloud) -> Values:
    with translated(f"listing the server groups of {cloud.name}"):
        return _named(cloud.sdk.compute.server_groups())


def _zones(cloud: Cloud) -> Values:
    return tuple(server_zones(cloud))


def _images(cloud: Cloud) -> Values:
    with translated(f"listing the images of {cloud.name}"):
        return _named(cloud.sdk.image.images(status="active"))


def _volume_types(cloud: Cloud) -> Values:
    return _named(list_types(cloud))


def _volume_type_names(cloud: Cloud) -> Values:
    return tuple(one.name for one in list_types(cloud))


def _volume_zones(cloud: Cloud) -> Values:
    return tuple(volume_zones(cloud))


_MINION: Mapping[str, Callable[[Cloud], Values]] = {
    "minion_image": _images,
    "minion_flavor": _flavors,
    "minion_network": _networks,
    "minion_floating_network": _external_networks,
    "minion_security_group": _security_groups,
}
_POOL = {**_MINION, "minion_availability_zone": _zones}
_OPTIONS: Mapping[OptionsOf, Mapping[str, Callable[[Cloud], Values]]] = {
    OptionsOf.SOURCE: _MINION,
    OptionsOf.DESTINATION: {
        "network": _networks,
        "security_groups": _security_groups,
        "floating_ip_network": _external_networks,
        "flavor_name": _flavors,
        "volume_type": _volume_types,
        "zeroed_volume_types": _volume_type_names,
        "availability_zone": _zones,
        "volumes_availability_zone": _volume_zones,
        "keypair_name": _keypairs,
        "server_group": _server_groups,
        **_MINION,
    },
    OptionsOf.SOURCE_MINIONS: _POOL,
    OptionsOf.DESTINATION_MINIONS: _POOL,
}
