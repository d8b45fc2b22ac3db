# SPDX-License-Identifier: Apache-2.0
"""Counts what an engine did, and tells of it now and then."""

from __future__ import annotations

import collections
import dataclasses

from coriolis.dataplane.types import Progress, ProgressCallback


@dataclasses.dataclass(slots=True)
class Counters:
    """Bytes so far. ``settled`` includes what needed no work."""

    settled: int = 0
    read: int = 0
    written: int = 0
    skipped: int = 0
    resumed: int = 0


class Reporter:
    """Calls back with progress, not too often. The rate is that of the last few reports."""

    def __init__(self, size: int, counters: Counters, callback: ProgressCallback | None, interval: float) -> None:
        self._size, self._counters, self._callback, self._interval = size, counters, callback, interval
        self._last = 0.0
        self._points: collections.deque[tuple[float, int]] = collections.deque(maxlen=16)

    def report(self, now: float, *, force: bool = False) -> None:
        if self._callback is None or (not force and now - self._last < self._interval):
            return
        self._last = now
        counters = self._counters
        self._points.append((now, counters.read))
        (since, before), (_, after) = self._points[0], self._points[-1]
        self._callback(
            Progress(
                total=self._size,
                done=counters.settled + counters.resumed,
                read=counters.read,
                written=counters.written,
                skipped=counters.skipped,
                resumed=counters.resumed,
                rate=(after - before) / (now - since) if now > since else 0.0,
            )
        )
