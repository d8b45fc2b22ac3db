# SPDX-License-Identifier: Apache-2.0
"""What a point in time is made of in a cloud: Cinder snapshots, volumes made from them, and Glance images.

All of one key have the same name, its tag: a name is given by the very request that makes a thing, so that there is no
moment in which something of ours could not be found. What disk a volume or an image is for is in its metadata.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from coriolis.providers.api import Conflict, Context, Gone
from coriolis.providers.openstack.attachments import release, servers_of
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.tags import KEY
from coriolis.providers.openstack.transports.marks import forget_marked
from coriolis.providers.openstack.waits import wait_until

#: Metadata item of a volume, or property of an image: the disk that it is for.
DISK = "coriolis_disk"
#: Metadata item of a snapshot that a later round needs: what changed is asked relative to it.
BASE = "coriolis_base"
VOLUME_SECONDS, IMAGE_SECONDS = 600.0, 7200.0
#: States in which Cinder or Glance still work on a thing, and refuse to delete it.
_BUSY_VOLUME = frozenset({"creating", "uploading", "downloading", "detaching", "in-use"})
_BUSY_SNAPSHOT = frozenset({"creating"})
_GONE = frozenset({"deleted", "pending_delete"})
_GOING = "deleting"  # Cinder refuses to be asked again


@dataclass(frozen=True, kw_only=True)
class Temporaries:
    """Things of one tag in one cloud. ``new``: there were none of them when this began, and none are looked for."""

    cloud: Cloud
    mark: str
    context: Context
    new: bool = False

    def snapshots(self) -> list[Any]:
        """Cinder snapshots, oldest first."""
        if self.new:
            return []
        with translated(f"listing the volume snapshots of {self.cloud.name}"):
            found = list(self.cloud.cinder.snapshots(details=True, name=self.mark))
        return _ours(found, self.mark)

    def volumes(self) -> list[Any]:
        """Volumes, oldest first."""
        if self.new:
            return []
        with translated(f"listing the volumes of {self.cloud.name}"):
            found = list(self.cloud.cinder.volumes(details=True, name=self.mark))
        return _ours(found, self.mark)

    def images(self) -> list[Any]:
        """Images of our project, oldest first. Of an upload that ended before it could be marked as a disk's, too."""
        if self.new:
            return []
        with translated(f"listing the images of {self.cloud.name}"):
            found = list(self.cloud.sdk.image.images(name=self.mark, owner=self.cloud.project_id))
        return sorted((one for one in found if one.status not in _GONE), key=_age)

    def delete_images(self, images: Iterable[Any]) -> None:
        for image in images:
            with contextlib.suppress(Gone), translated(f"deleting image {image.id}"):
                self.cloud.sdk.image.delete_image(image.id, ignore_missing=True)

    def delete_volumes(self, volumes: Iterable[Any]) -> None:
        """Lets go of them first, where a killed attempt or a minion has them attached."""
        storage, volumes = self.cloud.cinder, list(volumes)
        for volume in _staying(volumes):
            with contextlib.suppress(Gone):
                self._detach(volume.id)
                self._settle(storage.get_volume, volume, f"volume {volume.id}", _BUSY_VOLUME)
                self._delete(storage.delete_volume, volume.id, f"volume {volume.id}")
        for volume in volumes:
            self._wait_gone(storage.get_volume, storage.delete_volume, volume.id, f"volume {volume.id}")

    def delete_snapshots(self, snapshots: Iterable[Any]) -> None:
        storage, snapshots = self.cloud.cinder, list(snapshots)
        for snapshot in _staying(snapshots):
            with contextlib.suppress(Gone):
                self._settle(storage.get_snapshot, snapshot, f"volume snapshot {snapshot.id}", _BUSY_SNAPSHOT)
                self._delete(storage.delete_snapshot, snapshot.id, f"volume snapshot {snapshot.id}")
        for snapshot in snapshots:
            what = f"volume snapshot {snapshot.id}"
            self._wait_gone(storage.get_snapshot, storage.delete_snapshot, snapshot.id, what)

    def _detach(self, volume_id: str) -> None:
        with translated(f"looking for attachments of volume {volume_id}"):
            volume = self.cloud.cinder.get_volume(volume_id)
        if forget_marked(self.cloud, volume, self.context):
            return
        for server in servers_of(volume):
            with contextlib.suppress(Gone), translated(f"detaching volume {volume_id} from server {server}"):
                self.cloud.sdk.compute.delete_volume_attachment(server, volume_id, ignore_missing=True)
            self._settle(self.cloud.cinder.get_volume, volume, f"volume {volume_id}", _BUSY_VOLUME)
        release(self.cloud, volume_id, self.context)

    def _settle(self, fetch: Callable[[str], Any], thing: Any, what: str, busy: frozenset[str]) -> None:
        """Waits until Cinder has done with it. :raises Gone: it is not there any more"""

        def look() -> bool | None:
            with translated(f"asking for {what}"):
                status = str(fetch(thing.id).status).lower()
            return None if status in busy else True

        if str(thing.status).lower() in busy:
            wait_until(look, what=f"{what} did not come to rest", seconds=VOLUME_SECONDS, context=self.context)

    def _delete(self, delete: Callable[..., Any], ident: str, what: str) -> None:
        with translated(f"deleting {what}"):
            delete(ident, ignore_missing=True)

    def _wait_gone(self, fetch: Callable[[str], Any], delete: Callable[..., Any], ident: str, what: str) -> None:
        """:raises Conflict: Cinder cannot delete it"""

        def look() -> bool | None:
            try:
                with translated(f"asking for {what}"):
                    status = str(fetch(ident).status).lower()
            except Gone:
                return True
            if status == "error_deleting":
                raise Conflict(f"deleting {what} ended in status {status}: an administrator of the cloud has to look")
            if status == "available":  # in Ceph, somebody had it open, or a copy of it was still there: so once more
                self._delete(delete, ident, what)
            return True if status in _GONE else None

        wait_until(look, what=f"{what} was not deleted", seconds=VOLUME_SECONDS, context=self.context)


def disk_of(thing: Any) -> str | None:
    """The disk that a volume or image of ours is for; None: it was not yet marked."""
    found = (getattr(thing, "metadata", None) or {}).get(DISK) or (getattr(thing, "properties", None) or {}).get(DISK)
    return None if found is None else str(found)


def _ours(found: list[Any], mark: str) -> list[Any]:
    return sorted((one for one in found if (one.metadata or {}).get(KEY) == mark), key=_age)


def _staying(things: list[Any]) -> list[Any]:
    return [one for one in things if str(one.status).lower() != _GOING]


def _age(thing: Any) -> tuple[str, str]:
    return str(thing.created_at or ""), str(thing.id)
