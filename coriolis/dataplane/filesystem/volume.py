# SPDX-License-Identifier: Apache-2.0
"""What the readers of file systems share: a window of a disk, ranges, and bitmaps."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

Read = Callable[[int, int], bytes]  # offset, length -> exactly that many bytes
Range = tuple[int, int]  # offset, length

#: Shorter pieces of free space are not worth a thought: the engine reads over such gaps.
LEAST = 64 << 10
_LONGEST = 64 << 20  # that is read at once


class Unusable(Exception):
    """Free space of this volume cannot be told safely; the message says why."""


class Volume:
    """``size`` bytes of a disk from ``offset``. Reading beyond its end is `Unusable`, not an error of the disk."""

    def __init__(self, read: Read, offset: int, size: int) -> None:
        self.offset, self.size = offset, size
        self._read = read

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or not 0 <= length <= _LONGEST or offset + length > self.size:
            raise Unusable(f"its metadata points to {length} bytes at {offset}, outside of it")
        return self._read(self.offset + offset, length) if length else b""

    def place(self, offset: int, length: int) -> Iterator[Range]:
        """Where a range of the volume is on the disk: one range, or several."""
        yield self.offset + offset, length

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack(layout, self.read(offset, struct.calcsize(layout)))


def clear_runs(bitmap: bytes, unit: int, start: int) -> Iterator[Range]:
    """Ranges whose bits are clear, at least `LEAST` long and in whole bytes of bitmap.

    ``unit``: bytes that a bit stands for; ``start``: where the first one is.
    """
    least = max(1, -(-LEAST // (8 * unit)))
    for match in re.finditer(rb"\x00{%d,}" % least, bitmap):
        yield start + 8 * unit * match.start(), 8 * unit * (match.end() - match.start())


def count_clear(bitmap: bytes) -> int:
    return 8 * len(bitmap) - int.from_bytes(bitmap, "little").bit_count()


def without(ranges: Iterator[Range], taken: list[Range]) -> Iterator[Range]:
    """``ranges`` less ``taken``, which is sorted."""
    for offset, length in ranges:
        end = offset + length
        for low, size in taken:
            if low + size <= offset:
                continue
            if low >= end:
                break
            if low - offset >= LEAST:
                yield offset, low - offset
            offset = low + size
        if end - offset >= LEAST:
            yield offset, end - offset
