# SPDX-License-Identifier: Apache-2.0
"""What is read at once, and the memory for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coriolis.dataplane.extents import LeafRun
from coriolis.dataplane.leaves import Pool, lay_out, requests
from coriolis.dataplane.types import LEAF_SIZE, MIB, Extent, Kind

KIB = 1 << 10


def test_what_touches_is_one_request() -> None:
    parts = [
        Extent(0, MIB, Kind.DATA),
        Extent(MIB, 64 * KIB, Kind.UNCHANGED),
        Extent(MIB + 64 * KIB, 100, Kind.DATA),
        Extent(MIB + 64 * KIB + 100, MIB, Kind.ZERO),
        Extent(3 * MIB, MIB, Kind.DATA),
    ]
    assert list(requests(parts, 8 * MIB)) == [(0, MIB + 64 * KIB + 100), (3 * MIB, MIB)]
    assert list(requests(parts, 8 * MIB, least=512)) == [(0, MIB + 64 * KIB + 512), (3 * MIB, MIB)]
    assert list(requests(parts[-1:], 8 * MIB, most=400 * KIB)) == [
        (3 * MIB, 400 * KIB),
        (3 * MIB + 400 * KIB, 400 * KIB),
        (3 * MIB + 800 * KIB, 224 * KIB),
    ]


@given(
    st.lists(st.tuples(st.integers(1, 3 * MIB), st.sampled_from([Kind.DATA, Kind.ZERO, Kind.UNCHANGED])), max_size=12),
    st.sampled_from([1, 512, 4096, 65536]),
    st.integers(1, 64),
)
def test_requests_hold_every_part_and_are_whole_blocks(
    pieces: list[tuple[int, Kind]], least: int, most_blocks: int
) -> None:
    parts, offset = [], 0
    for length, kind in pieces:
        parts.append(Extent(offset, length, kind))
        offset += length
    size = -(-max(offset, 1) // least) * least
    most = most_blocks * 65536
    found = list(requests(parts, size, least=least, most=most))
    position = 0
    for start, length in found:
        assert start >= position
        assert start % least == 0
        assert length % least == 0
        assert 0 < length <= most
        position = start + length
        assert position <= size
    for part in parts:
        if part.kind is not Kind.ZERO:
            covered = sum(max(0, min(s + n, part.end) - max(s, part.offset)) for s, n in found)
            assert covered == part.length


def test_the_pool_lends_no_more_than_it_may_and_uses_blocks_again() -> None:
    pool = Pool()
    first, second = pool.take(1, 2), pool.take(1, 2)
    assert first is not None
    assert second is not None
    assert pool.take(1, 2) is None
    pool.give(first)
    assert pool.take(1, 2) is first
    pool.give(first)
    pool.give(second)
    wide = pool.take(4, 4)
    assert wide is not None
    assert wide.room == 4
    assert pool.take(1, 4) is None


def test_a_block_that_is_larger_than_the_limit_is_lent_alone() -> None:
    pool = Pool()
    assert pool.take(8, 4) is not None
    assert pool.take(1, 4) is None


def test_adjacent_leaves_lie_side_by_side() -> None:
    pool = Pool()
    block = pool.take(2, 2)
    assert block is not None
    runs = [LeafRun(i, 1, Kind.DATA, (Extent(i * LEAF_SIZE, LEAF_SIZE, Kind.DATA),)) for i in (4, 5)]
    slots = lay_out(block, runs, 5 * LEAF_SIZE + 100)
    assert [slot.length for slot in slots] == [LEAF_SIZE, 100]
    slots[1].part(Extent(5 * LEAF_SIZE + 10, 3, Kind.DATA))[:] = b"abc"
    assert bytes(block.memory[LEAF_SIZE + 10 : LEAF_SIZE + 13]) == b"abc"
