# SPDX-License-Identifier: Apache-2.0
"""VMDK: descriptors with their extents, and sparse extents (VMware "Virtual Disk Format 5.0").

Sparse header, little endian, sectors of 512 bytes: magic "KDMV", version, flags, capacity, grain size,
descriptor offset and size, grain table entries, redundant and primary grain directory offsets, overhead. A
stream-optimized file keeps its grain directory near its end and says so with an offset of all ones; the
header is repeated in the last but one sector.
"""

from __future__ import annotations

import dataclasses
import re
import struct

from coriolis.dataplane.errors import InvalidImage, UnsafeImage
from coriolis.dataplane.image.reading import ImageFile, check_size

SECTOR = 512
SPARSE_MAGIC = b"KDMV"
DESCRIPTOR_MAGIC = b"# Disk DescriptorFile"
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_AT_END = (1 << 64) - 1
_NO_PARENT = "ffffffff"
_MAX_DESCRIPTOR = 1 << 20
_MAX_GRAIN = 128 << 10  # sectors; QEMU's limit as well
_MAX_TABLES = 1 << 25  # 64 TiB in grains of 4 KiB; bounds what a header can make us read
_EXTENT = re.compile(
    r'^(?P<access>RW|RDONLY|NOACCESS)\s+(?P<sectors>\d+)\s+(?P<type>[A-Z]+)(?:\s+"(?P<name>[^"]*)"(?:\s+(?P<offset>\d+))?)?\s*$'
)
_FLAT, _SPARSE = ("FLAT", "VMFS"), ("SPARSE",)
_SETTING = re.compile(r'^\s*([A-Za-z0-9_.]+)\s*=\s*"?([^"]*)"?\s*$')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """One line of a descriptor. ``offset``: in the file, in sectors, of a flat extent. ``name`` is empty
    for ZERO.
    """

    sectors: int
    type: str
    name: str = ""
    offset: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descriptor:
    kind: str
    parent: str
    extents: tuple[Extent, ...]

    @property
    def size(self) -> int:
        return sum(extent.sectors for extent in self.extents) * SECTOR


def parse_descriptor(name: str, text: str) -> Descriptor:
    """Reads a descriptor; raises `InvalidImage` for what cannot be one or has a parent."""
    settings: dict[str, str] = {}
    extents: list[Extent] = []
    for line in text.split("\0", 1)[0].splitlines():
        match = _EXTENT.match(line.strip())
        if match:
            extents.append(
                Extent(
                    sectors=int(match["sectors"]),
                    type=match["type"],
                    name=match["name"] or "",
                    offset=int(match["offset"] or 0),
                )
            )
        elif setting := _SETTING.match(line):
            settings.setdefault(setting[1].lower(), setting[2].strip())
        elif line.startswith(("RW ", "RDONLY ", "NOACCESS ")):
            raise InvalidImage(f"{name}: the extent line {line[:80]!r} cannot be read")
    if not extents or "createtype" not in settings:
        raise InvalidImage(f"{name}: its VMDK descriptor has no extents or no createType")
    parent = settings.get("parentcid", _NO_PARENT).lower()
    if parent != _NO_PARENT or settings.get("parentfilenamehint"):
        raise InvalidImage(f"{name} is a snapshot of another VMDK; consolidate the snapshots and export the disk again")
    return Descriptor(kind=settings["createtype"], parent=parent, extents=tuple(extents))


def read_descriptor(file: ImageFile) -> Descriptor:
    if file.size > _MAX_DESCRIPTOR:
        raise InvalidImage(f"{file.path.name}: a VMDK descriptor of {file.size} bytes; at most 1 MiB is possible")
    return parse_descriptor(file.path.name, file.read(0, file.size, "descriptor").decode("utf-8", "replace"))


def check_extent(image: str, extent: Extent, file: ImageFile) -> None:
    """The extent's file must hold what the descriptor promises."""
    length = extent.sectors * SECTOR
    if extent.type in _FLAT:
        if extent.offset * SECTOR + length > file.size:
            raise UnsafeImage(
                f"{image} promises {length} bytes in {extent.name} from sector {extent.offset}, the file has "
                f"{file.size}; the descriptor lies or the file is truncated"
            )
    elif extent.type in _SPARSE:
        capacity = sparse_size(file, embedded=False)
        if capacity != length:
            raise UnsafeImage(
                f"{image} promises {length} bytes in {extent.name}, whose header says {capacity}; the descriptor lies"
            )
    else:
        raise InvalidImage(f"{image}: extents of type {extent.type} are not supported; export the disk as one VMDK")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseHeader:
    """A believable header of a sparse extent. ``capacity``, ``grain``, ``directory`` and ``descriptor`` are in
    sectors, ``tables`` and ``entries`` (of each) are numbers.
    """

    flags: int
    capacity: int
    grain: int
    entries: int
    directory: int
    descriptor: tuple[int, int]  # where, how long
    compression: int

    @property
    def tables(self) -> int:
        return -(-self.capacity // (self.grain * self.entries))


def sparse_header(file: ImageFile) -> SparseHeader:
    """The header of a sparse extent, or its footer where the header says that this one counts."""
    header = file.unpack(_HEADER, 0, "header")
    if header[9] == _AT_END:
        if file.size < 3 * SECTOR:
            raise file.truncated("footer", 3 * SECTOR)
        header = file.unpack(_HEADER, file.size - 2 * SECTOR, "footer")
        if header[0] != SPARSE_MAGIC or header[9] == _AT_END:
            raise InvalidImage(f"{file.path.name} is truncated: its stream has no footer; get it again")
    magic, version, flags, capacity, grain, at, length, entries, _redundant, directory, _, _, _, compression = header
    name = file.path.name
    if magic != SPARSE_MAGIC or version not in (1, 2, 3):
        raise InvalidImage(f"{name}: not a VMDK sparse header of version 1 to 3")
    check_size(file.path, capacity * SECTOR)
    if not 0 < entries <= 512 or not 1 <= grain <= _MAX_GRAIN:
        raise InvalidImage(f"{name}: impossible grain size {grain} or table size {entries}")
    found = SparseHeader(
        flags=flags,
        capacity=capacity,
        grain=grain,
        entries=entries,
        directory=directory,
        descriptor=(at, length),
        compression=compression,
    )
    if found.tables > _MAX_TABLES:
        raise InvalidImage(f"{name}: {found.tables} grain tables; at most {_MAX_TABLES} are possible")
    return found


def sparse_size(file: ImageFile, *, embedded: bool) -> int:
    """Virtual size of a sparse extent after checking that all of its grains are inside of the file.

    ``embedded``: the file is a disk of its own, so its descriptor is inside of it and is checked too.
    """
    header = sparse_header(file)
    if embedded:
        _check_embedded(file, *header.descriptor, header.capacity)
    _check_grains(file, header)
    return header.capacity * SECTOR


def _check_embedded(file: ImageFile, at: int, length: int, capacity: int) -> None:
    name = file.path.name
    if not at or not 0 < length * SECTOR <= _MAX_DESCRIPTOR:
        raise InvalidImage(
            f"{name}: a sparse VMDK without a descriptor is a piece of a disk; name its descriptor instead"
        )
    descriptor = parse_descriptor(
        name, file.read(at * SECTOR, length * SECTOR, "descriptor").decode("utf-8", "replace")
    )
    if len(descriptor.extents) != 1 or any(c in descriptor.extents[0].name for c in "/\\"):
        raise UnsafeImage(f"{name}: its own descriptor names other files as extents; it was not opened")
    if descriptor.extents[0].sectors != capacity:
        raise UnsafeImage(
            f"{name}: the descriptor says {descriptor.extents[0].sectors} sectors, the header {capacity}; "
            "one of them lies"
        )


def _check_grains(file: ImageFile, header: SparseHeader) -> None:
    offsets = file.table("I", header.directory * SECTOR, header.tables, big=False, what="grain directory")
    for offset in offsets:
        if offset == 0:
            continue
        grains = file.table("I", offset * SECTOR, header.entries, big=False, what="grain table")
        furthest = max(grains)
        if furthest > 1 and furthest * SECTOR >= file.size:
            raise file.truncated("grain data", (furthest + 1) * SECTOR)


def rewritten(descriptor: Descriptor, names: list[str]) -> str:
    """A descriptor for the same extents under ``names`` with nothing else from the original in it."""
    sparse = descriptor.extents[0].type == "SPARSE"
    # No blank lines: QEMU 7.2 skips over one into the extent below it and takes that extent twice.
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=fffffffe",
        f"parentCID={_NO_PARENT}",
        f'createType="{"twoGbMaxExtentSparse" if sparse else "twoGbMaxExtentFlat"}"',
    ]
    for extent, name in zip(descriptor.extents, names, strict=True):
        if extent.type == "ZERO":
            lines.append(f"RW {extent.sectors} ZERO")
        elif extent.type == "SPARSE":
            lines.append(f'RW {extent.sectors} SPARSE "{name}"')
        else:
            lines.append(f'RW {extent.sectors} FLAT "{name}" {extent.offset}')
    return "\n".join([*lines, ""])
