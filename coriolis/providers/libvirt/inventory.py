# SPDX-License-Identifier: Apache-2.0
"""The domains of a host as instances."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET

import libvirt

from coriolis.providers.api import Context, Environment, Gone, Instance, InstanceSummary
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.domain_xml import (
    DiskSource,
    disk_sources,
    instance_from_xml,
    parse,
    summary_from_xml,
)
from coriolis.providers.libvirt.errors import is_code


class LibvirtInventory:
    def __init__(self, link: Link) -> None:
        self._link = link

    def list_instances(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        with self._link.translated("listing domains"):
            domains = {domain.UUIDString(): domain for domain in self._link.connection.listAllDomains()}
        wanted = sorted(
            identifier
            for identifier, domain in domains.items()
            if (marker is None or identifier > marker) and (name is None or name.casefold() in domain.name().casefold())
        )
        found: list[InstanceSummary] = []
        for identifier in wanted:
            if limit is not None and len(found) >= limit:
                break
            context.check_cancelled()
            xml = domain_xml(self._link, domains[identifier])
            if xml is not None:  # gone since it was listed
                found.append(summary_from_xml(xml))
        return found

    def get_instance(self, environment: Environment, name: str, context: Context) -> Instance:
        domain = find_domain(self._link, name)
        return read_instance(self._link, domain)


def find_domain(link: Link, name: str) -> libvirt.virDomain:
    """By name, otherwise by UUID. :raises Gone: there is none"""
    with link.translated(f"looking for domain {name}"):
        try:
            return link.connection.lookupByName(name)
        except libvirt.libvirtError as error:
            if not is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                raise
    try:
        identifier = str(uuid.UUID(name))
    except ValueError:
        raise Gone(f"there is no domain {name} on {link.uri}") from None
    return link.existing_domain(identifier)


def domain_xml(link: Link, domain: libvirt.virDomain, *, inactive: bool = False) -> ET.Element | None:
    """None when the domain is gone."""
    with link.translated("reading a domain"):
        try:
            return parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0))
        except libvirt.libvirtError as error:
            if is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                return None
            raise


def existing_xml(link: Link, domain: libvirt.virDomain) -> ET.Element:
    """:raises Gone: the domain is gone"""
    xml = domain_xml(link, domain)
    if xml is None:
        raise Gone(f"domain {domain.UUIDString()} is gone")
    return xml


def read_instance(link: Link, domain: libvirt.virDomain) -> Instance:
    """Everything about a domain. :raises Gone: it is gone"""
    xml = existing_xml(link, domain)
    sources = disk_sources(xml)
    with link.translated(f"reading domain {domain.name()}"):
        running = bool(domain.isActive())
        sizes = {source.target: disk_size(link, domain, source) for source in sources}
        networks = {network.name(): network.UUIDString() for network in link.connection.listAllNetworks()}
    pools = {source.target: pool for source in sources if (pool := _pool_of(link, source)) is not None}
    return instance_from_xml(xml, sizes=sizes, running=running, network_ids=networks, pools=pools)


def disk_size(link: Link, domain: libvirt.virDomain, source: DiskSource) -> int:
    """Bytes that the guest sees."""
    if source.type == "volume" and not domain.isActive():
        pool = link.connection.storagePoolLookupByName(source.pool)
        return int(pool.storageVolLookupByName(source.volume).info()[1])
    return int(domain.blockInfo(source.target)[0])


def disk_path(link: Link, source: DiskSource) -> str | None:
    """The path of the disk's image or device on the host; None for a network disk."""
    if source.path is not None:
        return source.path
    if source.pool is None or source.volume is None:
        return None
    with link.translated(f"looking for volume {source.pool}/{source.volume}"):
        pool = link.connection.storagePoolLookupByName(source.pool)
        return str(pool.storageVolLookupByName(source.volume).path())


def _pool_of(link: Link, source: DiskSource) -> str | None:
    if source.path is None:
        return None
    try:
        volume = link.connection.storageVolLookupByPath(source.path)
        return str(volume.storagePoolLookupByVolume().name())
    except libvirt.libvirtError:  # in no pool, or in one that is not active
        return None
