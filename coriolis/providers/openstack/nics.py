# SPDX-License-Identifier: Apache-2.0
"""Plans the NICs of a new server: network, MAC and fixed addresses, security groups."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coriolis.providers.api import (
    Concern,
    Context,
    Environment,
    Instance,
    Invalid,
    Nic,
    PlannedNic,
    Purpose,
    choose_network,
    network_entry,
)
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated

_ADMIN = "admin"
#: Computed from the MAC address by the network; cannot be asked for.
_AUTOMATIC_MODES = ("slaac", "dhcpv6-stateless")


@dataclass(frozen=True, kw_only=True)
class Subnet:
    id: str
    cidr: str
    gateway: str | None = None
    automatic: bool = False


class NicPlanner:
    """For one plan: what was asked of the cloud once is not asked again."""

    def __init__(self, cloud: Cloud, environment: Environment, network_map: dict[str, Any], context: Context) -> None:
        self._cloud, self._environment, self._map, self._context = cloud, environment, network_map, context
        self._networks: dict[str, Any] = {}
        self._groups: dict[str, str] = {}
        self.concerns: list[Concern] = []

    def plan(self, instance: Instance) -> tuple[PlannedNic, ...]:
        """:raises Invalid: a network is not mapped, or there is no such network or security group"""
        return tuple(self._plan_one(nic) for nic in instance.devices.nics)

    def _plan_one(self, nic: Nic) -> PlannedNic:
        network = self._network(choose_network(nic, self._map, self._environment))
        mac = nic.mac_address if self._environment.get("keep_mac_addresses", True) else None
        addresses = nic.ip_addresses if self._environment.get("keep_ip_addresses", False) else ()
        if (mac or addresses) and not self._may_choose(network):
            self._tell(
                "openstack.needs_admin",
                f"NIC {nic.id} gets a new MAC address and address: network {network.name} belongs to another project, "
                "in which only an administrator may choose them",
            )
            mac, addresses = None, ()
        if mac and self._context.purpose is not Purpose.REPLICATE and self._taken(network, mac_address=mac):
            self._tell("openstack.mac_taken", f"MAC address {mac} is taken in network {network.name}: it is not kept")
            mac = None
        return PlannedNic(
            nic_id=nic.id,
            network=str(network.id),
            mac_address=mac,
            properties={
                "network_name": network.name,
                "fixed_ips": self._fixed(network, addresses),
                "security_groups": self._security_groups(nic, network),
            },
        )

    def _network(self, wanted: str) -> Any:
        if wanted not in self._networks:
            with translated(f"looking for network {wanted}"):
                found = self._cloud.sdk.network.find_network(wanted, ignore_missing=True)
            if found is None:
                raise Invalid(f"network_map: {self._cloud.name} has no network {wanted}")
            if not found.subnet_ids:
                raise Invalid(f"network_map: network {found.name} has no subnet, and a server's port needs an address")
            self._networks[wanted] = found
        return self._networks[wanted]

    def _may_choose(self, network: Any) -> bool:
        """MAC and fixed addresses are for the owner of the network and administrators. Source: Neutron's policies
        create_port:mac_address and create_port:fixed_ips:ip_address."""
        return str(network.project_id) == self._cloud.project_id or _ADMIN in self._cloud.roles

    def _fixed(self, network: Any, addresses: Sequence[str]) -> list[dict[str, str]]:
        if not addresses:
            return []
        with translated(f"reading the subnets of network {network.name}"):
            subnets = [_read(one) for one in self._cloud.sdk.network.subnets(network_id=network.id)]
        found = []
        for address in addresses:
            subnet = subnet_of(address, subnets)
            if subnet is None:
                why = f"no subnet of network {network.name} gives it"
            elif self._context.purpose is not Purpose.REPLICATE and self._taken(network, ip_address=address):
                why = f"it is taken in network {network.name}"
            else:
                found.append({"subnet_id": subnet.id, "ip_address": address})
                continue
            self._tell("openstack.address_not_kept", f"address {address} is not kept: {why}")
        return found

    def _taken(self, network: Any, **query: str) -> bool:
        if "ip_address" in query:
            query = {"fixed_ips": f"ip_address={query['ip_address']}"}
        with translated(f"looking for ports of network {network.name}"):
            return any(self._cloud.sdk.network.ports(network_id=network.id, **query))

    def _security_groups(self, nic: Nic, network: Any) -> list[str] | None:
        """Ids; None: the project's default, or none where the network does not want any."""
        entry = network_entry(nic, self._map)
        wanted = entry.get("security_groups") if isinstance(entry, dict) else None
        wanted = wanted if wanted is not None else self._environment.get("security_groups")
        if wanted is None or network.is_port_security_enabled is False:
            return None
        return [self._group(str(name)) for name in wanted]

    def _group(self, wanted: str) -> str:
        if wanted not in self._groups:
            with translated(f"looking for security group {wanted}"):
                found = self._cloud.sdk.network.find_security_group(
                    wanted, ignore_missing=True, project_id=self._cloud.project_id
                )
            if found is None:
                raise Invalid(f"security_groups: the project has no security group {wanted}")
            self._groups[wanted] = str(found.id)
        return self._groups[wanted]

    def _tell(self, code: str, message: str) -> None:
        self.concerns.append(Concern(code=code, message=message))


def subnet_of(address: str, subnets: Sequence[Subnet]) -> Subnet | None:
    """The subnet in which a port may have that address."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return None
    for subnet in subnets:
        network = ipaddress.ip_network(subnet.cidr, strict=False)
        reserved = {network.network_address}
        if network.version == 4 and network.prefixlen < 31:
            reserved.add(network.broadcast_address)
        if wanted in network and wanted not in reserved and address != subnet.gateway and not subnet.automatic:
            return subnet
    return None


def _read(one: Any) -> Subnet:
    return Subnet(
        id=str(one.id),
        cidr=str(one.cidr),
        gateway=one.gateway_ip,
        automatic=one.ipv6_address_mode in _AUTOMATIC_MODES,
    )
