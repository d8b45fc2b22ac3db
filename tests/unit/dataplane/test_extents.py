# SPDX-License-Identifier: Apache-2.0
"""Extent arithmetic and the plan of leaves: the cases that have names."""

from __future__ import annotations

from coriolis.dataplane.extents import LeafRun, clip, coalesce, fill, leaf_count, leaf_span, merge, overlay, plan
from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

DATA, ZERO, SAME, UNKNOWN = Kind.DATA, Kind.ZERO, Kind.UNCHANGED, Kind.UNKNOWN
L = LEAF_SIZE


def test_the_last_leaf_may_be_short() -> None:
    assert leaf_count(3 * L + 512) == 4
    assert leaf_span(3, 3 * L + 512) == (3 * L, 512)
    assert leaf_span(1, 3 * L + 512, 3) == (L, 2 * L + 512)


def test_merge_joins_neighbours_of_one_kind_only() -> None:
    given = [Extent(0, 5, DATA), Extent(5, 0, ZERO), Extent(5, 5, DATA), Extent(10, 5, ZERO)]
    assert list(merge(given)) == [Extent(0, 10, DATA), Extent(10, 5, ZERO)]


def test_merge_does_not_close_a_gap() -> None:
    given = [Extent(0, 5, DATA), Extent(6, 5, DATA)]
    assert list(merge(given)) == given


def test_clip_cuts_both_ends() -> None:
    given = [Extent(0, 10, DATA), Extent(10, 10, ZERO), Extent(20, 10, DATA)]
    assert list(clip(given, 5, 20)) == [Extent(5, 5, DATA), Extent(10, 10, ZERO), Extent(20, 5, DATA)]


def test_fill_closes_every_gap() -> None:
    given = [Extent(5, 5, DATA), Extent(20, 5, DATA)]
    assert list(fill(given, 30, ZERO)) == [
        Extent(0, 5, ZERO),
        Extent(5, 5, DATA),
        Extent(10, 10, ZERO),
        Extent(20, 5, DATA),
        Extent(25, 5, ZERO),
    ]


def test_overlay_keeps_the_allocation_of_what_changed() -> None:
    allocation = [Extent(0, 10, DATA), Extent(10, 10, ZERO)]
    changed = [Extent(0, 5, SAME), Extent(5, 10, DATA), Extent(15, 5, SAME)]
    assert list(overlay(allocation, changed)) == [
        Extent(0, 5, SAME),
        Extent(5, 5, DATA),
        Extent(10, 5, ZERO),
        Extent(15, 5, SAME),
    ]


def test_coalesce_reads_short_holes_with_their_neighbours() -> None:
    parts = [Extent(0, 10, DATA), Extent(10, 3, ZERO), Extent(13, 10, DATA), Extent(23, 50, ZERO)]
    assert coalesce(parts, gap=5) == (Extent(0, 23, DATA), Extent(23, 50, ZERO))
    assert coalesce(parts, gap=3) == tuple(parts)


def test_coalesce_never_reads_what_did_not_change() -> None:
    parts = [Extent(0, 10, DATA), Extent(10, 3, SAME), Extent(13, 10, DATA)]
    assert coalesce(parts, gap=5) == tuple(parts)


def test_a_plan_has_runs_for_holes_and_single_leaves_for_data() -> None:
    size = 10 * L + 512
    extents = [Extent(0, 2 * L, ZERO), Extent(2 * L, L + 4096, DATA), Extent(3 * L + 4096, size - 3 * L - 4096, ZERO)]
    assert list(plan(extents, size)) == [
        LeafRun(0, 2, ZERO),
        LeafRun(2, 1, DATA, (Extent(2 * L, L, DATA),)),
        LeafRun(3, 1, DATA, (Extent(3 * L, 4096, DATA), Extent(3 * L + 4096, L - 4096, ZERO))),
        LeafRun(4, 7, ZERO),
    ]


def test_a_leaf_of_holes_and_unchanged_parts_is_data_since_its_digest_needs_all_of_it() -> None:
    extents = [Extent(0, 4096, SAME), Extent(4096, L - 4096, ZERO)]
    assert list(plan(extents, L)) == [LeafRun(0, 1, DATA, tuple(extents))]


def test_unknown_is_read() -> None:
    assert list(plan([Extent(0, 100, UNKNOWN)], 100)) == [LeafRun(0, 1, DATA, (Extent(0, 100, DATA),))]


def test_a_two_tebibyte_hole_is_one_run() -> None:
    assert list(plan([Extent(0, 2 << 40, ZERO)], 2 << 40)) == [LeafRun(0, 2 << 20, ZERO)]
