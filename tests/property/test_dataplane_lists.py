# SPDX-License-Identifier: Apache-2.0
"""Lists of changes and of allocation as bytes: they come back as they were, and short ones ask for more, never less."""

from __future__ import annotations

import contextlib
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from coriolis.dataplane.errors import SourceError
from coriolis.dataplane.extents import merge
from coriolis.dataplane.lists import MOST, MOST_BYTES, pack, shortened, unpack
from coriolis.dataplane.types import Extent, Kind, NbdSource
from tests.property.test_dataplane_extents import blocks, lists, tidy

SPARED = (Kind.ZERO, Kind.UNCHANGED)
listed = st.none() | lists(*Kind).map(lambda extents: tuple(merge(extents)))


def source(changes: tuple[Extent, ...] | None, allocation: tuple[Extent, ...] | None = None) -> NbdSource:
    return NbdSource(uri="nbd://x", changes=changes, allocation=allocation)


@given(listed, listed)
def test_lists_come_back_as_they_were(
    changes: tuple[Extent, ...] | None, allocation: tuple[Extent, ...] | None
) -> None:
    packed = pack(source(changes, allocation))
    if packed is None:
        assert changes is allocation is None
    else:
        assert unpack(packed) == (changes, allocation)


@given(st.integers(0, 1 << 62), st.integers(1, 1 << 62))
def test_sizes_and_offsets_may_be_as_large_as_any_disk(first: int, second: int) -> None:
    extents = tuple(merge([Extent(0, first, Kind.UNCHANGED), Extent(first, second, Kind.DATA)]))
    assert unpack(pack(source(extents)) or b"") == (extents, None)


def test_a_list_of_nothing_is_a_list() -> None:
    assert unpack(pack(source(())) or b"") == ((), None)


@given(lists(*Kind), st.integers(1, 12))
def test_a_shortened_list_spares_less_and_as_much_as_it_may(extents: list[Extent], most: int) -> None:
    whole = list(merge(extents))
    short = shortened(whole, most)
    if len(whole) <= most:
        assert list(short) == whole
        return
    assert len(short) <= most
    assert tidy(list(short))
    assert all(a is b or b is Kind.DATA for a, b in zip(blocks(whole), blocks(short), strict=True))
    lengths = sorted((extent.length for extent in whole if extent.kind in SPARED), reverse=True)
    kept = [extent.length for extent in short if extent.kind in SPARED]
    assert sorted(kept, reverse=True) == lengths[: (most - 1) // 2]


@given(st.binary(max_size=200) | st.binary(max_size=200).map(zstandard.compress), st.data())
def test_nonsense_is_refused_in_one_way(data: bytes, choice: st.DataObject) -> None:
    with contextlib.suppress(SourceError):
        unpack(data)
    good = pack(source((Extent(0, 5, Kind.DATA), Extent(5, 9, Kind.UNCHANGED)))) or b""
    with pytest.raises(SourceError):
        unpack(good[: choice.draw(st.integers(0, len(good) - 1))])


def test_a_list_that_says_too_much_is_refused() -> None:
    for plain in (bytes(8 + 2 * MOST * 8 + 8), b"\1" + bytes(7), bytes(8 + 8), b"\3" + bytes(7) + b"\xff" * 24):
        with pytest.raises(SourceError, match="not understood"):
            unpack(zstandard.compress(plain))


def test_the_longest_list_keeps_within_its_bounds() -> None:
    rng, offset, extents = random.Random(5), 0, []
    for number in range(MOST + 3):
        length = rng.randrange(1, 1 << 40)
        extents.append(Extent(offset, length, (Kind.DATA, Kind.UNCHANGED)[number % 2]))
        offset += length
    packed = pack(source(tuple(extents))) or b""
    assert len(packed) <= MOST_BYTES // 2
    changes, _ = unpack(packed)
    assert changes is not None
    assert MOST // 2 < len(changes) <= MOST
    assert changes[-1].end == offset
