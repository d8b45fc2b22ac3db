# SPDX-License-Identifier: Apache-2.0
"""Minions: domains of ours on an overlay of an image that the operator put into a storage pool."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import libvirt
import libvirt_qemu

from coriolis.providers.api import (
    Context,
    Devices,
    Disk,
    Environment,
    Gone,
    Instance,
    Invalid,
    Layout,
    Minion,
    OsType,
    PlannedDisk,
    PlannedNic,
    Unavailable,
    Volume,
)
from coriolis.providers.libvirt.compute import LibvirtCompute
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.define_xml import Hardware
from coriolis.providers.libvirt.domain_xml import parse
from coriolis.providers.libvirt.networks import list_networks, resolve_network
from coriolis.providers.libvirt.planning import resolve_accel
from coriolis.providers.libvirt.storage import FILE_POOLS, Pool, default_pool, find_volume, list_pools, resolve_pool
from coriolis.providers.libvirt.volumes import LibvirtVolumes, volume_name, volume_xml

_DISK = "root"
_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 3.0
_AGENT_SECONDS = 5
_SOURCES = (
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
    libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
)


class LibvirtMinions:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._compute = LibvirtCompute(link)
        self._volumes = LibvirtVolumes(link)

    def create(self, name: str, key: str, environment: Environment, context: Context) -> Minion:
        pools = list_pools(self._link, refresh=False)
        pool = _own_pool(pools, environment)
        image = self._image(pools, pool, environment["image"])
        hardware = Hardware(accel=resolve_accel(self._link, environment.get("accel", "auto")))
        network = resolve_network(list_networks(self._link), environment.get("network", "user"))
        size = int(image.info()[1])
        layout = Layout(
            name=name,
            disks=(PlannedDisk(disk_id=_DISK, size_bytes=size, storage=pool.name, boot=True),),
            nics=(PlannedNic(nic_id="nic-0", network=network),),
            properties={"hardware": dataclasses.asdict(hardware)},
        )
        instance = Instance(
            id=name,
            name=name,
            num_cpu=environment.get("num_cpu", 1),
            memory_mb=environment.get("memory_mb", 1024),
            os_type=OsType.LINUX,
            devices=Devices(disks=(Disk(id=_DISK, size_bytes=size),)),
        )
        volume = self._overlay(pool, volume_name(name, _DISK, key, "qcow2"), size, image)
        context.check_cancelled()
        made = self._compute.create(instance, layout, [volume], key, {}, context)
        return self.check(made.ref, environment, context)

    def check(self, ref: str, environment: Environment, context: Context) -> Minion:
        domain = self._link.existing_domain(ref)
        self._compute.start(ref, context)
        ready = _READY[environment.get("ready", "running")]
        end = time.monotonic() + environment.get("ready_seconds", 300)
        while not ready(self._link, domain, self._address(domain, environment)):
            if not domain.isActive():
                raise Unavailable(f"minion {domain.name()} switched itself off; look at its console's log")
            if time.monotonic() >= end:
                wanted, seconds = environment["ready"], environment.get("ready_seconds", 300)
                raise Unavailable(f"minion {domain.name()} runs, but is not ready ({wanted}) after {seconds} s")
            if context.cancelled.wait(_POLL_SECONDS):
                context.check_cancelled()
        return Minion(ref=ref, name=domain.name(), running=True, address=self._address(domain, environment))

    def stop(self, ref: str, context: Context) -> None:
        with contextlib.suppress(Gone):
            self._compute.stop(ref, context)

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        self._compute.delete(ref, key, context)
        self._volumes.delete(None, key, context)

    def _image(self, pools: list[Pool], own: Pool, wanted: str) -> libvirt.virStorageVol:
        """Never a path of the host: whoever makes pools may not read its files. :raises Invalid: no such volume"""
        named, _, rest = wanted.partition("/")
        pool, name = (resolve_pool(pools, named), rest) if rest else (own, wanted)
        found = find_volume(self._link, pool.name, name)
        if found is None:
            raise Invalid(f"image: storage pool {pool.name} has no volume {name}")
        return found

    def _overlay(self, pool: Pool, name: str, size: int, image: libvirt.virStorageVol) -> Volume:
        found = find_volume(self._link, pool.name, name)
        if found is None:
            with self._link.translated(f"making volume {pool.name}/{name}"):
                xml = overlay_xml(name, size, str(image.path()), _format_of(image))
                found = self._link.connection.storagePoolLookupByName(pool.name).createXML(xml)
        return Volume(
            disk_id=_DISK,
            ref=f"{pool.name}/{name}",
            size_bytes=size,
            properties={"path": str(found.path()), "format": "qcow2", "type": "file"},
        )

    def _address(self, domain: libvirt.virDomain, environment: Environment) -> dict[str, Any]:
        """Empty as long as libvirt knows none: of the user network it never does."""
        for source in _SOURCES:
            with contextlib.suppress(libvirt.libvirtError):
                for interface in domain.interfaceAddresses(source).values():
                    for one in interface["addrs"] or ():
                        if not one["addr"].startswith(("127.", "::1", "fe80:")):
                            port, username = environment.get("port", 22), environment.get("username", "root")
                            return {"ip": one["addr"], "port": port, "username": username}
        return {}


def _own_pool(pools: list[Pool], environment: Environment) -> Pool:
    """:raises Invalid: there is none that can hold overlays"""
    wanted = default_pool(pools, environment)
    if wanted is None:
        raise Invalid("storage_pool: name the storage pool of the minions; the host has none called default")
    pool = resolve_pool(pools, wanted)
    if pool.type not in FILE_POOLS:
        raise Invalid(f"storage_pool: minions need a pool of files; {pool.name} is of type {pool.type}")
    return pool


def _format_of(volume: libvirt.virStorageVol) -> str:
    element = parse(volume.XMLDesc()).find("./target/format")
    return "raw" if element is None else element.get("type", "raw")


def overlay_xml(name: str, size: int, image: str, image_format: str) -> str:
    """A qcow2 volume that reads as ``image`` where nothing was written."""
    volume = ET.fromstring(volume_xml(name, size, "qcow2"))
    backing = ET.SubElement(volume, "backingStore")
    ET.SubElement(backing, "path").text = image
    ET.SubElement(backing, "format", type=image_format)
    return ET.tostring(volume, encoding="unicode")


# ---- when a minion is ready ------------------------------------------------------------------------------------


def _running(link: Link, domain: libvirt.virDomain, address: dict[str, Any]) -> bool:
    return bool(domain.isActive())


def _agent_answers(link: Link, domain: libvirt.virDomain, address: dict[str, Any]) -> bool:
    try:
        ping = json.dumps({"execute": "guest-ping"})
        return "return" in json.loads(libvirt_qemu.qemuAgentCommand(domain, ping, _AGENT_SECONDS, 0))
    except libvirt.libvirtError:
        return False


def _port_answers(link: Link, domain: libvirt.virDomain, address: dict[str, Any]) -> bool:
    if not address:
        return False
    try:
        with socket.create_connection((address["ip"], address["port"]), _CONNECT_SECONDS):
            return True
    except OSError:
        return False


_READY: dict[str, Callable[[Link, libvirt.virDomain, dict[str, Any]], bool]] = {
    "running": _running,
    "agent": _agent_answers,
    "ssh": _port_answers,
}
