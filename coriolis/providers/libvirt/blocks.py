# SPDX-License-Identifier: Apache-2.0
"""Reading a domain's disks at a point in time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from coriolis.dataplane import DataplaneError, NbdSource, Source
from coriolis.providers.api import Conflict, Context, DiskSnapshot, Gone, Snapshot
from coriolis.providers.api.exports import Export, nbd_uri, served
from coriolis.providers.libvirt.backup_job import running_backup
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.snapshots import image_identity


class LibvirtSources:
    def __init__(self, link: Link) -> None:
        self._link = link

    @contextlib.contextmanager
    def open_source(self, snapshot: Snapshot, disk_id: str, context: Context) -> Iterator[Source]:
        """:raises Gone: the point in time is no more. :raises Conflict: the domain runs, or its image was written"""
        disk = next((disk for disk in snapshot.disks if disk.disk_id == disk_id), None)
        if disk is None:
            raise Gone(f"the snapshot has no disk {disk_id}")
        opened = self._backup if disk.properties["mode"] == "backup" else self._image
        with opened(snapshot, disk, context) as source:
            yield source

    @contextlib.contextmanager
    def _backup(self, snapshot: Snapshot, disk: DiskSnapshot, context: Context) -> Iterator[Source]:
        self._check_job(snapshot, disk)
        with self._link.host.reach(str(disk.properties["socket"])) as socket:
            try:
                yield _source(disk, nbd_uri(socket, str(disk.properties["export"])))
            except DataplaneError:
                self._check_job(snapshot, disk)  # a job that ended explains it better
                raise

    def _check_job(self, snapshot: Snapshot, disk: DiskSnapshot) -> None:
        domain = self._link.existing_domain(snapshot.instance_id)
        job = running_backup(self._link, domain)
        if job is None or job.socket != disk.properties["socket"]:
            with self._link.translated("asking for the domain"):
                why = "its backup job was ended" if domain.isActive() else "it was switched off"
            raise Gone(
                f"the point in time of domain {domain.name()} is lost: {why} while its disks were read; migrate again"
            )

    @contextlib.contextmanager
    def _image(self, snapshot: Snapshot, disk: DiskSnapshot, context: Context) -> Iterator[Source]:
        export = Export(
            image=str(disk.properties["path"]),
            format=str(disk.properties["format"]),
            bitmap=disk.properties.get("bitmap"),
        )
        with served(self._link.host, export, context) as uri:
            # Looked at after QEMU locked the image: from here on nothing can write it.
            now = image_identity(self._link, snapshot.instance_id, disk.disk_id, list(disk.properties["files"]))
            if now != disk.identity:
                raise Conflict(
                    f"disk {disk.disk_id} was written after its snapshot was taken (was the domain started?); "
                    "migrate again"
                )
            yield _source(disk, uri)


def _source(disk: DiskSnapshot, uri: str) -> NbdSource:
    return NbdSource(
        uri=uri,
        bitmap=disk.properties.get("bitmap") if disk.changes_since else None,
        base_identity=disk.changes_since,
        size=disk.size_bytes,
        identity=disk.identity,
    )
