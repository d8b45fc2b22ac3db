# SPDX-License-Identifier: Apache-2.0
"""The forecast of rounds: against a disk that changes at a constant pace, and for any past at all."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain.convergence import Past, forecast, text

GIB = 1 << 30
PACES = st.floats(1e3, 1e9)
PASTS = st.builds(
    Past,
    started=st.floats(-1e9, 1e9),
    seconds=st.floats(0, 1e6),
    read=st.integers(0, 1 << 50),
    changed=st.integers(0, 1 << 50),
    whole=st.booleans(),
)


def rounds_of(churn: float, rate: float, size: int, count: int) -> list[Past]:
    """What a disk of this kind brings about, with a bitmap."""
    found = [Past(started=0.0, seconds=size / rate, read=size, changed=size, whole=True)]
    for _ in range(count - 1):
        last = found[-1]
        moved = min(size, math.ceil(churn * last.seconds))
        started = last.started + last.seconds
        found.append(Past(started=started, seconds=moved / rate, read=moved, changed=moved, whole=False))
    return found


@given(churn=PACES, rate=PACES, count=st.integers(2, 5))
def test_a_steady_disk_is_foretold(churn: float, rate: float, count: int) -> None:
    size = 100 * GIB
    past = rounds_of(churn, rate, size, count + 1)
    if any(each.read < 1e6 for each in past) or churn > rate / 1.5:
        return  # nothing left to see, or the disk is full of changes
    found = forecast(past[:-1], size, 1)
    assert found.converges
    assert math.isclose(found.churn or 0, churn, rel_tol=0.02)
    assert math.isclose(found.next_bytes or 0, past[-1].read, rel_tol=0.02)
    assert math.isclose(found.next_seconds or 0, past[-1].seconds, rel_tol=0.02)


@given(churn=PACES, rate=PACES)
def test_more_rounds_help_exactly_when_it_converges(churn: float, rate: float) -> None:
    past = rounds_of(churn, rate, 100 * GIB, 2)
    one, many = forecast(past, 100 * GIB, 1), forecast(past, 100 * GIB, 20)
    assert one.final_seconds == one.next_seconds
    assert one.final_seconds is not None
    assert many.final_seconds is not None
    if many.converges:
        assert many.final_seconds <= one.final_seconds + 1e-6


@given(past=st.lists(PASTS, max_size=6), size=st.integers(1, 1 << 45), remaining=st.integers(0, 30))
def test_whatever_the_clock_and_the_counts_say_it_answers_with_sense(
    past: list[Past], size: int, remaining: int
) -> None:
    found = forecast(past, size, remaining)
    assert found.next_bytes is None or 0 <= found.next_bytes <= size
    for seconds in (found.next_seconds, found.final_seconds):
        assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
    assert (found.next_seconds is None) == (text(found) is None)
    if len(past) < 2:
        assert found.next_seconds is None


def test_a_source_that_must_be_read_whole_has_a_floor() -> None:
    past = [
        Past(started=0, seconds=100, read=10 * GIB, changed=10 * GIB, whole=True),
        Past(started=100, seconds=80, read=10 * GIB, changed=GIB // 100, whole=True),
    ]
    found = forecast(past, 10 * GIB, 5)
    assert found.converges
    assert found.final_seconds == found.next_seconds == 80
    assert "the final one 80 s" in (text(found) or "")


def test_a_disk_that_changes_faster_than_it_is_copied_is_named() -> None:
    past = rounds_of(2e8, 1e8, 10 * GIB, 3)
    found = forecast(past, 10 * GIB, 10)
    assert found.converges is False
    assert "do not help" in (text(found) or "")
