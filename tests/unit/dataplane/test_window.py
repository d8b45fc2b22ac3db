# SPDX-License-Identifier: Apache-2.0
"""The window against servers of three kinds, in virtual time."""

from __future__ import annotations

import heapq

from coriolis.dataplane.types import MIB
from coriolis.dataplane.window import Window


def simulate(window: Window, *, delay: float, per_mib: float, serial: bool, seconds: float) -> float:
    """Reads as the engine does; a read takes ``delay`` and then the wire for so many seconds per MiB. ``serial``: the
    server serves one read at a time. Returns MiB per second of the last half.
    """
    now, wire, out = 0.0, 0.0, 0
    ends: list[tuple[float, float, int]] = []
    late = 0
    while now < seconds:
        while out + window.span <= window.leaves:
            start = max(now, wire) + delay if serial else max(now + delay, wire)
            wire = start + per_mib * window.span
            heapq.heappush(ends, (wire, now, window.span))
            out += window.span
        window.limited()
        now, since, span = heapq.heappop(ends)
        out -= span
        late += span if now > seconds / 2 else 0
        window.seen(now - since, span * MIB, now)
    return late / (seconds / 2)


def test_a_near_source_gets_few_reads() -> None:
    window = Window(6, 64)
    rate = simulate(window, delay=0.0002, per_mib=0.001, serial=False, seconds=10)
    assert (window.leaves, window.span) == (6, 1)
    assert rate > 900


def test_a_distant_source_gets_as_many_as_the_wire_needs() -> None:
    window = Window(6, 64)
    rate = simulate(window, delay=0.02, per_mib=0.001, serial=False, seconds=10)
    assert window.span == 1
    assert 24 <= window.leaves <= 64
    assert rate > 900


def test_more_than_is_allowed_is_never_in_flight() -> None:
    window = Window(6, 16)
    simulate(window, delay=0.2, per_mib=0.001, serial=False, seconds=60)
    assert window.leaves == 16


def test_a_source_that_serves_one_read_at_a_time_gets_long_ones() -> None:
    window = Window(6, 64)
    rate = simulate(window, delay=0.005, per_mib=0.001, serial=True, seconds=30)
    assert window.span == 8
    assert rate > 550  # one leaf at a time: 166


def test_what_does_not_pay_is_taken_back() -> None:
    """A source with a fixed rate, however many reads: the delay is all there is, and the wire is never full."""
    window = Window(6, 64)
    now = 0.0
    for _ in range(4000):
        latency = window.leaves / 200  # 200 MiB/s whatever is in flight
        now += 1 / 200
        window.limited()
        window.seen(latency, MIB, now)
    assert window.leaves in (6, 12)
    assert window.leaves == 6 or window._before is not None  # tried now and then only
