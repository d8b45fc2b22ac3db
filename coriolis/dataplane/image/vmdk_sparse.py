# SPDX-License-Identifier: Apache-2.0
"""Headers and grain tables of sparse VMDK extents, and the check that all of it is inside of the file.

Three kinds, all little endian, in sectors of 512 bytes:

- ``KDMV``, hosted sparse extents (VMware "Virtual Disk Format 5.0"): magic, version, flags, capacity, grain size,
  descriptor offset and size, grain table entries, redundant and primary grain directory offsets, overhead. A
  stream-optimized file keeps its grain directory near its end and says so with an offset of all ones; the header is
  repeated in the last but one sector.
- ``COWD``, ESXi's vmfsSparse deltas (same document): magic, version, flags, sectors, grain size, grain directory offset
  and entries; tables of 4096 entries.
- seSparse, of newer ESXi (as QEMU's block/vmdk.c reads version 2.1): a constant header of 64-bit fields; 64-bit entries
  with their kind in the highest four bits.
"""

from __future__ import annotations

import dataclasses
import struct

from coriolis.dataplane.errors import InvalidImage
from coriolis.dataplane.image.reading import ImageFile, check_size

SECTOR = 512
SPARSE_MAGIC, COWD_MAGIC = b"KDMV", b"COWD"
SE_MAGIC = (0xCAFEBABE).to_bytes(8, "little")
COMPRESSED = 1 << 16
_MARKER = 12
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_COWD = struct.Struct("<4sIIIIII")
_COWD_ENTRIES = 4096
_SE = struct.Struct("<26Q")
_SE_VERSION, _SE_GRAIN, _SE_ENTRIES = 0x2_0000_0001, 8, 4096
_SE_KIND, _SE_TABLE, _SE_DATA = 60, 1, 3
_AT_END = (1 << 64) - 1
_MAX_GRAIN = 128 << 10  # sectors; QEMU's limit as well
_MAX_TABLES = 1 << 25  # 64 TiB in grains of 4 KiB; bounds what a header can make us read


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
    descriptor: tuple[int, int] = (0, 0)  # where, how long
    compression: int = 0

    @property
    def tables(self) -> int:
        return -(-self.capacity // (self.grain * self.entries))


def sparse_header(file: ImageFile) -> SparseHeader:
    """The header of a hosted or COWD extent; of the former, its footer where the header says that this one counts."""
    if file.read(0, 4, "header") == COWD_MAGIC:
        return _cowd_header(file)
    header = file.unpack(_HEADER, 0, "header")
    if header[9] == _AT_END:
        if file.size < 3 * SECTOR:
            raise file.truncated("footer", 3 * SECTOR)
        header = file.unpack(_HEADER, file.size - 2 * SECTOR, "footer")
        if header[0] != SPARSE_MAGIC or header[9] == _AT_END:
            raise InvalidImage(f"{file.path.name} is truncated: its stream has no footer; get it again")
    magic, version, flags, capacity, grain, at, length, entries, _redundant, directory, _, _, _, compression = header
    if magic != SPARSE_MAGIC or version not in (1, 2, 3):
        raise InvalidImage(f"{file.path.name}: not a VMDK sparse header of version 1 to 3")
    found = SparseHeader(
        flags=flags,
        capacity=capacity,
        grain=grain,
        entries=entries,
        directory=directory,
        descriptor=(at, length),
        compression=compression,
    )
    return _believable(file, found, most_entries=512)


def _cowd_header(file: ImageFile) -> SparseHeader:
    _, version, _, capacity, grain, directory, count = file.unpack(_COWD, 0, "header")
    if version != 1:
        raise InvalidImage(f"{file.path.name}: not a COWD header of version 1")
    found = SparseHeader(flags=0, capacity=capacity, grain=grain, entries=_COWD_ENTRIES, directory=directory)
    found = _believable(file, found, most_entries=_COWD_ENTRIES)
    if count < found.tables:
        raise InvalidImage(f"{file.path.name}: {count} grain tables cannot describe {capacity} sectors; get it again")
    return found


def _believable(file: ImageFile, header: SparseHeader, *, most_entries: int) -> SparseHeader:
    check_size(file.path, header.capacity * SECTOR)
    name, entries, grain = file.path.name, header.entries, header.grain
    if not 0 < entries <= most_entries or not 1 <= grain <= _MAX_GRAIN:
        raise InvalidImage(f"{name}: impossible grain size {grain} or table size {entries}")
    if header.tables > _MAX_TABLES:
        raise InvalidImage(f"{name}: {header.tables} grain tables; at most {_MAX_TABLES} are possible")
    return header


def extent_size(file: ImageFile) -> int:
    """Virtual size of a sparse extent of any kind, after checking that all of its grains are inside of the file."""
    if file.size >= 8 and file.read(0, 8, "header") == SE_MAGIC:
        return _check_se(file)
    header = sparse_header(file)
    check_grains(file, header)
    return header.capacity * SECTOR


def check_grains(file: ImageFile, header: SparseHeader) -> None:
    """Every table and every grain must be inside of the file: QEMU reads what is missing as zeros."""
    offsets = file.table("I", header.directory * SECTOR, header.tables, big=False, what="grain directory")
    for number, offset in enumerate(offsets):
        if offset == 0:
            continue
        grains = file.table("I", offset * SECTOR, header.entries, big=False, what="grain table")
        furthest = max(grains)
        if furthest <= 1:
            continue
        if header.flags & COMPRESSED:  # how long it is, its marker says
            end = furthest * SECTOR + _MARKER
        else:
            first = (number * header.entries + grains.index(furthest)) * header.grain
            end = (furthest + min(header.grain, header.capacity - first)) * SECTOR
        if end > file.size:
            raise file.truncated("grain data", end)


def _check_se(file: ImageFile) -> int:
    fields = file.unpack(_SE, 0, "header")
    _, version, capacity, grain, table_sectors, flags, *_ = fields
    name = file.path.name
    if (version, grain, table_sectors, flags) != (_SE_VERSION, _SE_GRAIN, _SE_ENTRIES * 8 // SECTOR, 0):
        raise InvalidImage(
            f"{name}: a seSparse extent of another version than 2.1, or with flags; consolidate it first"
        )
    size = check_size(file.path, capacity * SECTOR)
    directory, tables_at, grains_at = fields[16], fields[18], fields[24]
    count = -(-capacity // (grain * _SE_ENTRIES))
    for entry in file.table("Q", directory * SECTOR, count, big=False, what="grain directory"):
        if entry == 0:
            continue
        if entry >> _SE_KIND != _SE_TABLE:
            raise InvalidImage(f"{name}: its grain directory is damaged; get it again")
        at = tables_at * SECTOR + (entry & 0xFFFFFFFF) * _SE_ENTRIES * 8
        table = file.table("Q", at, _SE_ENTRIES, big=False, what="grain table")
        furthest = max((_se_grain(e) for e in table if e >> _SE_KIND == _SE_DATA), default=-1)
        end = (grains_at + (furthest + 1) * grain) * SECTOR
        if furthest >= 0 and end > file.size:
            raise file.truncated("grain data", end)
    return size


def _se_grain(entry: int) -> int:
    """The number of a grain: the upper 12 of 60 bits are the lower ones."""
    return (entry >> 48 & 0xFFF) | (entry & 0xFFFF_FFFF_FFFF) << 12
