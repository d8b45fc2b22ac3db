# SPDX-License-Identifier: Apache-2.0
"""The networks that a project sees."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Context, Environment, Network
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated


class OpenStackNetworks:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def list_networks(self, environment: Environment, context: Context) -> list[Network]:
        """Ordered by name. Two calls."""
        with translated(f"listing the networks of {self._cloud.name}"):
            networks = list(self._cloud.sdk.network.networks())
            context.check_cancelled()
            subnets = list(self._cloud.sdk.network.subnets())
        ranges: dict[str, list[str]] = {}
        for subnet in subnets:
            ranges.setdefault(subnet.network_id, []).append(subnet.cidr)
        found = [_network(network, sorted(ranges.get(network.id, ()))) for network in networks]
        return sorted(found, key=lambda network: (network.name, network.id))


def _network(network: Any, ranges: list[str]) -> Network:
    return Network(
        id=network.id,
        name=network.name or network.id,
        additional_provider_properties={
            "cidrs": ranges,
            "external": bool(network.is_router_external),
            "shared": bool(network.is_shared),
            "active": bool(network.is_admin_state_up),
            "project_id": network.project_id,
            "mtu": network.mtu,
        },
    )
