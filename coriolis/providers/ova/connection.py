# SPDX-License-Identifier: Apache-2.0
"""The capabilities of the ova provider."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import Any

from coriolis.dataplane import Source
from coriolis.providers.api import (
    Concern,
    Conflict,
    Context,
    Deployed,
    Environment,
    Gone,
    Instance,
    InstanceSummary,
    Invalid,
    Layout,
    Option,
    OptionsOf,
    Snapshot,
    Volume,
)
from coriolis.providers.ova import disks, manifest
from coriolis.providers.ova.catalog import ROOTS_VARIABLE, open_root
from coriolis.providers.ova.shelf import Found, Shelf, disk_file

_SOURCE_ONLY = "Files in OVF form are read, not written: choose another platform as destination."


class OvaInventory:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def list_instances(
        self, environment: Environment, *, marker: str | None, limit: int | None, name: str | None, context: Context
    ) -> list[InstanceSummary]:
        return self._shelf.summaries(environment, marker=marker, limit=limit, name=name, context=context)

    def get_instance(self, environment: Environment, name: str, context: Context) -> Instance:
        return self._shelf.instance(self._shelf.find(name, context), environment)


class OvaOptions:
    """The configurations that the packages offer; the schema tells the rest."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def list_options(
        self, of: OptionsOf, environment: Environment, names: Collection[str] | None, context: Context
    ) -> list[Option]:
        if of is not OptionsOf.SOURCE or (names is not None and "deployment_option" not in names):
            return []
        found, default = self._shelf.configurations(context)
        return [Option(name="deployment_option", values=tuple(found), config_default=default)]


class OvaPlanning:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def check_source(self, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
        found = self._shelf.find(instance.id, context)
        return [*_package_concerns(found, environment), *_disk_concerns(found, instance)]

    def plan(
        self,
        instance: Instance,
        environment: Environment,
        network_map: dict[str, Any],
        storage_mappings: dict[str, Any],
        context: Context,
    ) -> Layout:
        raise Invalid(_SOURCE_ONLY)


def _package_concerns(found: Found, environment: Environment) -> Iterator[Concern]:
    if found.package is None:
        yield Concern(
            code="ova.no_descriptor",
            message=f"{found.item.id} is a disk image without descriptor: processors, memory, firmware and networks"
            " are defaults unless source_environment says otherwise.",
        )
        return
    listed = manifest.read(found.package)
    if listed is None or not environment.get("check_manifest", True):
        yield Concern(
            code="ova.not_verified",
            message=f"{found.item.id} has no manifest, or it is not checked: damage on the way here would not show.",
        )
        return
    for file in found.package.envelope.files.values():
        if file.chunk_size is None and not listed.covers(file.href):
            yield Concern(code="ova.not_in_manifest", message=f"The manifest says nothing about {file.href}.")


def _disk_concerns(found: Found, instance: Instance) -> Iterator[Concern]:
    if not instance.devices.disks:
        yield Concern(code="ova.no_disk", message=f"{found.id} has no disk: there is nothing to copy.")
    for disk in instance.devices.disks:
        file = disk_file(found, disk.id)
        if file.pieces and not file.in_place:
            size = sum(piece.length for piece in file.pieces)
            yield Concern(
                code="ova.unpacked",
                message=f"Disk {disk.id} is compressed or in chunks. It is unpacked into the worker's scratch folder"
                f" at each attempt, which needs more room than its {size} bytes.",
            )


class OvaSnapshots:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def create(
        self, instance: Instance, base: Snapshot | None, key: str, environment: Environment, context: Context
    ) -> Snapshot:
        """Nothing is made: a file is its own point in time, as long as its stamp stays. The manifest is checked here,
        unless ``base`` says that these very files were checked before."""
        found = self._shelf.find(instance.id, context)
        checked = None
        if found.package is not None and environment.get("check_manifest", True):
            checked = manifest.read(found.package)
        digest = checked.digest if checked else ""
        taken = tuple(disks.snapshot(disk.id, disk_file(found, disk.id), digest) for disk in instance.devices.disks)
        stamps = sorted({stamp["path"]: stamp for disk in taken for stamp in disk.properties["stamps"]}.items())
        verified = {"manifest": digest, "files": [stamp for _, stamp in stamps]}
        if checked is not None and found.package is not None:
            if base is None or base.properties.get("verified") != verified:
                manifest.verify(found.package, checked, context)
            for disk in taken:  # nobody changed the files between the stamp and the end of the check
                _check_stamps(disks.from_snapshot(disk)[1])
        return Snapshot(
            ref=f"{found.id}@{key}", instance_id=instance.id, disks=taken, properties={"verified": verified}
        )

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        return None

    def release(self, ref: Any, key: str, context: Context) -> None:
        return None


class OvaBlocks:
    @contextlib.contextmanager
    def open_source(self, snapshot: Snapshot, disk_id: str, context: Context) -> Iterator[Source]:
        """:raises Conflict: a file is not, or at the end no longer is, what it was at the snapshot"""
        taken = next((disk for disk in snapshot.disks if disk.disk_id == disk_id), None)
        if taken is None:
            raise Gone(f"The snapshot {snapshot.ref} has no disk {disk_id!r}.")
        file, stamps = disks.from_snapshot(taken)
        _check_stamps(stamps)
        source = disks.source(file, taken.identity, context)
        try:
            yield source
        finally:
            # Also when reading failed: that the file was changed is then the better explanation.
            _check_stamps(stamps)


def _check_stamps(stamps: list[Any]) -> None:
    for stamp in stamps:
        stamp.check()


class OvaCompute:
    """The power of a file: always off."""

    def create(
        self,
        instance: Instance,
        layout: Layout,
        volumes: list[Volume],
        key: str,
        environment: Environment,
        context: Context,
    ) -> Deployed:
        raise Invalid(_SOURCE_ONLY)

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        return None

    def is_running(self, ref: str, context: Context) -> bool:
        return False

    def start(self, ref: str, context: Context) -> Deployed:
        raise Conflict(f"{ref} is a file: it cannot be started.")

    def stop(self, ref: str, context: Context) -> None:
        return None


class OvaConnection:
    """``path`` is looked at when the connection is opened, and again by `check`."""

    networks = None
    storage = None
    write_blocks = None
    volumes = None
    minions = None

    def __init__(self, connection_info: dict[str, Any]) -> None:
        root = open_root(connection_info["path"], os.environ.get(ROOTS_VARIABLE))
        self._shelf = Shelf(root)
        self.inventory = OvaInventory(self._shelf)
        self.options = OvaOptions(self._shelf)
        self.planning = OvaPlanning(self._shelf)
        self.snapshots = OvaSnapshots(self._shelf)
        self.read_blocks = OvaBlocks()
        self.compute = OvaCompute()

    def check(self, context: Context) -> None:
        """Lists the path; a single file is read as far as its hardware. :raises Invalid: it is damaged"""
        self._shelf.summaries({}, marker=None, limit=None, name=None, context=context)

    def close(self) -> None:
        return None
