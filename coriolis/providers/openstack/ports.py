# SPDX-License-Identifier: Apache-2.0
"""Ports and the floating address of a new server: made before it, all or none, and removed with it.

Their mark is the description, which the request that makes them can carry and Neutron can look for; most Neutrons
cannot tag in that request. The tag follows, for people who look for it.
"""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Conflict, Layout, PlannedNic, ProviderError
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.tags import tag


def ensure_ports(cloud: Cloud, layout: Layout, key: str, *, new: bool = False) -> list[str]:
    """Ids of the ports in the order of the NICs. ``new``: there can be none yet.

    :raises Conflict: an address is taken; says by what
    """
    ports = {} if new else {port.name: str(port.id) for port in _ports(cloud, key)}
    names = [f"{layout.name[:200]}-{number}" for number, _nic in enumerate(layout.nics)]
    missing = [(name, nic) for name, nic in zip(names, layout.nics, strict=True) if name not in ports]
    if missing:
        bodies = [_body(name, nic, key) for name, nic in missing]
        try:
            with translated(f"making the ports of {layout.name}"):
                made = list(cloud.sdk.network.create_ports(bodies))  # all or none
                for port in made:
                    cloud.sdk.network.set_tags(port, [tag(key)])
        except Conflict as error:
            made = _ports(cloud, key)  # the answer was lost, and the request sent once more
            if {port.name for port in made} < set(names):
                raise _explained(cloud, error, [nic for _name, nic in missing]) from error
        ports |= {port.name: str(port.id) for port in made}
    return [ports[name] for name in names]


def _body(name: str, nic: PlannedNic, key: str) -> dict[str, Any]:
    body: dict[str, Any] = {"name": name, "network_id": nic.network, "description": tag(key)}
    if nic.mac_address:
        body["mac_address"] = nic.mac_address
    if nic.properties.get("fixed_ips"):
        body["fixed_ips"] = nic.properties["fixed_ips"]
    if nic.properties.get("security_groups") is not None:
        body["security_groups"] = nic.properties["security_groups"]
    return body


def _explained(cloud: Cloud, error: Conflict, nics: list[PlannedNic]) -> ProviderError:
    """The same error, naming the address that is taken and what has it, when that can be seen."""
    for nic in nics:
        queries: list[tuple[str, dict[str, Any]]] = [
            (f"address {fixed['ip_address']}", {"fixed_ips": f"ip_address={fixed['ip_address']}"})
            for fixed in nic.properties.get("fixed_ips") or ()
        ]
        if nic.mac_address:
            queries.append((f"MAC address {nic.mac_address}", {"mac_address": nic.mac_address}))
        for what, query in queries:
            with translated(f"looking for the port with {what}"):
                owner = next(iter(cloud.sdk.network.ports(network_id=nic.network, **query)), None)
            if owner is not None:
                device = f"{owner.device_owner} {owner.device_id}".strip() or "no device"
                network = nic.properties.get("network_name", nic.network)
                return Conflict(
                    f"{what} is taken in network {network} by port {owner.id} ({device}); free it, or do not keep it "
                    "(keep_mac_addresses, keep_ip_addresses in destination_environment)"
                )
    return error


def ensure_floating_address(cloud: Cloud, network: str, port: str, key: str, *, new: bool = False) -> str:
    """The address, made and given to the port unless it was. ``new``: it cannot have been."""
    with translated("giving the server a floating address"):
        found = None if new else next(iter(_floating(cloud, key)), None)
        if found is None:
            found = cloud.sdk.network.create_ip(floating_network_id=network, port_id=port, description=tag(key))
            cloud.sdk.network.set_tags(found, [tag(key)])
        return str(found.floating_ip_address)


def delete_ports(cloud: Cloud, key: str) -> None:
    """With the floating address. Content when there is nothing."""
    with translated("removing the floating address of ours"):
        for address in _floating(cloud, key):
            cloud.sdk.network.delete_ip(address, ignore_missing=True)
    for port in _ports(cloud, key):
        with translated(f"removing port {port.id}"):
            cloud.sdk.network.delete_port(port, ignore_missing=True)


def _ports(cloud: Cloud, key: str) -> list[Any]:
    with translated("looking for ports of ours"):
        return list(cloud.sdk.network.ports(description=tag(key)))


def _floating(cloud: Cloud, key: str) -> list[Any]:
    return list(cloud.sdk.network.ips(description=tag(key)))
