# SPDX-License-Identifier: Apache-2.0
"""The networks that a domain's interface can join: libvirt's own, host bridges, and QEMU's user mode."""

from __future__ import annotations

import libvirt

from coriolis.providers.api import Context, Environment, Invalid, Network
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.domain_xml import parse
from coriolis.providers.libvirt.errors import is_code

USER_NETWORK = Network(
    id="user",
    name="user",
    additional_provider_properties={"kind": "user", "description": "QEMU's own NAT; nothing reaches in"},
)


class LibvirtNetworks:
    def __init__(self, link: Link) -> None:
        self._link = link

    def list_networks(self, environment: Environment, context: Context) -> list[Network]:
        return list_networks(self._link)


def list_networks(link: Link) -> list[Network]:
    """Ordered by name; the user network last."""
    with link.translated("listing networks"):
        found = []
        own_bridges = set()
        for network in link.connection.listAllNetworks():
            xml = parse(network.XMLDesc())
            forward, bridge = xml.find("forward"), xml.find("bridge")
            properties = {
                "kind": "network",
                "active": bool(network.isActive()),
                "forward": "isolated" if forward is None else forward.get("mode", "nat"),
            }
            if bridge is not None and bridge.get("name"):
                properties["bridge"] = bridge.get("name", "")
                own_bridges.add(bridge.get("name"))
            found.append(
                Network(id=network.UUIDString(), name=network.name(), additional_provider_properties=properties)
            )
        found += [
            Network(id=f"bridge:{name}", name=f"bridge:{name}", additional_provider_properties={"kind": "bridge"})
            for name in _bridges(link)
            if name not in own_bridges
        ]
    return [*sorted(found, key=lambda network: network.name), USER_NETWORK]


def resolve_network(networks: list[Network], wanted: str) -> str:
    """What to put into the domain for a network given by id or name. :raises Invalid: there is none"""
    for network in networks:
        if wanted in (network.id, network.name):
            return network.name
    raise Invalid(
        f"network_map: the destination has no network {wanted}; it has "
        + ", ".join(network.name for network in networks)
    )


def _bridges(link: Link) -> list[str]:
    """Host bridges, where libvirt's interface driver can tell."""
    try:
        interfaces = link.connection.listAllInterfaces(libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE)
        return [i.name() for i in interfaces if parse(i.XMLDesc()).get("type") == "bridge"]
    except libvirt.libvirtError as error:
        if is_code(error, libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_NO_INTERFACE, libvirt.VIR_ERR_INTERNAL_ERROR):
            return []
        raise
