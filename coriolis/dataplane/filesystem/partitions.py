# SPDX-License-Identifier: Apache-2.0
"""Partitions of a disk: GPT (UEFI specification, chapter 5) and MBR with its chain of logical partitions."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from coriolis.dataplane.filesystem.volume import Range, Read

_SIGNATURE = b"\x55\xaa"
_GPT = b"EFI PART"
_PROTECTIVE, _EXTENDED = 0xEE, (0x05, 0x0F, 0x85)
_MOST = 256
_SECTORS = (512, 4096)


def partitions(read: Read, size: int) -> list[Range]:
    """(offset, length) of the partitions in bytes; of a disk without a table, the whole of it. Those that overlap, or
    reach beyond the disk, are left out: nothing can be said about them.
    """
    found = sorted(_gpt(read, size) or _mbr(read, size) or [(0, size)])
    return [
        (offset, length)
        for number, (offset, length) in enumerate(found)
        if length > 0
        and offset + length <= size
        and not any(o < offset + length and offset < o + n for o, n in found[:number] + found[number + 1 :])
    ]


def _gpt(read: Read, size: int) -> list[Range]:
    for sector in _SECTORS:
        if size < 3 * sector or read(sector, 8) != _GPT:
            continue
        header = read(sector, 92)
        at, count, length = struct.unpack_from("<QII", header, 72)
        if not 128 <= length <= 1024 or count > _MOST or at * sector + count * length > size:
            return []
        raw = read(at * sector, count * length)
        entries = (raw[i : i + length] for i in range(0, len(raw), length))
        spans = (struct.unpack_from("<QQ", entry, 32) for entry in entries if any(entry[:16]))
        return [(first * sector, (last + 1 - first) * sector) for first, last in spans]
    return []


def _mbr(read: Read, size: int) -> list[Range]:
    found: list[Range] = []
    for kind, first, count in _table(read, 0):
        if kind in _EXTENDED:
            found += _logical(read, size, first)
        elif kind not in (0, _PROTECTIVE):
            found.append((first * 512, count * 512))
    return found


def _logical(read: Read, size: int, base: int) -> Iterator[Range]:
    at = base
    for _ in range(_MOST):
        if (at + 1) * 512 > size:
            return
        following = 0
        for kind, first, count in _table(read, at * 512)[:2]:
            if kind in _EXTENDED:
                following = base + first
            elif kind:
                yield (at + first) * 512, count * 512
        if not following:
            return
        at = following


def _table(read: Read, offset: int) -> list[tuple[int, int, int]]:
    """(type, first sector, sectors) of the four entries of a master or extended boot record. A boot sector of a file
    system has the same signature, so an entry with an impossible flag means that there is no table.
    """
    raw = read(offset, 512)
    entries = [struct.unpack_from("<B3xB3xII", raw, 446 + 16 * i) for i in range(4)]
    if raw[510:] != _SIGNATURE or any(flag not in (0, 0x80) for flag, *_ in entries):
        return []
    return [(kind, first, count) for _, kind, first, count in entries if count]
