# SPDX-License-Identifier: Apache-2.0
"""Free blocks of ext2, ext3 and ext4 (the kernel's Documentation/filesystems/ext4). Little endian.

The superblock is at 1024. A group descriptor says where its group's block bitmap is; a set bit is a block in use, or a
cluster with bigalloc. A group with BLOCK_UNINIT has no bitmap yet: all of it is free but its own metadata.
"""

from __future__ import annotations

import bisect
import dataclasses
import struct
from collections.abc import Iterator

from coriolis.dataplane.filesystem.volume import Range, Unusable, Volume, clear_runs, count_clear, without

_MAGIC = 0xEF53
_CLEAN, _ERRORS = 1, 2
_RECOVER, _64BIT = 0x4, 0x80
# file types, recover, extents, 64bit, mmp, flex_bg, EA inodes, dirdata, checksum seed, large directories,
# inline data, encryption, casefold: none of them changes what a bitmap says
_KNOWN_INCOMPATIBLE = 0x2 | _RECOVER | 0x40 | _64BIT | 0x100 | 0x200 | 0x400 | 0x1000 | 0x3E000
_SPARSE_SUPER, _BIGALLOC = 0x1, 0x200
_SPARSE_SUPER2 = 0x200  # compatible
_BLOCK_UNINIT = 0x2
_SNAPSHOT = 0x80  # has_snapshot, never merged


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Super:
    block: int  # bytes
    cluster: int  # bytes that a bit stands for
    blocks: int
    first: int  # block of group 0
    per_group: int  # blocks
    bits: int  # clusters of a group
    inodes_per_group: int
    inode_size: int
    descriptor: int  # bytes
    reserved: int  # descriptor blocks, for growth
    compatible: int
    read_only: int

    @property
    def shifted(self) -> int:
        """Blocks by which the superblock, always at 1024, is not at the start of group 0 although it is counted so."""
        return 1 if self.block == 1024 and self.first == 0 else 0

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first) // self.per_group)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Group:
    number: int
    bitmap: int
    inode_bitmap: int
    inode_table: int
    free: int  # clusters
    uninit: bool


def matches(volume: Volume) -> bool:
    return volume.size >= 4096 and volume.unpack("<H", 1024 + 0x38)[0] == _MAGIC


def free(volume: Volume) -> Iterator[Range]:
    """Free ranges. Raises `Unusable` when the file system is not clean, or its counts contradict its bitmaps."""
    about = _superblock(volume)
    groups = list(_groups(volume, about))
    metadata = _metadata(about, groups)
    starts = [start for start, _ in metadata]
    for group in groups:
        start = (about.first + group.number * about.per_group) * about.block
        end = min(start + about.per_group * about.block, about.blocks * about.block)
        low = max(0, bisect.bisect_left(starts, start) - 1)
        near = metadata[low : bisect.bisect_left(starts, end)]
        if group.uninit:
            if not about.compatible & _SPARSE_SUPER2:
                yield from without(iter([(start, end - start)]), near)
            continue
        bitmap = volume.read(group.bitmap * about.block, -(-about.bits // 8))
        here = -(-(end - start) // about.cluster)
        if count_clear(_padded(bitmap, here)) != group.free:
            raise Unusable(f"the bitmap of group {group.number} contradicts its count of free blocks; check it (fsck)")
        yield from without(_inside(clear_runs(bitmap, about.cluster, start), end), near)


def _superblock(volume: Volume) -> _Super:
    raw = volume.read(1024, 1024)

    def field(code: str, at: int) -> int:
        value: int = struct.unpack_from("<" + code, raw, at)[0]
        return value

    compatible, incompatible, read_only = struct.unpack_from("<III", raw, 0x5C)
    state = field("H", 0x3A)
    if incompatible & _RECOVER:
        raise Unusable("it is mounted or was not unmounted: its journal holds changes")
    if not state & _CLEAN or state & _ERRORS:
        raise Unusable("it was not unmounted cleanly; check it (fsck)")
    if incompatible & ~_KNOWN_INCOMPATIBLE or read_only & _SNAPSHOT:
        raise Unusable(f"it has features that are not known here ({incompatible:#x}, {read_only:#x})")
    shift, cluster_shift = field("I", 0x18), field("I", 0x1C)
    wide = bool(incompatible & _64BIT)
    about = _Super(
        block=1024 << min(shift, 7),
        cluster=1024 << min(cluster_shift if read_only & _BIGALLOC else shift, 40),
        blocks=field("I", 0x4) | (field("I", 0x150) << 32 if wide else 0),
        first=field("I", 0x14),
        per_group=field("I", 0x20),
        bits=field("I", 0x24) if read_only & _BIGALLOC else field("I", 0x20),
        inodes_per_group=field("I", 0x28),
        inode_size=field("H", 0x58) or 128,
        descriptor=max(32, field("H", 0xFE)) if wide else 32,
        reserved=field("H", 0xCE),
        compatible=compatible,
        read_only=read_only,
    )
    fits = about.blocks * about.block <= volume.size and about.first < about.blocks
    if shift > 6 or not fits or not 0 < about.bits <= about.block * 8 or about.descriptor > 1024:
        raise Unusable("its superblock is damaged")
    if about.per_group * about.block != about.bits * about.cluster:
        raise Unusable("its superblock contradicts itself")
    return about


def _groups(volume: Volume, about: _Super) -> Iterator[_Group]:
    per_block = about.block // about.descriptor
    for number in range(about.groups):
        if number % per_block == 0:
            raw = volume.read((about.first + 1 + about.shifted + number // per_block) * about.block, about.block)
        at = number % per_block * about.descriptor
        bitmap, inodes, table, low, _, _, flags = struct.unpack_from("<IIIHHHH", raw, at)
        high = 0
        if about.descriptor >= 64:
            more = struct.unpack_from("<IIIH", raw, at + 0x20)
            bitmap, inodes, table = bitmap | more[0] << 32, inodes | more[1] << 32, table | more[2] << 32
            high = more[3] << 16
        checksums = about.read_only & (0x10 | 0x400)  # BLOCK_UNINIT means something only with them
        yield _Group(
            number=number,
            bitmap=bitmap,
            inode_bitmap=inodes,
            inode_table=table,
            free=low | high,
            uninit=bool(checksums and flags & _BLOCK_UNINIT),
        )


def _metadata(about: _Super, groups: list[_Group]) -> list[Range]:
    """What holds metadata whatever a bitmap says: sorted ranges in bytes."""
    descriptors = -(-about.groups * about.descriptor // about.block)
    table = -(-about.inodes_per_group * about.inode_size // about.block)
    found: list[Range] = []
    for group in groups:
        start = about.first + group.number * about.per_group
        if not about.read_only & _SPARSE_SUPER or _has_super(group.number):
            found.append((start * about.block, (1 + about.shifted + descriptors + about.reserved) * about.block))
        for block, count in ((group.bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, table)):
            found.append((block * about.block, count * about.block))
    return _joined(sorted(found))


def _joined(ranges: list[Range]) -> list[Range]:
    result: list[Range] = []
    for start, length in ranges:
        if result and start <= sum(result[-1]):
            low = result[-1][0]
            result[-1] = (low, max(sum(result[-1]), start + length) - low)
        else:
            result.append((start, length))
    return result


def _has_super(group: int) -> bool:
    """Groups 0, 1 and powers of 3, 5 and 7 keep a copy of superblock and descriptors."""
    if group <= 1:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def _padded(bitmap: bytes, bits: int) -> bytes:
    """``bitmap`` with everything behind ``bits`` set."""
    value = int.from_bytes(bitmap, "little") | ((1 << 8 * len(bitmap)) - (1 << min(bits, 8 * len(bitmap))))
    return value.to_bytes(len(bitmap), "little")


def _inside(ranges: Iterator[Range], end: int) -> Iterator[Range]:
    for offset, length in ranges:
        if offset < end:
            yield offset, min(length, end - offset)
