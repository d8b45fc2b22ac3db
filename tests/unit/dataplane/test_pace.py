# SPDX-License-Identifier: Apache-2.0
"""The token bucket, and the back-off from a slow source, on a clock of our own."""

from __future__ import annotations

import pytest

from coriolis.dataplane.pace import Backoff, Pace

MIB = 1 << 20


def run(pace: Pace, seconds: float, start: float = 0.0, step: float = 0.05) -> int:
    """Bytes that a greedy copy gets in so many seconds, asking every ``step``."""
    taken, now = 0, start
    while now < start + seconds:
        for _ in range(64):
            if not pace.take(MIB, now):
                break
            taken += MIB
        now += step
    return taken


@pytest.mark.parametrize("rate", [MIB // 2, 3 * MIB, 100 * MIB])
def test_the_rate_is_kept_over_time(rate: int) -> None:
    pace = Pace()
    pace.set(rate)
    assert run(pace, 20) == pytest.approx(20 * rate, rel=0.1, abs=2 * MIB)


def test_a_change_is_felt_at_once() -> None:
    pace = Pace()
    pace.set(100 * MIB)
    run(pace, 5)
    pace.set(10 * MIB)
    run(pace, 1, start=5)
    assert run(pace, 10, start=6) == pytest.approx(100 * MIB, rel=0.1)
    pace.set(50 * MIB)
    assert run(pace, 10, start=16) == pytest.approx(500 * MIB, rel=0.1)


def test_nothing_at_all_and_no_limit() -> None:
    pace = Pace()
    pace.set(0)
    assert run(pace, 60) <= MIB
    pace.set(None)
    assert run(pace, 1, start=60) >= 64 * 20 * MIB


def test_what_was_not_used_is_not_saved_up() -> None:
    pace = Pace()
    pace.set(10 * MIB)
    assert pace.take(MIB, 0.0)
    assert run(pace, 1, start=3600) <= 17 * MIB


def test_a_held_copy_waits_for_its_first_rate_but_not_for_ever() -> None:
    pace = Pace(held_seconds=5)
    assert run(pace, 4.9) == 0
    assert run(pace, 1, start=5) > 0
    told = Pace(held_seconds=5)
    assert not told.take(MIB, 0.0)
    told.set(None)
    assert told.take(MIB, 0.1)


def feed(backoff: Backoff, latency: float, seconds: int, rate: int = 100 * MIB, start: float = 0.0) -> None:
    for tick in range(seconds * 10):
        backoff.seen(latency, rate // 10, start + tick / 10)


def test_a_quiet_source_has_no_ceiling() -> None:
    backoff = Backoff(3.0)
    feed(backoff, 0.010, 60)
    assert backoff.ceiling is None
    assert backoff.usual == pytest.approx(0.010, rel=0.2)


def test_the_ceiling_falls_while_the_source_is_slow_and_rises_when_it_recovers() -> None:
    backoff = Backoff(3.0)
    feed(backoff, 0.010, 5)
    feed(backoff, 0.100, 4, start=5)
    assert backoff.ceiling is not None
    low = backoff.ceiling
    assert low <= 100 * MIB * 0.75**3
    feed(backoff, 0.100, 30, rate=20 * MIB, start=10)
    assert MIB <= backoff.ceiling < low
    feed(backoff, 0.010, 60, rate=20 * MIB, start=40)
    assert backoff.ceiling is None


def test_a_source_that_is_slower_for_good_becomes_usual() -> None:
    backoff = Backoff(2.0)
    feed(backoff, 0.020, 5)
    feed(backoff, 0.045, 1000, start=5)
    assert backoff.ceiling is None


def test_pace_obeys_the_lower_of_rate_and_ceiling() -> None:
    pace = Pace()
    pace.set(50 * MIB, backoff=3.0)
    for tick in range(100):
        pace.seen(0.01 if tick < 30 else 1.0, 5 * MIB, tick / 10)
    assert pace.ceiling is not None
    assert run(pace, 10, start=20) == pytest.approx(pace.ceiling * 10, rel=0.3)
    pace.set(50 * MIB)
    assert run(pace, 10, start=40) == pytest.approx(500 * MIB, rel=0.1)
