# SPDX-License-Identifier: Apache-2.0
"""Laws of extent arithmetic, against a model that knows each 4 KiB block."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from coriolis.dataplane.changes import by_digest, changed_blocks, rbd_diff
from coriolis.dataplane.digest import LeafTable
from coriolis.dataplane.estimate import tally
from coriolis.dataplane.extents import coalesce, leaf_count, leaf_span, merge, overlay, plan
from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

BLOCK = 4096
kinds = st.sampled_from([Kind.DATA, Kind.ZERO, Kind.UNCHANGED])


def lists(*allowed: Kind) -> st.SearchStrategy[list[Extent]]:
    """Gapless, possibly untidy lists."""
    lengths = st.integers(1, 700).map(lambda blocks: blocks * BLOCK)
    return st.lists(st.tuples(lengths, st.sampled_from(allowed)), min_size=1, max_size=20).map(_laid_out)


def _laid_out(pieces: list[tuple[int, Kind]]) -> list[Extent]:
    result, offset = [], 0
    for length, kind in pieces:
        result.append(Extent(offset, length, kind))
        offset += length
    return result


def blocks(extents: list[Extent] | tuple[Extent, ...]) -> list[Kind]:
    return [extent.kind for extent in extents for _ in range(extent.length // BLOCK)]


def tidy(extents: list[Extent]) -> bool:
    return all(a.end == b.offset and a.kind is not b.kind for a, b in itertools.pairwise(extents))


@given(lists(*Kind))
def test_merge_is_tidy_and_changes_nothing(extents: list[Extent]) -> None:
    merged = list(merge(extents))
    assert tidy(merged)
    assert blocks(merged) == blocks(extents)


@given(lists(Kind.DATA, Kind.ZERO), lists(Kind.DATA, Kind.UNCHANGED, Kind.ZERO))
def test_overlay_is_pointwise(allocation: list[Extent], changed: list[Extent]) -> None:
    result = blocks(list(overlay(allocation, changed)))
    pairs = zip(blocks(allocation), blocks(changed), strict=False)
    assert result == [a if c is Kind.DATA else c for a, c in pairs]


pieces = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.booleans()), max_size=12)


@given(pieces, st.integers(1, 70), st.booleans())
def test_lists_of_changes_become_tidy_extents(listed: list[tuple[int, int, bool]], size: int, since: bool) -> None:
    """Any order, overlaps, and pieces beyond the end."""
    text = json.dumps([{"offset": at, "length": n, "exists": str(is_data).lower()} for at, n, is_data in listed])
    found = rbd_diff(text, size, since_snapshot=since)
    expected = [Kind.UNCHANGED if since else Kind.ZERO] * size
    for wanted in (False, True):  # where pieces overlap, data counts
        for at, length, is_data in listed:
            if is_data is wanted:
                for byte in range(at, min(at + length, size)):
                    expected[byte] = Kind.DATA if is_data else Kind.ZERO
    assert tidy(found)
    assert [extent.kind for extent in found for _ in range(extent.length)] == expected
    data_only = [(at, length) for at, length, is_data in listed if is_data]
    assert tally(changed_blocks(data_only, size), size).data == expected.count(Kind.DATA)


@given(lists(*Kind))
def test_an_estimate_adds_up(extents: list[Extent]) -> None:
    size = extents[-1].end
    found = tally(extents, size)
    assert found.data + found.zero + found.unchanged == size


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12), st.integers(0, 3))
def test_digests_of_two_rounds_say_what_changed(leaves: list[tuple[int, int]], grown: int) -> None:
    before, after = LeafTable(len(leaves) * LEAF_SIZE), LeafTable((len(leaves) + grown) * LEAF_SIZE)
    for index, (old, new) in enumerate(leaves + [(3, 1)] * grown):
        for table, value in ((before, old), (after, new)):
            if index >= table.count:
                continue
            if value:
                table.put(index, bytes([value]) * 32)
            else:
                table.put_zero(index, 1)
    found = list(by_digest(before, after))
    assert tidy(found)
    kinds = [extent.kind for extent in found for _ in range(extent.length // LEAF_SIZE)]
    for kind, (old, new) in zip(kinds, leaves + [(3, 1)] * grown, strict=True):
        assert kind is (Kind.UNCHANGED if old == new else Kind.ZERO if not new else Kind.DATA)


@given(lists(Kind.DATA, Kind.ZERO, Kind.UNCHANGED), st.integers(1, 64))
def test_coalesce_only_turns_zeros_between_data_into_data(extents: list[Extent], gap: int) -> None:
    before, after = blocks(extents), blocks(coalesce(extents, gap * BLOCK))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert old is new or (old is Kind.ZERO and new is Kind.DATA)


@given(lists(*Kind), st.integers(0, 8))
def test_a_plan_covers_each_leaf_once_and_reads_all_that_may_have_data(extents: list[Extent], cut: int) -> None:
    size = max(512, extents[-1].end - cut * 512)
    extents = [Extent(e.offset, min(e.end, size) - e.offset, e.kind) for e in extents if e.offset < size]
    next_leaf = 0
    for run in plan(extents, size):
        assert run.index == next_leaf
        next_leaf += run.count
        offset, length = leaf_span(run.index, size, run.count)
        inside = [e for e in extents if e.offset < offset + length and e.end > offset]
        if run.kind is not Kind.DATA:
            assert run.parts == ()
            assert {e.kind for e in inside} == {run.kind}
            continue
        assert run.count == 1
        assert run.parts[0].offset == offset
        assert run.parts[-1].end == offset + length
        for part in run.parts:
            assert part.kind in (Kind.DATA, Kind.ZERO, Kind.UNCHANGED)
            if part.kind is not Kind.DATA:
                touched = {e.kind for e in inside if e.offset < part.end and e.end > part.offset}
                assert touched == {part.kind}
    assert next_leaf == leaf_count(size)


def test_leaves_are_whole_blocks() -> None:
    assert LEAF_SIZE % BLOCK == 0
