# SPDX-License-Identifier: Apache-2.0
"""Points in time of a server's disks.

A volume gets a Cinder snapshot, also while a server uses it; then a volume is made of the snapshot, which can be
attached or uploaded, as a snapshot cannot. A root disk that came from an image gets a server snapshot (Nova's
createImage): an image in Glance. Nova would make snapshots of volumes, too, when a server boots from one, but only of
such a server, and nobody would know them as ours: so volumes are never left to it. Ephemeral and swap disks are in no
snapshot: they are made empty (`source_checks` says so).

All snapshots of volumes are asked for at once. The server snapshot follows when they are there: Nova refuses to help
with one while it does the other.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from coriolis.providers.api import Conflict, Context, Disk, DiskSnapshot, Environment, Gone, Instance, Snapshot
from coriolis.providers.openstack.attachments import attached, describe
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.reading import EMPTY
from coriolis.providers.openstack.tags import metadata, tag
from coriolis.providers.openstack.temporaries import (
    BASE,
    DISK,
    IMAGE_SECONDS,
    VOLUME_SECONDS,
    Temporaries,
    disk_of,
)
from coriolis.providers.openstack.transports import image as glance
from coriolis.providers.openstack.transports.choice import choose, needed_of
from coriolis.providers.openstack.volumes import last_message
from coriolis.providers.openstack.waits import wait_for_status, wait_until

DIRECT, IMAGE = "direct", "image"
ROOT = "root"  # id of a disk that came from an image
_NO_VOLUMES = "image"  # part of a reference
_WAY = "coriolis_transport"  # metadata item
_AT_ONCE = 16  # requests
_GIB = 1 << 30
_EMPTY_DISKS = ("ephemeral", "swap")
_FAILED_IMAGE = ("killed", "deleted", "pending_delete", "deactivated")
_FAILED = ("error", "error_deleting", "deleting", *_FAILED_IMAGE)


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What one ``create`` works on."""

    cloud: Cloud
    instance: Instance
    base: Snapshot | None
    key: str
    environment: Environment
    context: Context
    mine: Temporaries

    @property
    def volumes(self) -> list[Disk]:
        return [disk for disk in self.instance.devices.disks if disk.id != ROOT and not _is_empty(disk)]

    @property
    def root(self) -> Disk | None:
        return next((disk for disk in self.instance.devices.disks if disk.id == ROOT), None)

    def seconds(self, name: str, default: float) -> float:
        return float(self.environment.get(name) or default)


@dataclass(frozen=True, kw_only=True)
class _Points:
    """By disk id: the Cinder snapshots; and the image of the root disk."""

    snapshots: dict[str, Any]
    root: Any | None


class OpenStackSnapshots:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(
        self, instance: Instance, base: Snapshot | None, key: str, environment: Environment, context: Context
    ) -> Snapshot:
        mine = Temporaries(cloud=self._cloud, mark=tag(key), context=context, new=key in context.new_keys)
        this = _Round(
            cloud=self._cloud,
            instance=instance,
            base=base,
            key=key,
            environment=environment,
            context=context,
            mine=mine,
        )
        if base is not None:
            # It was read. Some storage, such as NFS, makes no volume of a snapshot that has another one before it.
            self.release(base.ref, key="", context=context)
        points = _take(this)
        return Snapshot(
            ref="/".join([instance.id, *(() if this.volumes else (_NO_VOLUMES,)), tag(key)]),
            instance_id=instance.id,
            disks=tuple(_in_order(this, [*_of_volumes(this, points), *_of_root(this, points), *_of_empty(this)])),
            properties={"environment": needed_of(environment)},
        )

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        for mark in _marks(ref, key):
            mine = Temporaries(cloud=self._cloud, mark=mark, context=context)
            mine.delete_images(mine.images())
            if _may_have_volumes(ref):
                mine.delete_volumes(mine.volumes())
                mine.delete_snapshots(mine.snapshots())

    def release(self, ref: Any, key: str, context: Context) -> None:
        """Of the volumes' snapshots only those stay that Ceph needs to tell what changed."""
        for mark in _marks(ref, key):
            mine = Temporaries(cloud=self._cloud, mark=mark, context=context)
            mine.delete_images(mine.images())
            if _may_have_volumes(ref):
                mine.delete_volumes(mine.volumes())
                mine.delete_snapshots(one for one in mine.snapshots() if not (one.metadata or {}).get(BASE))


def _marks(ref: Any | None, key: str) -> list[str]:
    marks = [tag(key)] if key else []
    return list(dict.fromkeys([*marks, *([str(ref).rpartition("/")[2]] if ref else [])]))


def _may_have_volumes(ref: Any | None) -> bool:
    """Of a point in time that came to be without volumes, Cinder need not be asked for any."""
    return ref is None or _NO_VOLUMES not in str(ref).split("/")


def _is_empty(disk: Disk) -> bool:
    return disk.id.startswith(_EMPTY_DISKS)


# ---- points in time


def _take(this: _Round) -> _Points:
    """All of them are new, or all are of an earlier call: not some of each, for time passed in between."""
    snapshots = {str(one.volume_id): one for one in reversed(this.mine.snapshots()) if not _failed(one)}
    images = [one for one in this.mine.images() if disk_of(one) == ROOT and not _failed(one)]
    wanted = {disk.id for disk in this.volumes}
    if not wanted <= snapshots.keys() or (this.root is not None and not images):
        _drop(this)
        snapshots, images = _ask_for_snapshots(this), []
    snapshots = {disk: _ready(this, snapshots[disk]) for disk in sorted(wanted)}
    root = None
    if this.root is not None:
        root = _ready_image(this, str(images[0].id) if images else _ask_for_server_image(this))
    return _Points(snapshots=snapshots, root=root)


def _failed(thing: Any) -> bool:
    return str(thing.status).lower() in _FAILED


def _drop(this: _Round) -> None:
    """What an attempt left that did not get to its end."""
    this.mine.delete_images(this.mine.images())
    this.mine.delete_volumes(this.mine.volumes())
    this.mine.delete_snapshots(this.mine.snapshots())


def _ask_for_snapshots(this: _Round) -> dict[str, Any]:
    this.context.check_cancelled()

    def ask(disk: Disk) -> Any:
        with translated(f"making a snapshot of volume {disk.id}"):
            return this.cloud.cinder.create_snapshot(
                volume_id=disk.id,
                name=this.mine.mark,
                description=f"Of server {this.instance.name}, made by Coriolis; it is removed when it was read",
                metadata=metadata(this.key),
                is_forced=True,  # also of a volume in use
            )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip([disk.id for disk in this.volumes], pool.map(ask, this.volumes), strict=True))


def _ready(this: _Round, snapshot: Any) -> Any:
    def look() -> Any:
        with translated(f"asking for volume snapshot {snapshot.id}"):
            return this.cloud.cinder.get_snapshot(snapshot.id)

    return wait_for_status(
        look,
        ("available",),
        what=f"snapshot {snapshot.id} of volume {snapshot.volume_id}",
        why=lambda _snapshot: last_message(this.cloud, str(snapshot.id)) or "",
        seconds=this.seconds("volume_seconds", VOLUME_SECONDS),
        context=this.context,
    )


def _ask_for_server_image(this: _Round) -> str:
    """The id of the image, which is not ready yet. Waits until Nova does nothing else with the server."""
    compute, instance = this.cloud.sdk.compute, this.instance

    def ask() -> str | None:
        with translated(f"asking for server {instance.name}"):
            server = compute.get_server(instance.id)
        if server.task_state is not None:
            return None
        with translated(f"making a snapshot of server {instance.name}"):
            found = server.create_image(compute, this.mine.mark, {**metadata(this.key), DISK: ROOT})
        return str(found)

    def patiently() -> str | None:
        try:
            return ask()
        except Conflict as error:
            # Something else began just now; but no waiting makes a server in error, or a full quota, better.
            if "task_state" in error.message:
                return None
            raise

    what = f"server {instance.name} was busy with something else and could not be asked for a snapshot"
    return wait_until(
        patiently, what=what, seconds=this.seconds("volume_seconds", VOLUME_SECONDS), context=this.context
    )


def _ready_image(this: _Round, ident: str) -> Any:
    def look() -> Any:
        try:
            with translated(f"asking for image {ident}"):
                return this.cloud.sdk.image.get_image(ident)
        except Gone:
            raise Conflict(
                f"image {ident} of {this.instance.name} disappeared while it was made: Nova or Cinder could not "
                "upload it, and the logs of the cloud say why"
            ) from None

    return wait_for_status(
        look,
        ("active",),
        what=f"image {ident} of {this.instance.name}",
        seconds=this.seconds("image_seconds", IMAGE_SECONDS),
        context=this.context,
        failed=_FAILED_IMAGE,
    )


# ---- what can be read


def _of_volumes(this: _Round, points: _Points) -> list[DiskSnapshot]:
    images = {disk_of(one): one for one in reversed(this.mine.images()) if not _failed(one)}
    volumes = {disk_of(one): one for one in reversed(this.mine.volumes()) if not _failed(one)}
    for disk, snapshot in points.snapshots.items():
        this.context.check_cancelled()
        if disk not in images and disk not in volumes:
            volumes[disk] = _ask_for_volume(this, disk, snapshot)
    ready = {disk: _ready_volume(this, volumes[disk]) for disk in points.snapshots if disk in volumes}
    ways = {disk: IMAGE if disk in images else _way(this, ready[disk]) for disk in points.snapshots}
    uploads = [disk for disk, way in ways.items() if way == IMAGE]
    if not images.keys() >= set(uploads):
        this.mine.delete_images(one for one in this.mine.images() if disk_of(one) is None)
    for disk in uploads:
        if disk not in images:
            ready[disk] = _ready_volume(this, ready[disk], "available")
            images[disk] = glance.upload_of(this.cloud, ready[disk], this.mine.mark, disk)
    for disk in uploads:
        images[disk] = _ready_image(this, str(images[disk].id))
    this.mine.delete_volumes(ready.pop(disk) for disk in uploads if disk in ready)
    made = []
    for disk, snapshot in points.snapshots.items():
        if disk in uploads:
            made.append(_described(this, disk, snapshot, {"transport": IMAGE, "image_id": str(images[disk].id)}))
            continue
        properties: dict[str, Any] = {"transport": ways[disk], "volume_id": str(ready[disk].id)}
        if ways[disk] == DIRECT and _in_ceph(this, snapshot, ready[disk]):
            properties["ceph"] = True
        made.append(_described(this, disk, snapshot, properties))
    return made


def _described(this: _Round, disk: str, snapshot: Any, properties: dict[str, Any]) -> DiskSnapshot:
    earlier = _earlier(this, disk) if properties.get("ceph") else None
    properties = {**properties, "snapshot_id": str(snapshot.id)}
    if earlier is not None:
        properties["since_snapshot_id"] = earlier.properties["snapshot_id"]
    return DiskSnapshot(
        disk_id=disk,
        size_bytes=int(snapshot.size) * _GIB,
        identity=f"cinder:{snapshot.id}",
        changes_since=earlier.identity if earlier else None,
        properties=properties,
    )


def _earlier(this: _Round, disk: str) -> DiskSnapshot | None:
    """The disk in the round before, when Ceph can tell what changed since."""
    found = next((one for one in this.base.disks if one.disk_id == disk), None) if this.base else None
    if found is None or not found.properties.get("ceph"):
        return None
    ident = str(found.properties["snapshot_id"])
    try:
        with translated(f"asking for volume snapshot {ident}"):
            status = str(this.cloud.cinder.get_snapshot(ident).status)
    except Gone:
        status = "deleted"
    if status != "available":
        this.context.event("WARNING", f"The snapshot of the round before, {ident}, is {status}: all of {disk} is read.")
        return None
    return found


def _in_ceph(this: _Round, snapshot: Any, volume: Any) -> bool:
    """Found out once: the snapshot is marked as one that later rounds may need."""
    if (snapshot.metadata or {}).get(BASE):
        return True
    with attached(this.cloud, str(volume.id), this.context) as info:
        if describe(info) != "rbd":
            return False
    with translated(f"marking volume snapshot {snapshot.id}"):
        this.cloud.cinder.set_snapshot_metadata(snapshot.id, **{BASE: "rbd"})
    return True


def _way(this: _Round, volume: Any) -> str:
    """The transport of a volume. Chosen once: a later call with the key gives the same."""
    chosen = (volume.metadata or {}).get(_WAY)
    if chosen:
        return str(chosen)
    wanted = str(this.environment.get("replica_export_mechanism", "auto"))
    found = choose(this.cloud, wanted, this.environment, this.context, volume_id=str(volume.id))
    with translated(f"noting how volume {volume.id} is read"):
        this.cloud.cinder.set_volume_metadata(volume.id, **{_WAY: found})
    return found


def _ask_for_volume(this: _Round, disk: str, snapshot: Any) -> Any:
    with translated(f"making a volume of snapshot {snapshot.id}"):
        return this.cloud.cinder.create_volume(
            size=snapshot.size,
            snapshot_id=snapshot.id,
            name=this.mine.mark,
            metadata={**metadata(this.key), DISK: disk},
        )


_USABLE = ("available", "in-use", "reserved", "attaching", "detaching", "uploading")


def _ready_volume(this: _Round, volume: Any, *statuses: str) -> Any:
    def look() -> Any:
        with translated(f"asking for volume {volume.id}"):
            return this.cloud.cinder.get_volume(volume.id)

    return wait_for_status(
        look,
        statuses or _USABLE,
        what=f"volume {volume.id}, which is made of snapshot {volume.snapshot_id} to be read,",
        why=lambda _volume: last_message(this.cloud, str(volume.id)) or "",
        seconds=this.seconds("volume_seconds", VOLUME_SECONDS),
        context=this.context,
    )


def _of_root(this: _Round, points: _Points) -> list[DiskSnapshot]:
    if points.root is None or this.root is None:
        return []
    # Glance knows the size of a disk in formats that it understands.
    size = points.root.virtual_size or (points.root.size if points.root.disk_format == "raw" else this.root.size_bytes)
    return [
        DiskSnapshot(
            disk_id=ROOT,
            size_bytes=int(size),
            identity=f"glance:{points.root.id}",
            properties={"transport": IMAGE, "image_id": str(points.root.id)},
        )
    ]


def _of_empty(this: _Round) -> list[DiskSnapshot]:
    return [
        DiskSnapshot(
            disk_id=disk.id,
            size_bytes=disk.size_bytes,
            identity=f"empty:{this.instance.id}:{disk.id}:{disk.size_bytes}",
            properties={"transport": EMPTY},
        )
        for disk in this.instance.devices.disks
        if _is_empty(disk)
    ]


def _in_order(this: _Round, found: list[DiskSnapshot]) -> list[DiskSnapshot]:
    by_disk = {one.disk_id: one for one in found}
    return [by_disk[disk.id] for disk in this.instance.devices.disks]
