# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a disk are, and how they become an image that the data plane can open in place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coriolis.dataplane import (
    DataplaneError,
    DiskFormat,
    ImageInfo,
    ImageSource,
    InvalidImage,
    inspect_image,
)
from coriolis.providers.api import Context, DiskSnapshot, Invalid, Unavailable, to_json
from coriolis.providers.ova.catalog import IMAGE_FORMATS
from coriolis.providers.ova.ovf import File, VirtualDisk
from coriolis.providers.ova.package import Package
from coriolis.providers.ova.window import Stamp, Window

# Parts of the lower-cased format URI; the href's suffix decides when none fits.
_FORMATS: tuple[tuple[str, DiskFormat], ...] = (
    ("qcow", DiskFormat.QCOW2),
    ("vhdx", DiskFormat.VHDX),
    ("vhd", DiskFormat.VHD),
    ("linkid=137171", DiskFormat.VHD),  # the address that VirtualBox writes for VHD
    ("vmdk", DiskFormat.VMDK),
    ("raw", DiskFormat.RAW),
)
FORMAT_WORDS = {DiskFormat.VHD: "vhd"}  # the words of the instance model, where they are not QEMU's
_HOLE = bytes(64 << 10)
_OVERHEAD = 64 << 20  # what an image may be larger than its disk, besides one part in 16


@dataclass(frozen=True, kw_only=True)
class DiskFile:
    """An image as it lies there. No piece: an empty disk. ``whole``: a file of its own, which may refer to siblings."""

    pieces: tuple[Window, ...]
    format: DiskFormat | None = None
    capacity: int | None = None  # bytes, as a descriptor says
    compression: str = ""
    whole: bool = False

    @property
    def in_place(self) -> bool:
        """The data plane can read it where it is: one piece, not compressed."""
        return len(self.pieces) == 1 and not self.compression


def packaged(package: Package, disk: VirtualDisk | None, file: File | None) -> DiskFile:
    """The file of a disk of an OVF package.

    :raises Invalid: missing, truncated, outside of the package, or a delta of another disk
    """
    if disk is not None and disk.parent:
        raise Invalid(f"{package.path.name}: disk {disk.id!r} is a delta of {disk.parent!r}. Export without snapshots.")
    if file is None:
        return DiskFile(pieces=(), capacity=disk.capacity if disk else None)
    return DiskFile(
        pieces=package.pieces(file),
        format=format_of(disk.format if disk else "", file.href),
        capacity=disk.capacity if disk else None,
        compression=file.compression,
        whole=not package.archived,
    )


def format_of(uri: str, href: str) -> DiskFormat | None:
    """The image format that a descriptor means; None: the content has to tell."""
    by_uri = next((fmt for part, fmt in _FORMATS if part in uri.lower()), None)
    return by_uri or IMAGE_FORMATS.get(Path(href).suffix.lower())


def image(path: Path, length: int) -> DiskFile:
    """A disk image without descriptor."""
    return DiskFile(
        pieces=(Window(path=path, length=length),), format=IMAGE_FORMATS.get(path.suffix.lower()), whole=True
    )


def inspect(disk: DiskFile) -> ImageInfo:
    """What the image says of itself; only for one that is read in place.

    :raises Invalid: damaged, or it refers to what it must not
    """
    piece = disk.pieces[0]
    try:
        if disk.whole:
            return inspect_image(piece.path, format=disk.format, folder=piece.path.parent)
        return inspect_image(piece.path, format=disk.format, offset=piece.offset, length=piece.length)
    except DataplaneError as error:
        raise typed(error) from error


def typed(error: DataplaneError) -> Invalid | Unavailable:
    """The data plane's error in the words of the provider API."""
    if isinstance(error, InvalidImage) or not error.retryable:
        return Invalid(str(error))
    return Unavailable(str(error))


def size(disk: DiskFile) -> int:
    """Bytes of the disk: the image's own word where it can be had, as it is what will be read."""
    if disk.in_place:
        return inspect(disk).size
    if disk.capacity is None:
        raise Invalid("A compressed or chunked disk has no DiskSection entry, so its size is not known.")
    return disk.capacity


def snapshot(disk_id: str, disk: DiskFile, manifest_digest: str) -> DiskSnapshot:
    """The disk as it is now. The identity follows from the files' stamps, so that it changes when any is written."""
    info = inspect(disk) if disk.in_place else None
    paths = list(info.files) if info is not None else list(dict.fromkeys(p.path for p in disk.pieces))
    stamps = [to_json(Stamp.of(path)) for path in paths]
    pieces = [{"path": str(p.path.resolve()), "offset": p.offset, "length": p.length} for p in disk.pieces]
    token = json.dumps([disk_id, disk.capacity, pieces, stamps, manifest_digest], sort_keys=True)
    return DiskSnapshot(
        disk_id=disk_id,
        size_bytes=size(disk),
        identity=f"ova-{hashlib.sha256(token.encode()).hexdigest()[:40]}",
        properties={
            "pieces": pieces,
            "stamps": stamps,
            "format": disk.format.value if disk.format else "",
            "compression": disk.compression,
            "whole": disk.whole,
        },
    )


def from_snapshot(snapshot: DiskSnapshot) -> tuple[DiskFile, list[Stamp]]:
    """The inverse of `snapshot`."""
    given: dict[str, Any] = snapshot.properties
    disk = DiskFile(
        pieces=tuple(Window(path=Path(p["path"]), offset=p["offset"], length=p["length"]) for p in given["pieces"]),
        format=DiskFormat(given["format"]) if given["format"] else None,
        capacity=snapshot.size_bytes,
        compression=given["compression"],
        whole=given["whole"],
    )
    return disk, [Stamp(**stamp) for stamp in given["stamps"]]


def source(disk: DiskFile, identity: str, context: Context) -> ImageSource:
    """The disk for the data plane: in place if possible, otherwise from a copy in the attempt's scratch directory.

    :raises Invalid: not the image that the descriptor announces
    """
    assert disk.capacity is not None
    if disk.in_place:
        piece = disk.pieces[0]
        if disk.whole:
            return ImageSource(path=piece.path, format=disk.format, folder=piece.path.parent, identity=identity)
        return ImageSource(
            path=piece.path, format=disk.format, identity=identity, offset=piece.offset, length=piece.length
        )
    target = context.scratch / f"{identity}.image"
    if not disk.pieces:
        with target.open("wb") as file:
            file.truncate(disk.capacity)
        return ImageSource(path=target, format=DiskFormat.RAW, identity=identity)
    _assemble(disk, target, context)
    whole = Window(path=target, length=target.stat().st_size)
    info = inspect(DiskFile(pieces=(whole,), format=disk.format, whole=False))
    if info.size != disk.capacity:
        raise Invalid(
            f"The image in {disk.pieces[0].path.name} has a disk of {info.size} bytes, the descriptor says"
            f" {disk.capacity}. The package is damaged: export it again."
        )
    return ImageSource(path=target, format=info.format, identity=identity)


def _assemble(disk: DiskFile, target: Path, context: Context) -> None:
    total, done, written = sum(piece.length for piece in disk.pieces), 0, 0
    limit = (disk.capacity or 0) * 17 // 16 + _OVERHEAD
    with _room(target), target.open("wb") as file:
        for data, consumed in _plain(disk):
            context.check_cancelled()
            done += consumed
            written += len(data)
            if written > limit:
                raise Invalid(f"{disk.pieces[0].path.name} unpacks to more than its disk of {disk.capacity} bytes has.")
            for start in range(0, len(data), len(_HOLE)):
                part = data[start : start + len(_HOLE)]
                if part == _HOLE:
                    file.seek(len(part), 1)
                else:
                    file.write(part)
            context.progress("unpack", done, total, f"Unpacking {disk.pieces[0].path.name}")
        file.truncate(written)


def _plain(disk: DiskFile) -> Iterator[tuple[bytes, int]]:
    """(unpacked bytes, packed bytes that they cost), never more than some MiB at once."""
    packed = (data for piece in disk.pieces for data in piece.chunks())
    if not disk.compression:
        yield from ((data, len(data)) for data in packed)
        return
    gunzip = zlib.decompressobj(wbits=31)
    try:
        for data in packed:
            cost = len(data)
            while data:
                yield gunzip.decompress(data, 4 << 20), cost
                cost = 0
                data = gunzip.unconsumed_tail
                if gunzip.eof:  # gzip files may be several, one after the other
                    data, gunzip = gunzip.unused_data, zlib.decompressobj(wbits=31)
                    if not data.strip(b"\0"):
                        return
    except zlib.error as error:
        raise Invalid(f"{disk.pieces[0].path.name} is not a whole gzip file ({error}). Copy it again.") from None
    raise Invalid(f"{disk.pieces[0].path.name} is truncated: its gzip stream does not end. Copy or export it again.")


@contextlib.contextmanager
def _room(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"No room in the worker's scratch folder {target.parent} to unpack a disk.") from error
        raise
