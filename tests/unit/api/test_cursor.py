# SPDX-License-Identifier: Apache-2.0
"""Where a reader of events stands, when transactions commit in another order than they wrote."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.api import cursor
from coriolis.api.cursor import Cursor, moved, parse
from coriolis.domain.errors import Invalid

NOW = dt.datetime(2026, 1, 1)
NOW_OR_SO = NOW - dt.timedelta(seconds=1)
LONG_AGO = NOW - 2 * cursor.LATEST


def there(*ids: int) -> dict[int, dt.datetime]:
    return {1: LONG_AGO, **dict.fromkeys(ids, NOW_OR_SO)}


def test_what_is_missing_is_remembered_until_it_comes() -> None:
    at = moved(Cursor(last=3), 7, there(2, 3, 5, 7), NOW)
    assert at == Cursor(last=7, holes=(4, 6))
    assert moved(at, 8, there(2, 3, 5, 6, 7, 8), NOW) == Cursor(last=8, holes=(4,))


def test_what_is_missing_for_long_never_comes() -> None:
    assert moved(Cursor(), 9, {2: LONG_AGO, 5: LONG_AGO, 7: NOW_OR_SO, 9: NOW_OR_SO}, NOW).holes == (6, 8)


def test_without_anything_old_all_that_is_missing_may_come() -> None:
    """A service that has only just begun, or one that writes very much."""
    assert moved(Cursor(), 3, {3: NOW_OR_SO}, NOW) == Cursor(last=3, holes=(1, 2))
    assert moved(Cursor(last=6), 9, {7: NOW_OR_SO, 9: NOW_OR_SO}, NOW, oldest=7) == Cursor(last=9, holes=(8,))


def test_a_hole_that_was_filled_before_the_reader_came_is_none() -> None:
    assert moved(Cursor(last=8), 8, there(2, 4, 8), NOW).holes == ()


@given(st.integers(0, 10**18 - 1), st.sets(st.integers(0, 10**18 - 1), max_size=cursor.MOST_HOLES))
def test_it_reads_what_it_writes(last: int, holes: set[int]) -> None:
    one = Cursor(last=last, holes=tuple(sorted(holes)))
    assert parse(str(one), "since") == one


def test_runs_are_short() -> None:
    assert str(Cursor(last=20, holes=(3, 4, 5, 9))) == "20~3-5.9"


@pytest.mark.parametrize("text", ["x", "-1", "1~", "1~2-", "1~2..3", "9~1-1000000000", "1" * 19, "1\n", "\uff11"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text, "since")


@given(st.sets(st.integers(2, 60), min_size=1), st.lists(st.integers(1, 10)), st.randoms())
def test_everything_is_read_once(ids: set[int], steps: list[int], random: object) -> None:
    """Events appear in any order, a reader comes now and then."""
    order = sorted(ids)
    random.shuffle(order)  # type: ignore[attr-defined]
    visible, at, read = {1: LONG_AGO}, Cursor(last=1), []
    for size in [*steps, len(order)]:
        visible.update(dict.fromkeys(order[:size], NOW_OR_SO))
        order = order[size:]
        got = sorted(one for one in visible if one > at.last or one in at.holes)
        if got:
            read += got
            at = moved(at, max(at.last, *got), visible, NOW)
    assert sorted(read) == sorted(ids)
    assert len(read) == len(set(read))
