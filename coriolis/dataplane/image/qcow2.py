# SPDX-License-Identifier: Apache-2.0
"""QCOW2 headers (QEMU's docs/interop/qcow2.txt). Big endian."""

from __future__ import annotations

import dataclasses
import struct

from coriolis.dataplane.errors import InvalidImage, UnsafeImage
from coriolis.dataplane.image.reading import ImageFile, check_size

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT = 0xE2792ACA
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_DIRTY, _CORRUPT, _DATA_FILE, _KNOWN = 1, 2, 4, 0b11111  # incompatible features
_MAX_NAME = 1023
_MAX_EXTENSIONS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    size: int
    backing: str | None
    backing_format: str | None


def read(file: ImageFile) -> Header:
    """Checks header and tables; raises `InvalidImage` or `UnsafeImage`."""
    fields = file.unpack(_HEADER, 0, "header")
    _, version, name_at, name_length, bits, size, crypt, l1_size, l1_at, refs_at, _, _, _ = fields
    name = file.path.name
    if version not in (2, 3):
        raise InvalidImage(f"{name}: QCOW version {version}; only QCOW2 versions 2 and 3 are supported")
    if not 9 <= bits <= 21:
        raise InvalidImage(f"{name}: impossible cluster size 2^{bits}")
    check_size(file.path, size)
    if crypt:
        raise InvalidImage(f"{name} is encrypted; decrypt it first: qemu-img convert")
    header_length, features = 72, 0
    if version == 3:
        features, _, _, _, header_length = file.unpack(_V3, 72, "header")
    _check_features(name, features)
    _check_tables(file, bits, size, l1_size, l1_at, refs_at, extended=bool(features & 16))
    backing = None
    if name_at:
        if name_length > _MAX_NAME:
            raise InvalidImage(f"{name}: backing file name of {name_length} bytes")
        backing = file.read(name_at, name_length, "backing file name").decode("utf-8", "surrogateescape")
    return Header(size=size, backing=backing, backing_format=_backing_format(file, header_length) if backing else None)


def _check_features(name: str, features: int) -> None:
    if features & _DATA_FILE:
        raise UnsafeImage(f"{name} keeps its data in an external file; convert it to a plain QCOW2: qemu-img convert")
    if features & _CORRUPT:
        raise InvalidImage(f"{name} is marked corrupt; repair it: qemu-img check -r all")
    if features & ~_KNOWN:
        raise InvalidImage(f"{name} uses unknown features {features:#x}; convert it with the QEMU that made it")


def _check_tables(
    file: ImageFile, bits: int, size: int, l1_size: int, l1_at: int, refs_at: int, *, extended: bool
) -> None:
    """Every table and data cluster must begin inside of the file: QEMU reads what is missing as zeros."""
    cluster = 1 << bits
    entry = 16 if extended else 8
    needed = -(-size // (cluster * (cluster // entry)))
    if l1_size < needed or l1_size > 4 * needed + 4096:
        raise InvalidImage(f"{file.path.name}: {l1_size} first-level entries cannot describe {size} bytes")
    if refs_at >= file.size:
        raise file.truncated("reference table", refs_at)
    for value in file.table("Q", l1_at, l1_size, big=True, what="first-level table")[:needed]:
        offset = value & _OFFSET
        if not offset:
            continue
        entries = file.table("Q", offset, cluster // 8, big=True, what="second-level table")
        furthest = max((e & _OFFSET for e in entries[:: entry // 8] if not e & _COMPRESSED), default=0)
        if furthest >= file.size:
            raise file.truncated("data", furthest + 1)


def _backing_format(file: ImageFile, at: int) -> str | None:
    for _ in range(_MAX_EXTENSIONS):
        kind, length = file.unpack(_EXTENSION, at, "header extension")
        if kind == 0:
            return None
        if kind == _BACKING_FORMAT:
            return file.read(at + 8, min(length, 64), "header extension").decode("ascii", "replace").strip("\0")
        at += 8 + (length + 7 & ~7)
    return None
