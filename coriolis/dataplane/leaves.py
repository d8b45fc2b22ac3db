# SPDX-License-Identifier: Apache-2.0
"""The memory that leaves are in while they are under way, and what is to be read into it.

A block holds one leaf or a few adjacent ones, so that they can be read by one request. Blocks are used again; bytes
are read into them, digested in them and written from them.
"""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Iterable, Iterator, Sequence

from coriolis.dataplane.extents import LeafRun, leaf_span
from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

NOT_READ = (Kind.ZERO, Kind.UNCHANGED)  #: parts of a leaf that do not come from the source


class Block:
    """Memory for ``room`` adjacent leaves; ``used`` of them are under way."""

    def __init__(self, room: int) -> None:
        self.memory = memoryview(mmap.mmap(-1, room * LEAF_SIZE))
        self.room = room
        self.used = 0


class Pool:
    """All blocks of one engine. Never holds more than the leaves that it is asked for."""

    def __init__(self) -> None:
        self._free: list[Block] = []
        self._out = 0  # leaves in blocks that are lent

    def take(self, room: int, most: int) -> Block | None:
        """A block of ``room`` leaves, unless more than ``most`` would then be lent (one block may always be)."""
        if self._out and self._out + room > most:
            return None
        self._out += room
        while self._free:
            block = self._free.pop()
            if block.room == room:
                return block  # others were of another size, and are given back to the system
        return Block(room)

    def give(self, block: Block) -> None:
        self._out -= block.room
        self._free.append(block)


@dataclasses.dataclass(slots=True, eq=False)
class Slot:
    """A leaf under way. ``pending``: commands that have not ended."""

    view: memoryview
    run: LeafRun
    length: int
    block: Block
    pending: int = 0
    digest: bytes = b""
    writes: tuple[Extent, ...] = ()

    def part(self, extent: Extent) -> memoryview:
        low = extent.offset - self.run.index * LEAF_SIZE
        return self.view[low : low + extent.length]


def lay_out(block: Block, runs: Sequence[LeafRun], size: int) -> list[Slot]:
    """Puts adjacent DATA leaves into a block."""
    slots = []
    for number, run in enumerate(runs):
        view = block.memory[number * LEAF_SIZE : (number + 1) * LEAF_SIZE]
        slots.append(Slot(view, run, leaf_span(run.index, size)[1], block))
    block.used = len(slots)
    return slots


def requests(parts: Iterable[Extent], size: int, *, least: int = 1, most: int = 1 << 25) -> Iterator[tuple[int, int]]:
    """(offset, length) pieces that together hold every part but ZERO ones: joined where they touch, rounded outwards
    to ``least`` and at most ``most`` bytes long, as the server wants it.

    ``parts`` are ordered and without overlap; ``least`` is a power of two that divides a leaf.
    """
    start = end = -1
    for part in parts:
        if part.kind is Kind.ZERO or not part.length:
            continue
        low, high = part.offset // least * least, min(-(-part.end // least) * least, size)
        if start >= 0 and low <= end:
            end = max(end, high)
            continue
        yield from _cut(start, end, most)
        start, end = low, high
    yield from _cut(start, end, most)


def _cut(start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    while 0 <= start < end:
        length = min(most, end - start)
        yield start, length
        start += length
