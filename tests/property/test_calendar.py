# SPDX-License-Identifier: Apache-2.0
"""When schedules fire, over any calendar and any time."""

from __future__ import annotations

import calendar as months
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain.calendar import MINUTE, RANGES, Calendar, next_fire

fields = {name: st.none() | st.integers(*bounds) for name, bounds in RANGES.items()}
calendars = st.builds(Calendar, **fields)
moments = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2150, 1, 1))


def exists(one: Calendar) -> bool:
    """Whether such a day is in some year: 2000 has a leap day."""
    if one.dom is None:
        return True
    return any(one.dom <= months.monthrange(2000, month)[1] for month in ([one.month] if one.month else range(1, 13)))


@given(one=calendars, after=moments)
def test_it_fits_and_comes_later(one: Calendar, after: dt.datetime) -> None:
    found = next_fire(one, after)
    assert (found is not None) is exists(one)
    if found is not None:
        assert found > after
        assert (found.second, found.microsecond) == (0, 0)
        assert one.fits(found)


@given(one=calendars, after=moments, share=st.floats(0, 1, exclude_max=True))
def test_nothing_between_fits(one: Calendar, after: dt.datetime, share: float) -> None:
    """Neither any minute of the first hours, nor one anywhere before the found one."""
    found = next_fire(one, after)
    start = after.replace(second=0, microsecond=0) + MINUTE
    near = [start + MINUTE * number for number in range(1500)]
    for moment in near:
        assert not one.fits(moment) or (found is not None and found <= moment)
    if found is not None:
        between = (start + (found - start) * share).replace(second=0, microsecond=0)
        assert between == found or not one.fits(between)


@given(one=calendars, after=moments, later=st.timedeltas(dt.timedelta(0), dt.timedelta(days=800)))
def test_time_never_runs_backwards(one: Calendar, after: dt.datetime, later: dt.timedelta) -> None:
    first, second = next_fire(one, after), next_fire(one, after + later)
    assert (first is None) is (second is None)
    if first is not None and second is not None:
        assert first <= second
        if first > after + later:
            assert first == second


@pytest.mark.parametrize(
    ("one", "after", "expected"),
    [
        (Calendar(), "2026-11-21T10:00:59.999999", "2026-11-21T10:01:00"),
        (Calendar(minute=0), "2026-11-21T10:00:00", "2026-11-21T11:00:00"),
        (Calendar(hour=10), "2026-11-21T10:59:30", "2026-11-22T10:00:00"),
        (Calendar(minute=30, hour=2, dow=0), "2026-11-21T10:00:00", "2026-11-23T02:30:00"),
        (Calendar(dow=6), "2026-11-21T10:00:00", "2026-11-22T00:00:00"),
        (Calendar(dom=31, hour=0, minute=0), "2026-11-21T10:00:00", "2026-12-31T00:00:00"),
        (Calendar(dom=29, month=2), "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        (Calendar(dom=29, month=2, dow=6), "2088-03-01T00:00:00", "2128-02-29T00:00:00"),
        (Calendar(minute=59, hour=23, dom=31, month=12), "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
        (Calendar(dom=31, month=2), "2026-01-01T00:00:00", None),
        (Calendar(dom=31, month=4), "2026-01-01T00:00:00", None),
        (Calendar(), "9999-12-31T23:59:00", None),
    ],
)
def test_cases(one: Calendar, after: str, expected: str | None) -> None:
    found = next_fire(one, dt.datetime.fromisoformat(after))
    assert found == (None if expected is None else dt.datetime.fromisoformat(expected))
