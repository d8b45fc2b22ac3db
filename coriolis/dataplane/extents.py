# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on extents, and the plan of leaves that follows from them. Pure: no I/O.

An extent list is *tidy* when it is ordered, without overlap, without gaps from 0 to the disk's size, and no
two neighbours have the same kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

#: Data pieces of one leaf that are closer than this are read as one: a request costs about as much as 64 KiB.
COALESCE = 64 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class LeafRun:
    """``count`` leaves from leaf ``index`` that get the same treatment.

    ZERO and UNCHANGED runs have no parts and may be long. DATA runs are one leaf; ``parts`` cover it
    without gaps.
    """

    index: int
    count: int
    kind: Kind
    parts: tuple[Extent, ...] = ()


def leaf_count(size: int) -> int:
    return -(-size // LEAF_SIZE)


def leaf_span(index: int, size: int, count: int = 1) -> tuple[int, int]:
    """Offset and length of ``count`` leaves of a disk of ``size`` bytes; the last leaf may be short."""
    offset = index * LEAF_SIZE
    return offset, min(count * LEAF_SIZE, size - offset)


def merge(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Joins neighbours of one kind; drops empty ones. The input is ordered and without overlap."""
    last: Extent | None = None
    for extent in extents:
        if extent.length == 0:
            continue
        if last is not None and last.kind is extent.kind and last.end == extent.offset:
            last = Extent(last.offset, last.length + extent.length, last.kind)
            continue
        if last is not None:
            yield last
        last = extent
    if last is not None:
        yield last


def clip(extents: Iterable[Extent], offset: int, length: int) -> Iterator[Extent]:
    """The parts of ``extents`` inside of [offset, offset + length)."""
    end = offset + length
    for extent in extents:
        low, high = max(extent.offset, offset), min(extent.end, end)
        if low < high:
            yield Extent(low, high - low, extent.kind)


def fill(extents: Iterable[Extent], size: int, kind: Kind) -> Iterator[Extent]:
    """Closes the gaps of an ordered list with ``kind``, from 0 to ``size``."""
    position = 0
    for extent in extents:
        if extent.offset > position:
            yield Extent(position, extent.offset - position, kind)
        yield extent
        position = extent.end
    if position < size:
        yield Extent(position, size - position, kind)


def overlay(allocation: Iterable[Extent], changed: Iterable[Extent]) -> Iterator[Extent]:
    """Combines two gapless lists over the same range: what is UNCHANGED or ZERO in ``changed`` stays so, all else
    is as in ``allocation``.
    """
    left, right = iter(allocation), iter(changed)
    one, two = next(left, None), next(right, None)
    position = 0 if one is None else one.offset
    while one is not None and two is not None:
        end = min(one.end, two.end)
        kind = two.kind if two.kind in (Kind.UNCHANGED, Kind.ZERO) else one.kind
        if end > position:
            yield Extent(position, end - position, kind)
            position = end
        if one.end == end:
            one = next(left, None)
        if two.end == end:
            two = next(right, None)


def coalesce(parts: Iterable[Extent], gap: int = COALESCE) -> tuple[Extent, ...]:
    """Turns short pieces between two data pieces into data: fewer, longer requests for the same leaf."""
    result: list[Extent] = []
    for part in merge(parts):
        joins = (
            len(result) >= 2
            and part.kind is Kind.DATA
            and result[-2].kind is Kind.DATA
            and result[-1].length < gap
            and result[-1].kind is Kind.ZERO
        )
        if joins:
            result.pop()
            head = result.pop()
            part = Extent(head.offset, part.end - head.offset, Kind.DATA)
        result.append(part)
    return tuple(merge(result))


def plan(extents: Iterable[Extent], size: int) -> Iterator[LeafRun]:
    """Cuts a gapless list over a disk of ``size`` bytes into leaf runs, in order, covering every leaf once.

    A leaf that is all zero or all unchanged is part of a run; any other leaf stands alone as DATA, since
    its digest needs all of its bytes. UNKNOWN counts as data.
    """
    parts: list[Extent] = []  # of the leaf that is being filled
    for extent in merge(_known(extents)):
        offset, end = extent.offset, extent.end
        while offset < end:
            index = offset // LEAF_SIZE
            leaf_end = min((index + 1) * LEAF_SIZE, size)
            whole = offset == index * LEAF_SIZE and extent.kind is not Kind.DATA
            if whole and end >= leaf_end:
                last = leaf_count(size) if end == size else end // LEAF_SIZE
                yield LeafRun(index, last - index, extent.kind)
                offset = min(last * LEAF_SIZE, size)
                continue
            high = min(end, leaf_end)
            parts.append(Extent(offset, high - offset, extent.kind))
            offset = high
            if offset == leaf_end:
                yield LeafRun(index, 1, Kind.DATA, coalesce(parts))
                parts = []


def _known(extents: Iterable[Extent]) -> Iterator[Extent]:
    for extent in extents:
        yield Extent(extent.offset, extent.length, Kind.DATA) if extent.kind is Kind.UNKNOWN else extent
