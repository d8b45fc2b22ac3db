# SPDX-License-Identifier: Apache-2.0
"""Volumes in Ceph, read and written by the worker itself: qemu-nbd with librbd makes them NBD exports.

A snapshot is read while the volume is in use. What changed between two snapshots is asked of Ceph. A volume is
written by one attempt at a time: see `rbd_fence`. Who may use this, and with which key: see `ceph_access`.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from coriolis.dataplane import Extent, Kind, NbdSink, NbdSource, SourceError, rbd_diff
from coriolis.dataplane.extents import merge
from coriolis.dataplane.server import Server, ServerFailed, serve
from coriolis.providers.api import Context, Gone, Unavailable
from coriolis.providers.openstack.rbd_fence import Fence
from coriolis.providers.openstack.rbd_tools import RbdImage, Tools, rbd_of, refusal, tools

__all__ = [
    "RbdImage",
    "changes",
    "never_written",
    "of_volume",
    "rbd_of",
    "reading",
    "reading_copy",
    "snapshot_name",
    "stop_writer",
    "writing",
]

_CLIENTS = 16
_DIFF_SECONDS = 4 * 3600.0  # Ceph looks at every object of a volume; the context may end it sooner


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    name: str
    size: int
    identity: str


@contextlib.contextmanager
def reading(image: RbdImage, snapshot: str, context: Context, *, since: str | None = None) -> Iterator[NbdSource]:
    """The image at a snapshot, for as long as the block lasts. ``since``: an earlier snapshot of the image; what did
    not change after it is told. An earlier one that is gone is no error: everything is to be read then.

    :raises Gone: there is no such image or snapshot
    """
    with tools(image, context) as ceph:
        now, base, listed = _snapshot(ceph, snapshot), None, None
        if since is not None:
            try:
                base = _snapshot(ceph, since)
                listed = tuple(_changes(ceph, base, now))
            except Gone:
                context.event("WARNING", f"Ceph image {image.spec} has no snapshot {since} any more: all of it is read")
        with _served(ceph, {"snapshot": snapshot}, writable=False) as server:
            yield NbdSource(
                uri=server.uri,
                size=now.size,
                identity=now.identity,
                changes=listed,
                base_identity=base.identity if base and listed is not None else None,
            )


@contextlib.contextmanager
def reading_copy(image: RbdImage, context: Context, *, since: str | None = None) -> Iterator[NbdSource]:
    """A volume that Cinder made from a snapshot and that nobody writes, for as long as the block lasts. ``since``: an
    earlier snapshot of the volume that the snapshot is of: what did not change after it is told, as long as Ceph knows
    where the copy is from. ``identity`` and ``base_identity`` are the caller's to say, who knows both snapshots.

    :raises Gone: there is no such image
    """
    with tools(image, context) as ceph:
        info = ceph.parsed("info", image.spec)
        listed = None if since is None else _changes_of_copy(ceph, info.get("parent", {}), since, context)
        with _served(ceph, {}, writable=False) as server:
            yield NbdSource(uri=server.uri, size=int(info["size"]), changes=listed)


def _changes_of_copy(ceph: Tools, parent: dict[str, Any], since: str, context: Context) -> tuple[Extent, ...] | None:
    """None: all of it is to be read."""
    if parent.get("pool") != ceph.image.pool:
        return None
    origin = ceph.of(replace(ceph.image, name=str(parent["image"])))
    try:
        return tuple(_changes(origin, _snapshot(origin, since), _snapshot(origin, str(parent["snapshot"]))))
    except Gone as error:
        context.event("WARNING", f"all of it is read: {error.message}")
        return None


@contextlib.contextmanager
def writing(image: RbdImage, context: Context, *, zeroed: bool = False) -> Iterator[NbdSink]:
    """The image, for writing and reading back; older attempts are locked out. ``zeroed``: it was made empty.

    :raises Conflict: a newer attempt writes it, or a server or another program has it open
    """
    with tools(image, context) as ceph, contextlib.ExitStack() as stack:
        fence = Fence(ceph, context)
        stack.callback(fence.closed)  # after the server has ended
        with fence.opening() as opened:
            server = stack.enter_context(_served(ceph, {}, writable=True))
            opened()
        yield NbdSink(uri=server.uri, zeroed=zeroed)


def stop_writer(image: RbdImage, context: Context) -> None:
    """Locks out whoever writes the image for us, before it is deleted or started. Content when nobody does, or when
    there is no image."""
    with contextlib.suppress(Gone), tools(image, context) as ceph:
        Fence(ceph, context).end()


def changes(image: RbdImage, from_snap: str, to_snap: str, context: Context) -> list[Extent]:
    """What changed from one snapshot to a later one, as a tidy list over the disk at the later one.

    :raises Gone: one of the snapshots is not there
    """
    with tools(image, context) as ceph:
        return _changes(ceph, _snapshot(ceph, from_snap), _snapshot(ceph, to_snap))


def of_volume(image: RbdImage, volume_id: str) -> RbdImage:
    """Of another volume in the same pool, which Cinder has shown to belong to the same project: one that is in use,
    for example, gets no attachment, while a copy of its snapshot does. A volume that Cinder has migrated keeps another
    name in Ceph, and is not found."""
    return replace(image, name=f"volume-{uuid.UUID(volume_id)}")


def snapshot_name(snapshot_id: str) -> str:
    """What Cinder calls its snapshot in Ceph."""
    return f"snapshot-{uuid.UUID(snapshot_id)}"


def never_written(image: RbdImage, context: Context) -> bool:
    """Whether the image reads as zeros because nothing was ever written to it, nor to what it is a clone of."""
    with tools(image, context) as ceph:
        return not json.loads(ceph.rbd("diff", "--whole-object", "--format=json", image.spec, seconds=_DIFF_SECONDS))


def _changes(ceph: Tools, base: _Snapshot, now: _Snapshot) -> list[Extent]:
    spec = f"{ceph.image.spec}@{now.name}"
    text = ceph.rbd("diff", f"--from-snap={base.name}", "--format=json", spec, seconds=_DIFF_SECONDS)
    try:
        listed = rbd_diff(text, now.size, since_snapshot=True, earlier_size=base.size)
    except SourceError as error:
        raise Unavailable(f"Ceph image {spec}: {error}") from None
    if not _is_clone(ceph, base) and not _is_clone(ceph, now):
        return listed
    # Where a clone has nothing of its own, its parent may show: that is looked at, and not taken for zeros.
    return list(merge(replace(one, kind=Kind.DATA) if one.kind is Kind.ZERO else one for one in listed))


def _is_clone(ceph: Tools, snapshot: _Snapshot) -> bool:
    return "parent" in ceph.parsed("info", f"{ceph.image.spec}@{snapshot.name}")


def _snapshot(ceph: Tools, name: str) -> _Snapshot:
    for one in ceph.parsed("snap", "ls", ceph.image.spec):
        if one["name"] == name:
            # Ceph gives each snapshot of a pool a number that it gives no other one.
            identity = f"rbd:{ceph.image.spec}@{name}#{one['id']}"
            return _Snapshot(name=name, size=int(one["size"]), identity=identity)
    raise Gone(f"Ceph image {ceph.image.spec} has no snapshot {name}")


@contextlib.contextmanager
def _served(ceph: Tools, more: dict[str, str], *, writable: bool) -> Iterator[Server]:
    """A qemu-nbd on a socket in the private folder. Its arguments name the file of the key, not the key."""
    image = ceph.image
    node = {"driver": "rbd", "pool": image.pool, "image": image.name, "user": image.user, "conf": str(ceph.conf)}
    node = {**node, "key-secret": "key", **more}
    command = ["qemu-nbd", f"--object=secret,id=key,format=base64,file={ceph.key}", "--persistent"]
    command += [f"--shared={_CLIENTS}", f"--socket={ceph.folder / 'nbd'}", f"--pid-file={ceph.folder / 'pid'}"]
    command += ["--cache=writeback", "--discard=unmap"] if writable else ["--read-only"]
    try:
        with serve([*command, f"json:{json.dumps(node)}"], ceph.folder) as server:
            yield server
    except ServerFailed as error:
        raise refusal(image, error.reason) from None
