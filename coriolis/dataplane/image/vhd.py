# SPDX-License-Identifier: Apache-2.0
"""VHD (Microsoft "Virtual Hard Disk Image Format Specification" 1.0, big endian) and VHDX ([MS-VHDX],
little endian).
"""

from __future__ import annotations

import struct
import uuid

from coriolis.dataplane.errors import InvalidImage
from coriolis.dataplane.image.reading import ImageFile, check_size

FOOTER_MAGIC = b"conectix"
VHDX_MAGIC = b"vhdxfile"
_FOOTER = struct.Struct(">8sIIQI4sI4sQQ4sII")
_SPARSE = struct.Struct(">8sQQIII")
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_SECTOR = 512
_UNUSED = 0xFFFFFFFF
_REGIONS_AT = 192 << 10
_REGION = struct.Struct("<16sQII")
_ENTRY = struct.Struct("<16sIII")
_BAT = uuid.UUID("2DC27766-F623-4200-9D64-115E9BFD4A08").bytes_le
_METADATA = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E").bytes_le
_FILE_PARAMETERS = uuid.UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B").bytes_le
_DISK_SIZE = uuid.UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8").bytes_le
_PRESENT, _PARTLY = 6, 7


def has_footer(file: ImageFile) -> bool:
    return file.size >= _SECTOR and file.read(file.size - _SECTOR, 8, "footer") == FOOTER_MAGIC


def read_vhd(file: ImageFile) -> int:
    """Virtual size in bytes of a whole, independent VHD."""
    name = file.path.name
    if not has_footer(file):
        raise InvalidImage(f"{name} is truncated: a VHD must end with its footer; get it again")
    raw = file.read(file.size - _SECTOR, _SECTOR, "footer")
    footer = _FOOTER.unpack(raw[: _FOOTER.size])
    data_at, size, kind, checksum = footer[3], footer[9], footer[11], footer[12]
    if checksum != ~(sum(raw) - sum(raw[64:68])) & 0xFFFFFFFF:
        raise InvalidImage(f"{name}: the checksum of its footer is wrong; get it again")
    check_size(file.path, size)
    if kind == _DIFFERENCING:
        raise InvalidImage(f"{name} is a differencing VHD; merge it into its parent first")
    if kind == _FIXED and size > file.size - _SECTOR:
        raise file.truncated("disk", size + _SECTOR)
    if kind == _DYNAMIC:
        _check_blocks(file, data_at)
    elif kind != _FIXED:
        raise InvalidImage(f"{name}: unknown VHD type {kind}")
    return int(size)


def _check_blocks(file: ImageFile, at: int) -> None:
    magic, _, table_at, _, entries, block = file.unpack(_SPARSE, at, "dynamic header")
    if magic != b"cxsparse" or not block or block % _SECTOR or entries > 1 << 26:
        raise InvalidImage(f"{file.path.name}: its dynamic header is damaged; get it again")
    bitmap = -(-(block // _SECTOR // 8) // _SECTOR) * _SECTOR
    for entry in file.table("I", table_at, entries, big=True, what="block table"):
        if entry != _UNUSED and entry * _SECTOR + bitmap + block > file.size - _SECTOR:
            raise file.truncated("block data", entry * _SECTOR + bitmap + block)


def read_vhdx(file: ImageFile) -> int:
    """Virtual size in bytes of a whole, independent VHDX."""
    regions = _regions(file)
    if _BAT not in regions or _METADATA not in regions:
        raise InvalidImage(f"{file.path.name}: a VHDX without block or metadata region; get it again")
    items = _metadata(file, *regions[_METADATA])
    block, flags = struct.unpack("<II", file.read(items[_FILE_PARAMETERS], 8, "file parameters"))
    if flags & 2:
        raise InvalidImage(f"{file.path.name} is a differencing VHDX; merge it into its parent first")
    (size,) = struct.unpack("<Q", file.read(items[_DISK_SIZE], 8, "disk size"))
    check_size(file.path, size)
    at, length = regions[_BAT]
    for entry in file.table("Q", at, length // 8, big=False, what="block table"):
        offset = (entry >> 20) << 20
        if entry & 7 in (_PRESENT, _PARTLY) and offset + block > file.size:
            raise file.truncated("block data", offset + block)
    return int(size)


def _regions(file: ImageFile) -> dict[bytes, tuple[int, int]]:
    head = file.read(_REGIONS_AT, 64 << 10, "region table")
    magic, _, count, _ = struct.unpack_from("<4sIII", head)
    if magic != b"regi" or count > 2047:
        raise InvalidImage(f"{file.path.name}: its VHDX region table is damaged; get it again")
    found = (_REGION.unpack_from(head, 16 + i * _REGION.size) for i in range(count))
    return {guid: (offset, length) for guid, offset, length, _ in found}


def _metadata(file: ImageFile, at: int, length: int) -> dict[bytes, int]:
    head = file.read(at, min(length, 64 << 10), "metadata table")
    magic, _, count = struct.unpack_from("<8sHH", head)
    if magic != b"metadata" or count > 2047:
        raise InvalidImage(f"{file.path.name}: its VHDX metadata table is damaged; get it again")
    found = (_ENTRY.unpack_from(head, 32 + i * 32) for i in range(min(count, (len(head) - 32) // 32)))
    items = {guid: at + offset for guid, offset, _, _ in found}
    if _FILE_PARAMETERS not in items or _DISK_SIZE not in items:
        raise InvalidImage(f"{file.path.name}: its VHDX metadata has no file parameters or disk size")
    return items
