# SPDX-License-Identifier: Apache-2.0
"""Cinder volumes for replicated disks. A volume is found again by its key, which is in its metadata.

Of a planned disk: ``storage`` is a volume type's name (None: the cloud's default), ``properties`` may have
``image_properties`` (what Nova reads of an image: ``hw_firmware_type`` ...).
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from openstack.exceptions import NotFoundException

from coriolis.providers.api import (
    Conflict,
    Context,
    Environment,
    Gone,
    Invalid,
    Layout,
    PlannedDisk,
    Unauthorized,
    Unavailable,
    Volume,
)
from coriolis.providers.openstack import tags
from coriolis.providers.openstack.attachments import records, release
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.hardware import CHOSEN
from coriolis.providers.openstack.temporaries import Temporaries
from coriolis.providers.openstack.transports import direct, image
from coriolis.providers.openstack.transports.choice import choose, needed_of
from coriolis.providers.openstack.transports.marks import forget_marked
from coriolis.providers.openstack.waits import TimedOut, wait_for_status, wait_until

GIB = 1 << 30
_SECONDS = 600  # volume_seconds, when the environment says nothing
_CLONE_SECONDS = 7200  # image_seconds, likewise: Cinder may copy all bytes
_STUCK_SECONDS = 30  # for a volume that is deleted while Cinder is at it
_UNPLAIN = re.compile(r"[^\w.-]+")
_MESSAGES_MICROVERSION = "3.5"
#: Statuses of a volume that Cinder works at: nothing can be asked of it meanwhile. Not ``attaching``: a worker that was
#: killed leaves its volume so, until the attachment is let go of.
_BUSY = ("creating", "downloading", "detaching", "retyping", "extending", "uploading", "backing-up")
#: One that failed, and whose removal has begun: another is made.
_GOING = ("deleting", "error_deleting")


class OpenStackVolumes:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def create(self, disk: PlannedDisk, layout: Layout, key: str, environment: Environment, context: Context) -> Volume:
        there = () if key in context.new_keys else find_volumes(self._cloud, key)
        found = next((one.id for one in there if one.status not in _GOING), None)
        volume_id = found or self._make(disk, layout, key, environment, context)
        volume = self._ready(str(volume_id), environment, context, cloned=disk.origin is not None)
        if volume.size * GIB < disk.size_bytes:
            raise Conflict(f"volume {volume.id} exists and has {volume.size} GiB, not {gib(disk.size_bytes)}")
        if disk.boot:
            dress(self._cloud, volume, disk)
        wanted = str(environment.get("replica_import_mechanism", "auto"))
        way = choose(self._cloud, wanted, environment, context, volume_id=str(volume.id), to_write=True)
        if way == "image":
            image.check_version(self._cloud)  # before a byte is read
        return Volume(
            disk_id=disk.disk_id,
            ref=str(volume.id),
            size_bytes=volume.size * GIB,
            zeroed=is_zeroed(volume, environment),
            origin=volume.source_volume_id,
            properties={
                "volume_id": str(volume.id),
                "transport": way,
                "environment": needed_of(environment),
            },
        )

    def _make(self, disk: PlannedDisk, layout: Layout, key: str, environment: Environment, context: Context) -> str:
        wanted = {
            "name": volume_name(layout.name, disk.disk_id),
            "size": gib(disk.size_bytes),
            "volume_type": disk.storage,
            "availability_zone": environment.get("volumes_availability_zone"),
            "metadata": tags.metadata(key),
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        if disk.origin is not None:
            try:
                return self._asked({**given, "source_volume_id": disk.origin}, disk)
            except Invalid as error:  # another type, another zone, a back end that cannot
                context.event("INFO", f"Disk {disk.disk_id}: Cinder does not clone its volume ({error.message})")
        return self._asked(given, disk)

    def _asked(self, given: dict[str, Any], disk: PlannedDisk) -> str:
        doing = f"making volume {given['name']} of {given['size']} GiB for disk {disk.disk_id} in Cinder"
        with translated(doing):
            return str(self._cloud.cinder.create_volume(**given).id)

    def _ready(self, volume_id: str, environment: Environment, context: Context, *, cloned: bool) -> Any:
        """The volume, available or in use. One that could not be made is deleted. :raises Conflict: that is so"""
        allowed = ("image_seconds", _CLONE_SECONDS) if cloned else ("volume_seconds", _SECONDS)
        seconds = float(environment.get(*allowed))
        try:
            return wait_for_status(
                lambda: self._get(volume_id),
                ("available", "in-use"),
                what=f"volume {volume_id}",
                seconds=seconds,
                context=context,
                why=lambda volume: self._why(volume_id),
            )
        except Conflict:
            self._remove(volume_id, context)  # so that a later attempt makes another
            raise

    def _why(self, volume_id: str) -> str:
        """What Cinder tells its users about what went wrong with a volume; empty when it says nothing."""
        said = last_message(self._cloud, volume_id)
        return said or "Cinder gives no reason; its administrator finds it in the logs of cinder-scheduler and -volume"

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        uploads = Temporaries(cloud=self._cloud, mark=tags.tag(key), context=context)
        uploads.delete_images(uploads.images())  # of an attempt that was killed
        for volume in find_volumes(self._cloud, key):  # a request whose answer was lost may have made a second one
            self._remove(str(volume.id), context)

    def _get(self, volume_id: str) -> Any:
        with translated(f"reading volume {volume_id}"):
            return self._cloud.cinder.get_volume(volume_id)

    def _remove(self, volume_id: str, context: Context) -> None:
        """Deletes a volume of ours, unless it became a server's. Content when it is gone."""
        try:
            volume = self._settled(volume_id, context)
            if forget_marked(self._cloud, volume, context):
                volume = self._settled(volume_id, context)
            servers = [str(one.instance) for one in records(self._cloud, volume) if one.instance]
            if servers:
                context.event("WARNING", f"volume {volume_id} belongs to server {', '.join(servers)} and stays")
                return
            release(self._cloud, volume_id, context)
            if volume.status != "deleting":  # Cinder refuses to be asked again
                self._delete(volume_id, busy=str(volume.status) if volume.status in _BUSY else None)
            self._gone(volume_id, context)
        except Gone:
            return

    def _settled(self, volume_id: str, context: Context) -> Any:
        """The volume once Cinder has done what it is at, or as it is when that takes too long."""
        last: list[Any] = []

        def look() -> Any | None:
            last[:] = [self._get(volume_id)]
            return None if last[0].status in _BUSY else last[0]

        try:
            return wait_until(look, what=f"volume {volume_id} settles", seconds=_STUCK_SECONDS, context=context)
        except TimedOut:
            return last[0]

    def _delete(self, volume_id: str, *, busy: str | None = None) -> None:
        """``busy``: the status in which it is stuck; only an administrator may delete it then.

        :raises Unavailable: so it is not deleted yet
        """
        try:
            with translated(f"deleting volume {volume_id}"):
                self._cloud.cinder.delete_volume(volume_id, ignore_missing=True, force=busy is not None)
        except Unauthorized:
            if busy is None:
                raise
            raise Unavailable(
                f"volume {volume_id} is still {busy}, and Cinder deletes it afterwards only; an administrator of the "
                "cloud can delete it now"
            ) from None

    def _gone(self, volume_id: str, context: Context) -> None:
        """:raises Conflict: Cinder cannot delete it"""

        def look() -> bool | None:
            try:
                status = self._get(volume_id).status
            except Gone:
                return True
            if status == "error_deleting":
                raise Conflict(f"volume {volume_id} cannot be deleted: {self._why(volume_id)}")
            if status == "available":  # in Ceph, somebody had it open
                with contextlib.suppress(Invalid):
                    direct.lock_out(self._cloud, volume_id, {}, context)
                self._delete(volume_id)
            return None

        wait_until(look, what=f"volume {volume_id} was not deleted", seconds=_SECONDS, context=context)


def gib(size_bytes: int) -> int:
    """Whole GiB that hold so many bytes: what Cinder counts in."""
    return max(1, -(-size_bytes // GIB))


def is_zeroed(volume: Any, environment: Environment) -> bool:
    """Whether a volume (of the SDK) of ours reads as zeros where nothing was written: the user says so of its type."""
    if volume.is_encrypted or volume.source_volume_id is not None:  # unwritten blocks are decrypted, too, into noise
        return False
    return volume.volume_type in environment.get("zeroed_volume_types", ())


def volume_name(server: str, disk_id: str) -> str:
    """For people: at most 255 characters. Cinder's names need not be unique."""
    return f"{server[:150]}-{_UNPLAIN.sub('_', disk_id)[:80]}"


def dress(cloud: Cloud, volume: Any, disk: PlannedDisk) -> None:
    """Makes a volume (of the SDK) one that servers boot from, of the hardware that was planned."""
    with translated(f"making volume {volume.id} bootable"):
        if not volume.is_bootable:
            cloud.cinder.set_volume_bootable_status(volume.id, True)
        wanted = {name: str(value) for name, value in disk.properties.get("image_properties", {}).items()}
        there = volume.volume_image_metadata or {}
        if wanted and not wanted.items() <= there.items():
            cloud.cinder.set_volume_image_metadata(volume.id, **wanted)
        for name in sorted(CHOSEN & there.keys() - wanted.keys()):  # of an earlier plan
            with contextlib.suppress(NotFoundException):  # it is gone; the answer was lost
                cloud.cinder.delete_volume_image_metadata(volume.id, keys=[name])


def find_volumes(cloud: Cloud, key: str) -> list[Any]:
    """Volumes with this key, the oldest first."""
    with translated("listing volumes"):
        found = cloud.cinder.volumes(details=True, properties=str({tags.KEY: tags.tag(key)}))
        ours = [one for one in found if (one.metadata or {}).get(tags.KEY) == tags.tag(key)]
    return sorted(ours, key=lambda one: (str(one.created_at), str(one.id)))


def last_message(cloud: Cloud, resource_id: str) -> str | None:
    """The newest thing that Cinder tells the user about a resource; None when it tells nothing."""
    with translated(f"asking what went wrong with {resource_id}"):
        answer = cloud.cinder.get(
            "/messages", params={"resource_uuid": resource_id}, microversion=_MESSAGES_MICROVERSION
        )
        if not answer.ok:
            return None
        told = answer.json().get("messages", ())
    newest = max(told, key=lambda one: str(one.get("created_at", "")), default=None)
    return None if newest is None else str(newest.get("user_message") or "").strip() or None
