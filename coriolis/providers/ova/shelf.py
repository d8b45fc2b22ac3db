# SPDX-License-Identifier: Apache-2.0
"""The instances at a connection's path. A damaged file never hides the others."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from coriolis.providers.api import (
    Conflict,
    Context,
    Controller,
    Devices,
    Disk,
    Environment,
    Firmware,
    Gone,
    Instance,
    InstanceSummary,
    Invalid,
    Nic,
    OsType,
    ProviderError,
)
from coriolis.providers.ova import disks, hardware, package
from coriolis.providers.ova.catalog import Item, items
from coriolis.providers.ova.ovf import System
from coriolis.providers.ova.package import Package
from coriolis.providers.ova.window import Stamp, examine

_OPENERS = {"ova": package.open_ova, "ovf": package.open_ovf}


@dataclass(frozen=True, kw_only=True)
class Found:
    """An instance and where it comes from; a bare image has no package."""

    id: str
    name: str
    item: Item
    package: Package | None = None
    system: System | None = None


class Shelf:
    """Reads below ``root`` only when asked; descriptors are read once as long as their files stay as they are."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._packages: dict[Stamp, Package] = {}

    def summaries(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        page: list[InstanceSummary] = []
        found_items = self._items(context)
        for item in found_items:
            context.check_cancelled()
            if marker is not None and item.id < marker and not marker.startswith(item.id):
                continue
            if limit is not None and len(page) >= limit and item.id > page[limit - 1].id:
                break
            try:
                for found in self._load(item):
                    if (marker is None or found.id > marker) and (name or "").lower() in found.name.lower():
                        summary = _summary(self.instance(found, environment, strict=False, sizes=False))
                        # Nearly in order: of two files, one name may be the beginning of the other.
                        bisect.insort(page, summary, key=lambda each: each.id)
            except ProviderError as error:
                if len(found_items) == 1:
                    raise
                context.event("WARNING", f"Left out: {error.message}")
        return page[:limit]

    def find(self, name: str, context: Context) -> Found:
        """By id or name. :raises Gone: nothing. :raises Conflict: several. :raises Invalid: the file is damaged"""
        named: list[Found] = []
        damaged = 0
        for item in self._items(context):
            context.check_cancelled()
            try:
                for found in self._load(item):
                    if found.id == name:
                        return found
                    if found.name == name:
                        named.append(found)
            except ProviderError:
                if name in (item.id, Path(item.id).stem) or name.startswith(f"{item.id}#") or item.path == self._root:
                    raise
                damaged += 1
        if len(named) > 1:
            raise Conflict(f"Several instances are named {name!r}. Use an id: {', '.join(f.id for f in named[:10])}.")
        if not named:
            hint = f" ({damaged} files there cannot be read)" if damaged else ""
            raise Gone(f"There is no instance {name!r} in {self._root}{hint}.")
        return named[0]

    def instance(self, found: Found, environment: Environment, *, strict: bool = True, sizes: bool = True) -> Instance:
        """``strict``: an unknown deployment option is an error. ``sizes``: look into the images."""
        with _naming(found.item):
            if found.system is None or found.package is None:
                return _overridden(_bare(found, environment, sizes=sizes), environment)
            envelope = found.package.envelope
            option = environment.get("deployment_option")
            if not strict and option not in envelope.configurations:
                option = None
            instance = hardware.to_instance(envelope, found.system, instance_id=found.id, option=option)
            if sizes:
                instance = _with_images(found.package, instance)
            return _overridden(instance, environment)

    def configurations(self, context: Context) -> tuple[list[str], str | None]:
        """The ids of the deployment options of all packages, and the default, if there is but one."""
        found: dict[str, None] = {}
        defaults: set[str | None] = set()
        for item in self._items(context):
            context.check_cancelled()
            if item.kind in _OPENERS:
                try:
                    envelope = self._open(item).envelope
                except ProviderError as error:
                    context.event("WARNING", f"Left out: {error.message}")
                    continue
                found.update(dict.fromkeys(envelope.configurations))
                defaults.add(envelope.default_configuration)
        return list(found), defaults.pop() if len(defaults) == 1 else None

    def _items(self, context: Context) -> list[Item]:
        """All items, without the images that are parts of packages or of other images."""
        found = items(self._root)
        parts: set[Path] = set()
        for item in found:
            try:
                if item.kind == "ovf":
                    opened = self._open(item)
                    for file in opened.envelope.files.values():
                        parts.update(window.path for window in opened.pieces(file))
                elif item.kind == "image" and item.path.suffix.lower() != ".raw":
                    parts.update(disks.inspect(_image(item)).files[1:])
            except ProviderError as error:
                context.log.debug("%s: %s", item.path, error.message)  # told when the item itself is loaded
        return [item for item in found if item.kind != "image" or item.path.resolve() not in parts]

    def _open(self, item: Item) -> Package:
        stamp = Stamp.of(item.path)
        if stamp not in self._packages:
            self._packages[stamp] = _OPENERS[item.kind](item.path)
        return self._packages[stamp]

    def _load(self, item: Item) -> Iterator[Found]:
        if item.kind == "image":
            yield Found(id=item.id, name=item.path.stem, item=item)
            return
        opened = self._open(item)
        systems = opened.envelope.systems
        ids = {system.id for system in systems}
        if len(ids) != len(systems):
            raise Invalid(f"{item.id}: two virtual systems have the same id.")
        for system in systems:
            instance_id = item.id if len(systems) == 1 else f"{item.id}#{system.id}"
            yield Found(id=instance_id, name=system.name or item.path.stem, item=item, package=opened, system=system)


@contextlib.contextmanager
def _naming(item: Item) -> Iterator[None]:
    """Sees to it that errors name the file."""
    try:
        yield
    except Invalid as error:
        if item.path.name in error.message:
            raise
        raise Invalid(f"{item.id}: {error.message}") from error


def _image(item: Item) -> disks.DiskFile:
    return disks.image(item.path, examine(item.path).st_size)


def disk_file(found: Found, disk_id: str) -> disks.DiskFile:
    """The bytes of a disk of ``found``. :raises Invalid: see `disks.packaged`."""
    return _image(found.item) if found.package is None else _packaged_disk(found.package, disk_id)


def _packaged_disk(opened: Package, disk_id: str) -> disks.DiskFile:
    envelope = opened.envelope
    described = envelope.disks.get(disk_id)
    file_id = described.file_id if described is not None else disk_id
    file = envelope.files.get(file_id) if file_id is not None else None
    if file_id is not None and file is None:
        raise Invalid(f"{opened.path.name}: disk {disk_id!r} refers to the file {file_id!r}, which is not described.")
    return disks.packaged(opened, described, file)


def _summary(instance: Instance) -> InstanceSummary:
    return InstanceSummary(
        id=instance.id,
        name=instance.name,
        instance_name=instance.instance_name,
        num_cpu=instance.num_cpu,
        memory_mb=instance.memory_mb,
        os_type=instance.os_type,
        firmware_type=instance.firmware_type,
    )


def _bare(found: Found, environment: Environment, *, sizes: bool) -> Instance:
    info = disks.inspect(_image(found.item)) if sizes else None
    bus = environment.get("disk_bus", "virtio")
    disk = Disk(
        id=found.item.path.name,
        size_bytes=info.size if info else 0,
        format=disks.FORMAT_WORDS.get(info.format, info.format.value) if info else None,
        path=str(found.item.path),
        controller_id="0",
        unit_number=0,
    )
    nics = (
        Nic(id=str(number), network_name=network)
        for number, network in enumerate(environment.get("networks", ["unnamed"]))
    )
    return Instance(
        id=found.id,
        name=found.name,
        instance_name=found.name,
        num_cpu=hardware.DEFAULT_CPUS,
        memory_mb=hardware.DEFAULT_MEMORY_MB,
        devices=Devices(disks=(disk,), nics=tuple(nics), controllers=(Controller(id="0", type=bus),)),
    )


def _with_images(opened: Package, instance: Instance) -> Instance:
    """The instance with formats, paths, and the sizes that the images themselves tell."""
    filled = []
    for disk in instance.devices.disks:
        file = _packaged_disk(opened, disk.id)
        path = str(file.pieces[0].path) if file.pieces else None
        format_ = disks.inspect(file).format if file.in_place else file.format
        words = disks.FORMAT_WORDS.get(format_, format_.value) if format_ else None
        filled.append(replace(disk, size_bytes=disks.size(file), format=words, path=path))
    return replace(instance, devices=replace(instance.devices, disks=tuple(filled)))


def _overridden(instance: Instance, environment: Environment) -> Instance:
    changes: dict[str, object] = {key: environment[key] for key in ("num_cpu", "memory_mb") if key in environment}
    if "firmware_type" in environment:
        changes["firmware_type"] = Firmware(environment["firmware_type"])
    if "os_type" in environment:
        changes["os_type"] = OsType(environment["os_type"])
    return replace(instance, **changes)  # type: ignore[arg-type]
