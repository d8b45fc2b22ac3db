# SPDX-License-Identifier: Apache-2.0
"""What changed since an earlier state, said by somebody else, as extents. Pure.

Dirty bitmaps and allocation come over NBD (`nbd`), holes of files from SEEK_DATA (`reader`); here are lists that
platforms give out, and the comparison of two rounds' digests. All results are tidy lists over the whole disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from coriolis.dataplane.digest import LeafTable
from coriolis.dataplane.errors import SourceError
from coriolis.dataplane.extents import fill, leaf_span, merge
from coriolis.dataplane.types import Extent, Kind


def changed_blocks(blocks: Iterable[tuple[int, int]], size: int) -> list[Extent]:
    """From (offset, length) pairs in any order, which may overlap and reach beyond the end: what they cover is DATA,
    the rest of the disk is UNCHANGED. As QueryChangedDiskAreas of vSphere and RCT of Hyper-V say it.
    """
    return _laid_out([(offset, length, Kind.DATA) for offset, length in blocks], size, Kind.UNCHANGED)


def rbd_diff(text: str, size: int, *, since_snapshot: bool, earlier_size: int | None = None) -> list[Extent]:
    """From the output of ``rbd diff --format json``, exact or with ``--whole-object``. With ``--from-snap``
    (``since_snapshot``) what is not listed is UNCHANGED; without it, it was never written and is ZERO. What is listed
    as not existing was discarded: ZERO. ``earlier_size``: of the disk at the earlier snapshot; what lies behind it
    is new, and ZERO where nothing is listed: Ceph does not say that a disk has grown.

    In a clone, what is listed as not existing may show its parent: read it. Raises `SourceError`.
    """
    try:
        items = json.loads(text)
        if not isinstance(items, list):
            raise ValueError("it is not a list")
        listed = [(int(item["offset"]), int(item["length"]), _exists(item["exists"])) for item in items]
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(f"the output of rbd diff is not understood: {error!r}", retryable=False) from None
    if earlier_size is not None and earlier_size < size:
        listed.append((earlier_size, size - earlier_size, Kind.ZERO))
    return _laid_out(listed, size, Kind.UNCHANGED if since_snapshot else Kind.ZERO)


def by_digest(before: LeafTable, after: LeafTable) -> Iterator[Extent]:
    """Two rounds of one disk compared: a leaf that holds the same is UNCHANGED, one that holds zeros now is ZERO,
    any other one, and one that is not known in both, is DATA. ``after`` may be larger.
    """
    return merge(_compared(before, after))


def _compared(before: LeafTable, after: LeafTable) -> Iterator[Extent]:
    for index in range(after.count):
        offset, length = leaf_span(index, after.size)
        new = after.get(index)
        old = before.get(index) if index < before.count and leaf_span(index, before.size)[1] == length else None
        if new is not None and new == old:
            yield Extent(offset, length, Kind.UNCHANGED)
        else:
            yield Extent(offset, length, Kind.ZERO if after.is_zero(index) else Kind.DATA)


def _exists(value: object) -> Kind:
    if value not in (True, False, "true", "false"):
        raise ValueError(f"exists is {value!r}")
    return Kind.DATA if value in (True, "true") else Kind.ZERO


def _laid_out(listed: Iterable[tuple[int, int, Kind]], size: int, rest: Kind) -> list[Extent]:
    """Orders, clips and joins; where pieces overlap, DATA counts, since reading too much does no harm."""
    pieces = sorted(((max(0, at), min(at + length, size), kind) for at, length, kind in listed), key=lambda p: p[:2])
    data = _union((low, high) for low, high, kind in pieces if kind is Kind.DATA)
    zero = _union((low, high) for low, high, kind in pieces if kind is not Kind.DATA)
    found = [Extent(low, high - low, Kind.DATA) for low, high in data]
    found += [Extent(low, high - low, Kind.ZERO) for low, high in _without(zero, data)]
    return list(merge(fill(sorted(found, key=lambda extent: extent.offset), size, rest)))


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ordered (low, high) spans, joined where they touch or overlap."""
    result: list[tuple[int, int]] = []
    for low, high in spans:
        if low >= high:
            continue
        if result and low <= result[-1][1]:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result


def _without(spans: list[tuple[int, int]], holes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of ``spans`` outside of ``holes``; both are ordered and without overlap."""
    at = 0
    for low, high in spans:
        while at < len(holes) and holes[at][1] <= low:
            at += 1
        later = at
        while later < len(holes) and holes[later][0] < high:
            if low < holes[later][0]:
                yield low, holes[later][0]
            low = max(low, holes[later][1])
            later += 1
        if low < high:
            yield low, high
