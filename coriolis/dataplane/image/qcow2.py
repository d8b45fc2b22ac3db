# SPDX-License-Identifier: Apache-2.0
"""QCOW2 headers (QEMU's docs/interop/qcow2.txt). Big endian."""

from __future__ import annotations

import array
import dataclasses
import re
import struct
from collections.abc import Iterator

from coriolis.dataplane.errors import InvalidImage, UnsafeImage
from coriolis.dataplane.image.reading import ImageFile, check_size

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT = 0xE2792ACA
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_DIRTY, _CORRUPT, _DATA_FILE, _EXTENDED, _KNOWN = 1, 2, 4, 16, 0b11111  # incompatible features
_SNAPSHOT = struct.Struct(">QIHHIIQII")
_ID = re.compile(r"^[0-9A-Za-z_-]+$")
_MAX_SNAPSHOTS = 65536
_MAX_COUNTS = 8 << 20  # bytes of reference table; QEMU's limit as well
_MAX_NAME = 1023
_MAX_EXTENSIONS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An internal snapshot. ``size``: of the disk when it was taken, in bytes."""

    id: str
    name: str
    size: int
    l1: tuple[int, int]  # where, entries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """``snapshot``: the one that was asked for; then ``size`` is its."""

    size: int
    backing: str | None
    backing_format: str | None
    snapshot: Snapshot | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    bits: int  # of the cluster size
    size: int  # of the disk
    extended: bool

    @property
    def cluster(self) -> int:
        return 1 << self.bits

    @property
    def entries(self) -> int:
        """Clusters that one second-level table maps."""
        return self.cluster // (16 if self.extended else 8)


def read(file: ImageFile, snapshot: str | None = None) -> Header:
    """Checks header and tables, of ``snapshot`` (its id or name) if given. Raises `InvalidImage` or `UnsafeImage`."""
    fields = file.unpack(_HEADER, 0, "header")
    _, version, name_at, name_length, bits, size, crypt, l1_size, l1_at, refs_at, refs, count, snapshots_at = fields
    name = file.path.name
    if version not in (2, 3):
        raise InvalidImage(f"{name}: QCOW version {version}; only QCOW2 versions 2 and 3 are supported")
    if not 9 <= bits <= 21:
        raise InvalidImage(f"{name}: impossible cluster size 2^{bits}")
    if crypt:
        raise InvalidImage(f"{name} is encrypted; decrypt it first: qemu-img convert")
    header_length, features = 72, 0
    if version == 3:
        features, _, _, _, header_length = file.unpack(_V3, 72, "header")
    _check_features(name, features)
    chosen = None
    if snapshot is not None:
        chosen = _find(file, snapshot, list(_snapshots(file, snapshots_at, count, size)))
        size, (l1_at, l1_size) = chosen.size, chosen.l1
    check_size(file.path, size)
    layout = _Layout(bits=bits, size=size, extended=bool(features & _EXTENDED))
    _check_counts(file, layout, refs_at, refs)
    _check_tables(file, layout, l1_at, l1_size)
    backing = None
    if name_at:
        if name_length > _MAX_NAME:
            raise InvalidImage(f"{name}: backing file name of {name_length} bytes")
        backing = file.read(name_at, name_length, "backing file name").decode("utf-8", "surrogateescape")
    return Header(
        size=size,
        backing=backing,
        backing_format=_backing_format(file, header_length) if backing else None,
        snapshot=chosen,
    )


def _snapshots(file: ImageFile, at: int, count: int, size: int) -> Iterator[Snapshot]:
    if count > _MAX_SNAPSHOTS:
        raise InvalidImage(f"{file.path.name}: {count} snapshots; at most {_MAX_SNAPSHOTS} are possible")
    for _ in range(count):
        l1_at, l1_size, id_length, name_length, _, _, _, _, extra = file.unpack(_SNAPSHOT, at, "snapshot table")
        at += _SNAPSHOT.size
        if extra >= 16:
            size = struct.unpack(">8xQ", file.read(at, 16, "snapshot table"))[0]
        text = file.read(at + extra, id_length + name_length, "snapshot table").decode("utf-8", "replace")
        at += extra + id_length + name_length
        at += -at % 8
        yield Snapshot(id=text[:id_length], name=text[id_length:], size=size, l1=(l1_at, l1_size))


def _find(file: ImageFile, wanted: str, snapshots: list[Snapshot]) -> Snapshot:
    found = [s for s in snapshots if s.id == wanted] or [s for s in snapshots if s.name == wanted]
    if len(found) != 1 or not _ID.match(found[0].id):
        has = ", ".join(f"{s.name} ({s.id})" for s in snapshots[:8]) or "none"
        raise InvalidImage(f"{file.path.name} has not exactly one snapshot {wanted!r}; it has: {has}")
    return found[0]


def _check_features(name: str, features: int) -> None:
    if features & _DATA_FILE:
        raise UnsafeImage(f"{name} keeps its data in an external file; convert it to a plain QCOW2: qemu-img convert")
    if features & _CORRUPT:
        raise InvalidImage(f"{name} is marked corrupt; repair it: qemu-img check -r all")
    if features & ~_KNOWN:
        raise InvalidImage(f"{name} uses unknown features {features:#x}; convert it with the QEMU that made it")


def _check_counts(file: ImageFile, layout: _Layout, at: int, clusters: int) -> None:
    if not 0 < clusters <= _MAX_COUNTS // layout.cluster:
        raise InvalidImage(f"{file.path.name}: a reference table of {clusters} clusters; get it again")
    table = file.table("Q", at, clusters * layout.cluster // 8, big=True, what="reference table")
    if (furthest := max(table)) and furthest + layout.cluster > file.size:
        raise file.truncated("reference counts", furthest + layout.cluster)


def _check_tables(file: ImageFile, layout: _Layout, l1_at: int, l1_size: int) -> None:
    """Every table and data cluster must be inside of the file: QEMU reads what is missing as zeros."""
    needed = -(-layout.size // (layout.cluster * layout.entries))
    if l1_size < needed or l1_size > 4 * needed + 4096:
        raise InvalidImage(f"{file.path.name}: {l1_size} first-level entries cannot describe {layout.size} bytes")
    for number, value in enumerate(file.table("Q", l1_at, l1_size, big=True, what="first-level table")[:needed]):
        if offset := value & _OFFSET:
            table = file.table("Q", offset, layout.cluster // 8, big=True, what="second-level table")
            end = _furthest(layout, table, number * layout.entries)
            if end > file.size:
                raise file.truncated("data", end)


def _furthest(layout: _Layout, table: array.array[int], first: int) -> int:
    """Where the data of a second-level table ends in the file, at least. ``first``: the first cluster it maps."""
    entries, parts = (table[::2], table[1::2]) if layout.extended else (table, None)
    zero = 0 if layout.extended else 1  # such a cluster may have a place, but what is there is not read
    used = [(e & _OFFSET, i) for i, e in enumerate(entries) if not e & (_COMPRESSED | zero) and e & _OFFSET]
    end = 0
    if used:
        offset, index = max(used)
        rest = layout.size - (first + index) * layout.cluster
        length = layout.cluster if parts is None else layout.cluster // 32 * (parts[index] & 0xFFFFFFFF).bit_length()
        end = offset + max(0, min(length, rest))
    shift = 62 - (layout.bits - 8)
    sectors = (1 << layout.bits - 8) - 1
    for e in entries:
        if e & _COMPRESSED:  # to whole sectors; so is the end of a file that QEMU wrote
            end = max(end, (e & (1 << shift) - 1 & ~511) + (1 + (e >> shift & sectors)) * 512)
    return end


def _backing_format(file: ImageFile, at: int) -> str | None:
    for _ in range(_MAX_EXTENSIONS):
        kind, length = file.unpack(_EXTENSION, at, "header extension")
        if kind == 0:
            return None
        if kind == _BACKING_FORMAT:
            return file.read(at + 8, min(length, 64), "header extension").decode("ascii", "replace").strip("\0")
        at += 8 + (length + 7 & ~7)
    return None
