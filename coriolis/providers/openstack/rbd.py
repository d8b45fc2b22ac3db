# SPDX-License-Identifier: Apache-2.0
"""Volumes in Ceph, read and written by the worker itself: qemu-nbd with librbd makes them NBD exports.

A volume in use is read from a copy that Cinder makes of a snapshot. What changed between two snapshots is asked of
Ceph. A volume is written by one attempt at a time: see `rbd_fence`. Who may use this, and with which key: see
`ceph_access`.
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
    "never_written",
    "rbd_of",
    "reading",
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


@contextlib.contextmanager
def reading(image: RbdImage, context: Context, *, since: str | None = None) -> Iterator[NbdSource]:
    """A volume that Cinder made from a snapshot and that nobody writes, for as long as the block lasts. ``since``: an
    earlier snapshot of the volume that the snapshot is of: what did not change after it is told, as long as Ceph knows
    where the copy is from. ``identity`` and ``base_identity`` are the caller's to say, who knows both snapshots.

    QEMU does not see the holes of a copy (librbd before 1.17), so Ceph is asked for them when all is to be read.

    :raises Gone: there is no such image
    """
    with tools(image, context) as ceph:
        info = ceph.parsed("info", image.spec)
        listed = None if since is None else _changes_of_copy(ceph, info.get("parent", {}), since, context)
        with _served(ceph, writable=False) as server:
            allocation = _allocation(ceph, int(info["size"])) if listed is None else None
            yield NbdSource(uri=server.uri, size=int(info["size"]), changes=listed, allocation=allocation)


def _allocation(ceph: Tools, size: int) -> tuple[Extent, ...]:
    """What is neither in the image nor in what it is a copy of reads as zeros."""
    # All that Ceph lists is read: what it says does not exist in a copy may hide what is below.
    listed = json.dumps([{**one, "exists": True} for one in _written(ceph)])
    return tuple(rbd_diff(listed, size, since_snapshot=False))


def _written(ceph: Tools) -> list[dict[str, Any]]:
    """Objects of which Ceph has something, also in what the image is a copy of."""
    text = ceph.rbd("diff", "--whole-object", "--format=json", ceph.image.spec, seconds=_DIFF_SECONDS)
    return list(json.loads(text))


def _changes_of_copy(ceph: Tools, parent: dict[str, Any], since: str, context: Context) -> tuple[Extent, ...] | None:
    """None: all of it is to be read."""
    try:
        if parent.get("pool") != ceph.image.pool:  # a Cinder may flatten what it makes of snapshots
            raise Gone(f"Ceph image {ceph.image.spec} does not know what it is a copy of")
        origin = ceph.of(replace(ceph.image, name=str(parent["image"])))
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
            server = stack.enter_context(_served(ceph, writable=True))
            opened()
        yield NbdSink(uri=server.uri, zeroed=zeroed)


def stop_writer(image: RbdImage, context: Context) -> None:
    """Locks out whoever writes the image for us, before it is deleted or started. Content when nobody does, or when
    there is no image."""
    with contextlib.suppress(Gone), tools(image, context) as ceph:
        Fence(ceph, context).end()


def snapshot_name(snapshot_id: str) -> str:
    """What Cinder calls its snapshot in Ceph."""
    return f"snapshot-{uuid.UUID(snapshot_id)}"


def never_written(image: RbdImage, context: Context) -> bool:
    """Whether the image reads as zeros because nothing was ever written to it, nor to what it is a clone of."""
    with tools(image, context) as ceph:
        return not _written(ceph)


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
            return _Snapshot(name=name, size=int(one["size"]))
    raise Gone(f"Ceph image {ceph.image.spec} has no snapshot {name}")


@contextlib.contextmanager
def _served(ceph: Tools, *, writable: bool) -> Iterator[Server]:
    """A qemu-nbd on a socket in the private folder. Its arguments name the file of the key, not the key."""
    image = ceph.image
    node = {"driver": "rbd", "pool": image.pool, "image": image.name, "user": image.user, "conf": str(ceph.conf)}
    node["key-secret"] = "key"
    command = ["qemu-nbd", f"--object=secret,id=key,format=base64,file={ceph.key}", "--persistent"]
    command += [f"--shared={_CLIENTS}", f"--socket={ceph.folder / 'nbd'}", f"--pid-file={ceph.folder / 'pid'}"]
    command += ["--cache=writeback", "--discard=unmap"] if writable else ["--read-only"]
    try:
        with serve([*command, f"json:{json.dumps(node)}"], ceph.folder) as server:
            yield server
    except ServerFailed as error:
        raise refusal(image, error.reason) from None
