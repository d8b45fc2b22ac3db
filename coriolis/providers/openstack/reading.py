# SPDX-License-Identifier: Apache-2.0
"""Reading a server's disks at a point in time, by the transport that was chosen when it was taken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from coriolis.dataplane import DiskFormat, ImageSource, NbdSource, Source
from coriolis.providers.api import Context, DiskSnapshot, Gone, Snapshot
from coriolis.providers.openstack import rbd
from coriolis.providers.openstack.attachments import attached
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.transports import direct
from coriolis.providers.openstack.transports.choice import transport

#: In place of a transport: a disk that is in no snapshot, and is made anew.
EMPTY = "empty"


class OpenStackSources:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @contextlib.contextmanager
    def open_source(self, snapshot: Snapshot, disk_id: str, context: Context) -> Iterator[Source]:
        """:raises Gone: the point in time is no more"""
        disk = next((disk for disk in snapshot.disks if disk.disk_id == disk_id), None)
        if disk is None:
            raise Gone(f"the snapshot has no disk {disk_id}")
        way = str(disk.properties["transport"])
        if way == EMPTY:
            yield _nothing(disk, context)
            return
        ident = str(disk.properties.get("image_id") or disk.properties["volume_id"])
        if disk.properties.get("ceph"):
            with self._ceph(disk, context) as source:
                yield source
            return
        environment = dict(snapshot.properties.get("environment", {}))
        with transport(way).reading(self._cloud, ident, environment, context) as source:
            yield _named(source, disk)

    @contextlib.contextmanager
    def _ceph(self, disk: DiskSnapshot, context: Context) -> Iterator[Source]:
        """The volume made of the snapshot; Ceph knows what that is a copy of, and what changed there."""
        volume, since = str(disk.properties["volume_id"]), disk.properties.get("since_snapshot_id")
        earlier = rbd.snapshot_name(str(since)) if since and disk.changes_since else None
        with attached(self._cloud, volume, context) as info:
            image = direct.ceph_image(self._cloud, volume, info)
            with rbd.reading(image, context, since=earlier) as found:
                known = found.changes is not None
                yield replace(found, identity=disk.identity, base_identity=disk.changes_since if known else None)


def _named(source: Source, disk: DiskSnapshot) -> Source:
    """The bytes are those of the snapshot, wherever they are read."""
    if isinstance(source, NbdSource):
        return replace(source, identity=disk.identity, size=disk.size_bytes)
    return replace(source, identity=disk.identity)


def _nothing(disk: DiskSnapshot, context: Context) -> ImageSource:
    path = context.scratch / f"empty-{disk.disk_id}"
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
        file.truncate(disk.size_bytes)
    return ImageSource(path=path, format=DiskFormat.RAW, identity=disk.identity)
