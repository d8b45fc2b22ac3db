# SPDX-License-Identifier: Apache-2.0
"""Bytes through Glance, where nothing of ours can have a volume attached.

Reading: an image is fetched into a file of the worker, which is kept between attempts, so that a fetch goes on where it
ended if Glance serves ranges; its digest is held against what Glance knows. Writing: the worker writes a QCOW2 file;
when that is done it goes to Glance, Cinder writes the image over the volume (``os-reimage``), and the image is deleted.
So the volume stays what it is from round to round, but each round that changed anything uploads all of it.

https://docs.openstack.org/api-ref/image/v2/#download-binary-image-data (``Range``, from 2.7 on, where the store can)
https://docs.openstack.org/api-ref/block-storage/v3/#reimage-a-volume (3.68, Yoga)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openstack.exceptions import raise_from_response

from coriolis.dataplane import DataplaneError, DiskFormat, FileSink, ImageSource, Sink, Source
from coriolis.dataplane.export import create_file
from coriolis.providers.api import Context, Environment, Invalid
from coriolis.providers.openstack import tags
from coriolis.providers.openstack.attachments import release
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.instances import telling
from coriolis.providers.openstack.temporaries import DISK, IMAGE_SECONDS, Temporaries
from coriolis.providers.openstack.transports.glance_bytes import fetch, send, staged
from coriolis.providers.openstack.volume_epochs import check_newest, epoch_of, note_writer, refuse_older
from coriolis.providers.openstack.waits import wait_for_status, wait_until

#: Glance's names of disk formats.
_FORMATS = {
    "raw": DiskFormat.RAW,
    "qcow2": DiskFormat.QCOW2,
    "vmdk": DiskFormat.VMDK,
    "vhd": DiskFormat.VHD,
    "vhdx": DiskFormat.VHDX,
}
#: Metadata items of a destination volume. Which staged file was written over it last; and which one is being written.
FILLED, OPEN = "coriolis_filled", "coriolis_open"
_GIB = 1 << 30
_REIMAGE = "3.68"
_AT_WORK = ("downloading", "uploading")  # statuses of a volume


def why_not(cloud: Cloud, environment: Environment, context: Context) -> str | None:
    return None if cloud.has_service("image") else f"{cloud.name} has no image service"


def why_not_volume(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, to_write: bool
) -> str | None:
    with translated(f"asking for volume {volume_id}"):
        encrypted = cloud.cinder.get_volume(volume_id).is_encrypted
    if encrypted:
        return f"volume {volume_id} is encrypted, and an image of it would be, too"
    return why_not(cloud, environment, context)


# ---- out of the cloud


def upload_of(cloud: Cloud, volume: Any, key_mark: str, disk: str) -> Any:
    """Asks Cinder for an image of a volume that nobody has attached; gives the image, which is not ready yet."""
    with translated(f"uploading volume {volume.id} to Glance"):
        made = volume.upload_to_image(cloud.cinder, image_name=key_mark, disk_format="qcow2", container_format="bare")
        return cloud.sdk.image.update_image(made["image_id"], **{tags.KEY: key_mark, DISK: disk})


@contextlib.contextmanager
def reading(cloud: Cloud, image_id: str, environment: Environment, context: Context) -> Iterator[Source]:
    """An image of ours. :raises Gone: there is none. :raises Invalid: its format cannot be read"""
    with translated(f"asking for image {image_id}"):
        image = cloud.sdk.image.get_image(image_id)
    kind = _FORMATS.get(str(image.disk_format))
    if kind is None or image.container_format not in ("bare", None):
        raise Invalid(f"image {image_id} is of format {image.disk_format} in {image.container_format}")
    with staged(context, place_of(cloud, "image", image_id)) as folder:
        path = folder / "image"
        fetch(cloud, image, path, context)
        yield ImageSource(path=path, format=kind, folder=folder, identity=f"glance:{image_id}")
        path.unlink(missing_ok=True)  # it was read to the end; after a failure the next attempt finds it


# ---- into the cloud


@contextlib.contextmanager
def writing(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, zeroed: bool = False
) -> Iterator[Sink]:
    """A volume of ours, which has its bytes when the block ends well.

    What is staged and not delivered dies with this host, while the journal of the copy may live on. So the volume tells
    of it (`OPEN`): who finds that, and not the staged file, gives a file that is still to be made, and the copy starts
    over. An attempt that comes to deliver after a newer one has begun is refused: see `volume_epochs`. What is
    written is a new file, so ``zeroed`` is not needed.

    :raises Conflict: a newer attempt writes it. :raises Invalid: Cinder is too old
    """
    check_version(cloud)
    with staged(context, place_of(cloud, "volume", volume_id), exclusive=True) as folder:
        with translated(f"asking for volume {volume_id}"):
            volume = cloud.cinder.get_volume(volume_id)
        refuse_older(epoch_of(volume), volume_id, context)
        told = {name: volume.metadata[name] for name in (OPEN, FILLED) if name in (volume.metadata or {})}
        stage = _Stage(folder)
        if not stage.disk.exists() or stage.ident != told.get(OPEN, told.get(FILLED)):
            stage.begin()
            if OPEN not in told:
                _prepare(cloud, volume, stage, environment, context, filled=FILLED in told)
        note_writer(cloud, volume_id, context, **{OPEN: stage.ident})
        yield FileSink(path=stage.disk, format=DiskFormat.QCOW2, size=volume.size * _GIB)
        if stage.changed():
            _deliver(cloud, volume, stage.disk, environment, context)
            stage.delivered()
            note_writer(cloud, volume_id, context, **{FILLED: stage.ident})
        with translated(f"noting that volume {volume_id} was filled"):
            cloud.cinder.delete_volume_metadata(volume_id, keys=[OPEN])


class _Stage:
    """A volume's staged file. ``ident``: unlike that of any other, also of the same volume."""

    def __init__(self, folder: Path) -> None:
        self.disk, self._note = folder / "disk.qcow2", folder / "stage.json"
        try:
            found = json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            found = {}
        self.ident: str = found.get("ident", "")
        self._delivered: list[int] = found.get("delivered", [])

    def begin(self) -> None:
        self.disk.unlink(missing_ok=True)
        self.ident, self._delivered = uuid.uuid4().hex, []
        self._write()

    def changed(self) -> bool:
        return self.disk.exists() and self._state() != self._delivered

    def delivered(self) -> None:
        """The volume holds the same."""
        self._delivered = self._state()
        self._write()

    def _state(self) -> list[int]:
        found = self.disk.stat()
        return [found.st_mtime_ns, found.st_size, found.st_ino]

    def _write(self) -> None:
        self._note.write_text(json.dumps({"ident": self.ident, "delivered": self._delivered}))


def place_of(cloud: Cloud, kind: str, ident: str) -> str:
    """Name of the staging folder of a thing. An id alone names nothing: a cloud that anybody may run can tell of an
    image with the id of another project's, and would be given what the worker has of that one already."""
    whose = hashlib.sha256(f"{cloud.auth_url}\0{cloud.project_id}".encode()).hexdigest()[:16]
    return f"{kind}-{ident}-{whose}"


def check_version(cloud: Cloud) -> None:
    """:raises Invalid: nothing can be written in this cloud"""
    with translated(f"asking Cinder of {cloud.name} for its version"):
        endpoint = cloud.cinder.get_endpoint_data()
    newest = tuple(endpoint.max_microversion or ()) if endpoint else ()
    if newest < (3, 68):
        raise Invalid(
            f"Cinder of {cloud.name} is older than Yoga: it cannot write an image over a volume; use another transport"
        )


def _prepare(
    cloud: Cloud, volume: Any, stage: _Stage, environment: Environment, context: Context, *, filled: bool
) -> None:
    """What the volume holds, as a QCOW2 file: empty, or fetched from the cloud."""
    if not filled:
        try:
            create_file(FileSink(path=stage.disk, format=DiskFormat.QCOW2), volume.size * _GIB)
        except DataplaneError as error:
            raise Invalid(f"the worker cannot stage volume {volume.id}: {error}") from None
        return  # it is delivered even if it stays empty: who knows what a new volume holds
    release(cloud, volume.id, context)
    image = upload_of(cloud, volume, str(volume.metadata[tags.KEY]), f"of-{volume.id}")
    try:
        image = _ready_image(cloud, image.id, environment, context)
        fetch(cloud, image, stage.disk, context)
        stage.delivered()
    finally:
        _drop(cloud, image, context)


def _deliver(cloud: Cloud, volume: Any, path: Path, environment: Environment, context: Context) -> None:
    """Writes the staged file over the volume."""
    release(cloud, volume.id, context)
    _settle(cloud, volume, environment, context)
    mark = str(volume.metadata[tags.KEY])
    mine = Temporaries(cloud=cloud, mark=mark, context=context)
    mine.delete_images(mine.images())  # of an attempt that was cut off
    # Cinder replaces what the volume tells of its guest (firmware, buses ...) by what the image tells.
    more: dict[str, Any] = {**telling(volume.volume_image_metadata or {}), tags.KEY: mark, DISK: f"to-{volume.id}"}
    with translated(f"making an image for volume {volume.id}"):
        image = cloud.sdk.image.create_image(
            name=mark,
            disk_format="qcow2",
            container_format="bare",
            visibility="private",
            allow_duplicates=True,
            **more,
        )
    try:
        send(cloud, image, path, context)
        check_newest(cloud, volume.id, context)
        _reimage(cloud, volume, image, environment, context)
    finally:
        _drop(cloud, image, context)


def _settle(cloud: Cloud, volume: Any, environment: Environment, context: Context) -> None:
    """Waits for what an attempt that was killed had asked Cinder to do; it still reads that one's image."""

    def look() -> bool | None:
        with translated(f"asking for volume {volume.id}"):
            return None if cloud.cinder.get_volume(volume.id).status in _AT_WORK else True

    what = f"volume {volume.id} did not come to rest"
    wait_until(look, what=what, seconds=_seconds(environment), context=context)


def _reimage(cloud: Cloud, volume: Any, image: Any, environment: Environment, context: Context) -> None:
    doing = f"writing image {image.id} over volume {volume.id}"
    body = {"os-reimage": {"image_id": image.id, "reimage_reserved": False}}
    with translated(doing):
        raise_from_response(cloud.cinder.post(f"/volumes/{volume.id}/action", json=body, microversion=_REIMAGE))

    def look() -> Any:
        with translated(f"asking for volume {volume.id}"):
            return cloud.cinder.get_volume(volume.id)

    wait_for_status(look, ("available",), what=doing, seconds=_seconds(environment), context=context)
    if not volume.is_bootable:  # Cinder takes it for one by now
        with translated(f"making volume {volume.id} not bootable"):
            cloud.cinder.set_volume_bootable_status(volume.id, False)


def _ready_image(cloud: Cloud, image_id: str, environment: Environment, context: Context) -> Any:
    def look() -> Any:
        with translated(f"asking for image {image_id}"):
            return cloud.sdk.image.get_image(image_id)

    return wait_for_status(
        look,
        ("active",),
        what=f"image {image_id}",
        seconds=_seconds(environment),
        context=context,
        failed=("killed", "deleted", "pending_delete", "deactivated"),
    )


def _seconds(environment: Environment) -> float:
    return float(environment.get("image_seconds") or IMAGE_SECONDS)


def _drop(cloud: Cloud, image: Any, context: Context) -> None:
    Temporaries(cloud=cloud, mark=image.name, context=context).delete_images([image])
