# SPDX-License-Identifier: Apache-2.0
"""Free extents of XFS ("XFS Filesystem Structure", kernel documentation). Big endian.

Each allocation group has a header (AGF, in its second sector) with the root of a B+tree of free extents by block
number; its leaves are chained. It is believed when the log ends with an unmount record, and when the lengths of its
extents add up to the group's count of free blocks.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator

from coriolis.dataplane.filesystem.volume import LEAST, Range, Unusable, Volume

_NEEDS_REPAIR = 0x10
_KNOWN_INCOMPATIBLE = 0xFF & ~_NEEDS_REPAIR
_TREE = {4: (b"ABTB", 16), 5: (b"AB3B", 56)}  # version -> magic, length of a block's header
_LOG_RECORD = b"\xfe\xed\xba\xbe"
_LOG_BLOCK = 512
_UNMOUNT = 0x20
_LONGEST_RECORD = 600  # log blocks: 256 KiB and its header


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Super:
    block: int
    blocks: int
    group: int  # blocks
    groups: int
    group_bits: int
    sector: int
    version: int
    log: Range  # bytes


def matches(volume: Volume) -> bool:
    return volume.size >= 4096 and volume.read(0, 4) == b"XFSB"


def free(volume: Volume) -> Iterator[Range]:
    """Free ranges. Raises `Unusable` when the log holds changes, or counts contradict the trees."""
    about = _superblock(volume)
    _check_log(volume, *about.log)
    for number in range(about.groups):
        yield from _group(volume, about, number)


def _superblock(volume: Volume) -> _Super:
    raw = volume.read(0, 512)
    block, blocks = struct.unpack_from(">IQ", raw, 4)
    (log_start,) = struct.unpack_from(">Q", raw, 48)
    group, groups = struct.unpack_from(">II", raw, 84)
    log_blocks, version, sector = struct.unpack_from(">IHH", raw, 96)
    bits, in_progress = raw[124], raw[126]
    (incompatible,) = struct.unpack_from(">I", raw, 216)
    version &= 15
    if in_progress or version not in _TREE:
        raise Unusable(f"an XFS of version {version}, or one that was never finished")
    if version == 5 and incompatible & ~_KNOWN_INCOMPATIBLE:
        raise Unusable(f"it needs repair, or has features that are not known here ({incompatible:#x})")
    if not 512 <= sector <= block <= 65536 or not group or blocks * block > volume.size or bits > 32:
        raise Unusable("its superblock is damaged")
    if groups != -(-blocks // group):
        raise Unusable("its superblock contradicts itself")
    if not log_start:
        raise Unusable("its log is on another device")
    start = (log_start >> bits) * group + (log_start & (1 << bits) - 1)
    return _Super(
        block=block,
        blocks=blocks,
        group=group,
        groups=groups,
        group_bits=bits,
        sector=sector,
        version=version,
        log=(start * block, log_blocks * block),
    )


def _group(volume: Volume, about: _Super, number: int) -> Iterator[Range]:
    start = number * about.group * about.block
    magic, _, seq, length, root, _, _, levels = volume.unpack(">4s7I", start + about.sector)
    (wanted,) = volume.unpack(">I", start + about.sector + 52)
    if magic != b"XAGF" or seq != number or length > about.group or not 0 < levels < 10:
        raise Unusable(f"the header of allocation group {number} is damaged; check it (xfs_repair)")
    found = 0
    end = 0
    for first, count in _leaves(volume, about, start, root, levels):
        if first < end or first + count > length:
            raise Unusable(f"the free extents of allocation group {number} overlap; check it (xfs_repair)")
        end = first + count
        found += count
        if count * about.block >= LEAST:
            yield start + first * about.block, count * about.block
    if found != wanted:
        raise Unusable(
            f"allocation group {number} counts {wanted} free blocks and lists {found}; check it (xfs_repair)"
        )


def _leaves(volume: Volume, about: _Super, start: int, at: int, levels: int) -> Iterator[Range]:
    """(first block, blocks) of all records, in order: down the left side of the tree, then along its leaves."""
    magic, head = _TREE[about.version]
    seen = 0
    most = (about.block - head) // 12
    for level in range(levels - 1, -1, -1):
        while True:
            raw = volume.read(start + at * about.block, about.block)
            has, depth, count, _, right = struct.unpack_from(">4sHHII", raw)
            seen += 1
            if has != magic or depth != level or seen > about.group or head + count * 8 > about.block:
                raise Unusable("its tree of free extents is damaged; check it (xfs_repair)")
            if level:
                if not 0 < count <= most:
                    raise Unusable("its tree of free extents is damaged; check it (xfs_repair)")
                (at,) = struct.unpack_from(">I", raw, head + most * 8)
                break
            yield from struct.iter_unpack(">II", raw[head : head + 8 * count])
            if right == 0xFFFFFFFF:
                return
            at = right


def _check_log(volume: Volume, start: int, length: int) -> None:
    """The newest record of the log must be the one that unmounting writes."""
    blocks = length // _LOG_BLOCK
    if blocks < 8 or start + length > volume.size:
        raise Unusable("its log is damaged")

    def block(number: int) -> bytes:
        return volume.read(start + number % blocks * _LOG_BLOCK, _LOG_BLOCK)

    head = _head(block, blocks)
    for number in range(head - 1, head - _LONGEST_RECORD, -1):
        raw = block(number)
        if raw[:4] == _LOG_RECORD:
            break
    else:
        raise Unusable("its log has no newest record")
    size, operations = struct.unpack_from(">I", raw, 12)[0], struct.unpack_from(">I", raw, 40)[0]
    version, record = struct.unpack_from(">I", raw, 8)[0], struct.unpack_from(">I", raw, 320)[0]
    header = max(1, -(-record // 32768)) if version & 2 else 1
    flags = block(number + header)[9]
    if operations != 1 or not flags & _UNMOUNT or (number + header + -(-size // _LOG_BLOCK) - head) % blocks:
        raise Unusable("it is mounted or was not unmounted: its log holds changes")


def _head(block: Callable[[int], bytes], blocks: int) -> int:
    """The block behind the newest record. Blocks carry the number of the round in which they were written; the rest
    of the log is from the round before, or was never written.
    """

    def cycle(number: int) -> int:
        raw = block(number)
        return int.from_bytes(raw[4:8] if raw[:4] == _LOG_RECORD else raw[:4], "big")

    newest = cycle(0)
    if cycle(blocks - 1) == newest:
        return blocks
    low, high = 0, blocks - 1  # the first is of the newest round, the last is not
    while high - low > 1:
        middle = (low + high) // 2
        if cycle(middle) == newest:
            low = middle
        else:
            high = middle
    return high
