# SPDX-License-Identifier: Apache-2.0
"""Volumes for replicated disks, and writing to them.

A volume's name ends in twelve hexadecimal digits of its key, which is how it is found again.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import libvirt

from coriolis.dataplane import NbdSink, Sink
from coriolis.providers.api import Conflict, Context, Environment, Gone, Layout, PlannedDisk, Volume
from coriolis.providers.api.exports import Export, served, stop_writer
from coriolis.providers.libvirt.connection import Link, short_tag
from coriolis.providers.libvirt.errors import is_code
from coriolis.providers.libvirt.storage import FILE_POOLS, domain_using, find_volume, list_pools, resolve_pool

_UNPLAIN = re.compile(r"[^A-Za-z0-9_.-]+")


class LibvirtVolumes:
    def __init__(self, link: Link) -> None:
        self._link = link

    def create(self, disk: PlannedDisk, layout: Layout, key: str, environment: Environment, context: Context) -> Volume:
        pool = resolve_pool(list_pools(self._link, refresh=False), str(disk.storage))
        kind = disk.properties.get("volume_format", "qcow2") if pool.type in FILE_POOLS else "raw"
        name = volume_name(layout.name, disk.disk_id, key, kind if pool.type in FILE_POOLS else None)
        context.check_cancelled()
        volume = find_volume(self._link, pool.name, name) or self._make(pool.name, name, disk.size_bytes, kind)
        with self._link.translated(f"reading volume {pool.name}/{name}"):
            size, path = int(volume.info()[1]), str(volume.path())
        if size < disk.size_bytes:
            raise Conflict(f"volume {pool.name}/{name} exists and has {size} bytes, not {disk.size_bytes}")
        return Volume(
            disk_id=disk.disk_id,
            ref=f"{pool.name}/{name}",
            size_bytes=size,
            zeroed=pool.type in FILE_POOLS,
            properties={"path": path, "format": kind, "type": "file" if pool.type in FILE_POOLS else "block"},
        )

    def _make(self, pool: str, name: str, size: int, kind: str) -> libvirt.virStorageVol:
        with self._link.translated(f"making volume {pool}/{name}"):
            try:
                return self._link.connection.storagePoolLookupByName(pool).createXML(volume_xml(name, size, kind))
            except libvirt.libvirtError as error:
                if not is_code(error, libvirt.VIR_ERR_STORAGE_VOL_EXIST):
                    raise
                found = find_volume(self._link, pool, name)  # another attempt made it meanwhile
                if found is None:
                    raise
                return found

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        for volume in self._find(ref, key):
            with self._link.translated(f"deleting volume {volume.name()}"):
                path = str(volume.path())
                owner = domain_using(self._link, path)
                if owner is not None:
                    context.event("WARNING", f"volume {ref or path} belongs to domain {owner} and stays")
                    continue
                stop_writer(self._link.host, path, record_path(path))
                try:
                    volume.delete()
                except libvirt.libvirtError as error:
                    if not is_code(error, libvirt.VIR_ERR_NO_STORAGE_VOL):
                        raise

    def _find(self, ref: Any | None, key: str) -> list[libvirt.virStorageVol]:
        mark = f"-{short_tag(key)}"
        if isinstance(ref, str) and "/" in ref:
            pool, _, name = ref.partition("/")
            volume = find_volume(self._link, pool, name) if mark in name else None
            return [] if volume is None else [volume]
        found = []
        with self._link.translated("listing volumes"):
            for pool in self._link.connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
                found += [volume for volume in pool.listAllVolumes() if mark in volume.name()]
        return found


class LibvirtSinks:
    """Volumes are written through qemu-nbd on the host: see ``exports`` for how older writers are locked out."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @contextlib.contextmanager
    def open_sink(self, volume: Volume, context: Context) -> Iterator[Sink]:
        path = str(volume.properties["path"])
        pool, _, name = volume.ref.partition("/")
        if find_volume(self._link, pool, name) is None:
            raise Gone(f"there is no volume {volume.ref} on {self._link.uri}")
        export = Export(image=path, format=str(volume.properties["format"]), record=record_path(path))
        with served(self._link.host, export, context) as uri:
            yield NbdSink(uri=uri, zeroed=volume.zeroed)


def volume_name(domain: str, disk: str, key: str, kind: str | None) -> str:
    """A file name: of the domain, the disk and the key; ``kind`` is its ending."""
    plain = "-".join(_UNPLAIN.sub("_", part).strip("._")[:80] for part in (domain, disk))
    return f"{plain}-{short_tag(key)}" + (f".{kind}" if kind else "")


def volume_xml(name: str, size: int, kind: str) -> str:
    """A volume of ``size`` bytes that occupies none yet."""
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    ET.SubElement(volume, "capacity", unit="bytes").text = str(size)
    ET.SubElement(volume, "allocation", unit="bytes").text = "0"
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", type=kind)
    if kind == "qcow2":
        ET.SubElement(target, "compat").text = "1.1"
    return ET.tostring(volume, encoding="unicode")


def record_path(path: str) -> str:
    """Where the writer of the image at ``path`` leaves its record: beside it, but never among devices."""
    folder, name = posixpath.split(path)
    if folder == "/dev" or folder.startswith("/dev/"):
        return "/run/lock/coriolis" + path.replace("/", "_")
    return f"{folder}/.{name}.coriolis"
