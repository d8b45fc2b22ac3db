# SPDX-License-Identifier: Apache-2.0
"""How long the next round of a disk will take, and the final one: from what the past rounds moved. Bytes and seconds.

A disk changes by some bytes a second (churn) while a round runs; the next round moves these. As long as the copy is
faster than the changes, each round is shorter than the one before, down to what a round takes for looking alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

_NEWEST = 0.5  # weight of the newest observation of the churn
_SHORTEST = 0.001  # seconds: what took less tells no rate


@dataclass(frozen=True, kw_only=True)
class Past:
    """A finished round. ``started``: on any clock that all rounds share; it may have jumped. ``read``: bytes that were
    read of the source; ``changed``: bytes that differed from the round before, for a first round the bytes that it
    moved; ``whole``: everything was read to find them, since nothing told where they are."""

    started: float
    seconds: float
    read: int
    changed: int
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """If the next round began now. None: not known yet, it takes two rounds to see a change. ``final``: the last round
    of those that are still wanted. ``converges``: more rounds make the last one shorter."""

    churn: float | None
    rate: float | None
    next_bytes: int | None
    next_seconds: float | None
    final_seconds: float | None
    converges: bool | None


def forecast(rounds: Sequence[Past], size: int, remaining: int, since: float = 0.0) -> Forecast:
    """``rounds`` oldest first; ``remaining``: rounds to come; ``since``: seconds since the end of the last one."""
    rate = _rate(rounds)
    churn = _churn(rounds)
    if churn is None or rate is None:
        return Forecast(churn=churn, rate=rate, next_bytes=None, next_seconds=None, final_seconds=None, converges=None)
    last = rounds[-1]
    floor = last.seconds if last.whole else 0.0  # looking for changes takes as long, however few there are
    moved = _changes(churn, last.seconds + since, size)
    seconds = first = max(floor, moved / rate)
    for _ in range(max(remaining, 1) - 1):
        shorter = max(floor, _changes(churn, seconds, size) / rate)
        if math.isclose(shorter, seconds, rel_tol=1e-3):
            break
        seconds = shorter
    return Forecast(
        churn=churn,
        rate=rate,
        next_bytes=moved,
        next_seconds=first,
        final_seconds=seconds,
        converges=churn < rate,
    )


def _changes(churn: float, seconds: float, size: int) -> int:
    return min(size, math.ceil(churn * seconds))


def _rate(rounds: Sequence[Past]) -> float | None:
    """Bytes read per second, of the last round that read a noticeable part; a short one tells more of its overhead."""
    told = [past for past in rounds if past.read > 0 and past.seconds >= _SHORTEST]
    if not told:
        return None
    best = max(told, key=lambda past: past.read)
    near = [past for past in told if 4 * past.read >= best.read]
    return near[-1].read / near[-1].seconds


def _churn(rounds: Sequence[Past]) -> float | None:
    """Changed bytes per second between the starts of neighbouring rounds, the newest counting most."""
    found: float | None = None
    for before, after in itertools.pairwise(rounds):
        window = after.started - before.started
        if window < before.seconds:  # the clock was set back
            window = before.seconds
        if window < _SHORTEST:
            continue
        now = after.changed / window
        found = now if found is None else _NEWEST * now + (1 - _NEWEST) * found
    return found


def text(found: Forecast) -> str | None:
    """For people; None when nothing is known."""
    if found.next_seconds is None or found.final_seconds is None or found.churn is None:
        return None
    words = f"changes by {found.churn / 1e6:.1f} MB/s; the next round would take {_span(found.next_seconds)}"
    if not found.converges:
        return f"{words}, and more rounds do not help: it changes faster than it is copied"
    return f"{words}, the final one {_span(found.final_seconds)}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
