# SPDX-License-Identifier: Apache-2.0
"""Storage pools, and volumes in them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import libvirt

from coriolis.providers.api import Context, Environment, Invalid, StorageBackend, StorageInventory
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.domain_xml import disk_sources, parse
from coriolis.providers.libvirt.errors import is_code

FILE_POOLS = ("dir", "fs", "netfs")
BLOCK_POOLS = ("logical",)
_CAPACITY, _ALLOCATION, _AVAILABLE = 1, 2, 3  # of virStoragePoolGetInfo


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A storage pool. Bytes; ``path``: its folder on the host, or its volume group."""

    id: str
    name: str
    type: str
    path: str
    active: bool
    capacity: int
    available: int

    @property
    def usable(self) -> bool:
        return self.active and self.type in FILE_POOLS + BLOCK_POOLS


class LibvirtStorage:
    def __init__(self, link: Link) -> None:
        self._link = link

    def list_storage(self, environment: Environment, context: Context) -> StorageInventory:
        pools = list_pools(self._link)
        return StorageInventory(
            storage_backends=tuple(
                StorageBackend(id=pool.id, name=pool.name, additional_provider_properties=_properties(pool))
                for pool in pools
            ),
            config_default=default_pool(pools, environment),
        )


def _properties(pool: Pool) -> dict[str, Any]:
    return {
        "type": pool.type,
        "path": pool.path,
        "active": pool.active,
        "usable": pool.usable,
        "capacity_bytes": pool.capacity,
        "available_bytes": pool.available,
    }


def list_pools(link: Link, *, refresh: bool = True) -> list[Pool]:
    """All pools, by name; with ``refresh``, with their present free space (libvirt then looks at every volume)."""
    with link.translated("listing storage pools"):
        found = [_read(pool, refresh=refresh) for pool in link.connection.listAllStoragePools()]
    return sorted(found, key=lambda pool: pool.name)


def _read(pool: libvirt.virStoragePool, *, refresh: bool) -> Pool:
    active = bool(pool.isActive())
    if active and refresh:
        # A pool in which a volume is being made refuses, and keeps the free space of its last refresh.
        with contextlib.suppress(libvirt.libvirtError):
            pool.refresh()
    xml, info = parse(pool.XMLDesc()), pool.info()
    return Pool(
        id=pool.UUIDString(),
        name=pool.name(),
        type=xml.get("type", ""),
        path=xml.findtext("./target/path", ""),
        active=active,
        capacity=int(info[_CAPACITY]),
        available=int(info[_AVAILABLE]),
    )


def default_pool(pools: list[Pool], environment: Environment) -> str | None:
    """The environment's, otherwise the one called default, otherwise the only usable one."""
    if environment.get("storage_pool"):
        return str(environment["storage_pool"])
    usable = [pool.name for pool in pools if pool.usable]
    if "default" in usable:
        return "default"
    return usable[0] if len(usable) == 1 else None


def resolve_pool(pools: list[Pool], wanted: str) -> Pool:
    """By id or name. :raises Invalid: there is none, or it cannot hold disks"""
    for pool in pools:
        if wanted in (pool.id, pool.name):
            if not pool.active:
                raise Invalid(f"storage pool {pool.name} is not active; start it (virsh pool-start {pool.name})")
            if not pool.usable:
                raise Invalid(
                    f"storage pool {pool.name} is of type {pool.type}; use one of "
                    + ", ".join(FILE_POOLS + BLOCK_POOLS)
                )
            return pool
    names = ", ".join(pool.name for pool in pools) or "none"
    raise Invalid(f"the destination has no storage pool {wanted}; it has {names}")


def find_volume(link: Link, pool: str, name: str) -> libvirt.virStorageVol | None:
    """None when there is no such volume, or pool."""
    with link.translated(f"looking for volume {pool}/{name}"):
        try:
            return link.connection.storagePoolLookupByName(pool).storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if is_code(error, libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_NO_STORAGE_VOL):
                return None
            raise


def domain_using(link: Link, path: str) -> str | None:
    """The name of a domain that has the image or device at ``path`` among its disks."""
    with link.translated("reading the domains' disks"):
        for domain in link.connection.listAllDomains():
            try:
                xml = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if domain.isPersistent() else 0))
            except libvirt.libvirtError as error:
                if is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                    continue
                raise
            if any(source.path == path for source in disk_sources(xml)):
                return str(domain.name())
    return None
