# SPDX-License-Identifier: Apache-2.0
"""How fast a copy may read: a token bucket that others may set while it runs, and a back-off from a slow source.

Rates are bytes per second, times are seconds on the monotonic clock and come in as arguments.
"""

from __future__ import annotations

import math
import threading

from coriolis.dataplane.types import LEAF_SIZE

_BURST_SECONDS = 0.5  # the engine may look late, and must then be able to catch up
_INTERVAL = 1.0
_DECREASE = 0.7
_INCREASE = 0.05  # of the ceiling, per interval
_LEAST = float(LEAF_SIZE)
_DRIFT = 1.002  # per interval: a source that has become slower for good is usual after some minutes
_NOISE = 0.002  # what a latency may always vary by


class Backoff:
    """A ceiling that falls by a third in each interval in which reads take more than ``factor`` times as long as they
    usually do, and otherwise rises by a step, until it is of no use: additive increase, multiplicative decrease.

    What counts of an interval is its quickest read: single slow ones are the noise of a busy host, and a source that is
    slow is slow for all. What is usual is learnt: the least that this has been, drifting up slowly.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.usual: float | None = None
        self.ceiling: float | None = None
        self._peak = 0.0
        self._since: float | None = None
        self._least, self._bytes = math.inf, 0

    def seen(self, latency: float, length: int, now: float) -> None:
        """A read of so many bytes took so long, and ended now."""
        if self._since is None:
            self._since = now
        self._least, self._bytes = min(self._least, latency), self._bytes + length
        if now - self._since >= _INTERVAL:
            self._judge(self._least, self._bytes / (now - self._since))
            self._since, self._least, self._bytes = now, math.inf, 0

    def _judge(self, latency: float, rate: float) -> None:
        if self.usual is None or latency < self.usual:
            self.usual = latency
        if latency > self.factor * self.usual + _NOISE:
            self._peak = max(self._peak, rate)
            self.ceiling = max(_LEAST, _DECREASE * min(rate, self.ceiling or rate))
        elif self.ceiling is not None:
            self.ceiling += max(_LEAST, _INCREASE * self._peak)
            if self.ceiling > self._peak:
                self.ceiling, self._peak = None, 0.0
        self.usual *= _DRIFT


class Pace:
    """Shared by the engine, which asks, and by whoever sets the rate, in any thread.

    ``held_seconds``: how long at most to wait, from the first question on, for somebody to set a rate; until then
    nothing is read. It never raises and never waits.
    """

    def __init__(self, *, held_seconds: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._rate: float | None = 0.0 if held_seconds else None
        self._held_seconds: float | None = held_seconds or None
        self._held_until: float | None = None
        self._backoff: Backoff | None = None
        self._tokens = _LEAST
        self._last: float | None = None

    def set(self, rate: float | None, backoff: float | None = None) -> None:
        """From now on at most ``rate`` (None: no limit; 0: nothing), and less while reads take more than ``backoff``
        times as long as they usually do."""
        with self._lock:
            self._rate, self._held_seconds = rate, None
            if backoff is None or self._backoff is None or self._backoff.factor != backoff:
                self._backoff = None if backoff is None else Backoff(backoff)

    def take(self, length: int, now: float) -> bool:
        """Whether so many bytes may be read now; if so, they are taken from the bucket, which may go below zero."""
        with self._lock:
            self._release(now)
            rate = self._limit()
            if rate is None:
                self._last, self._tokens = now, _LEAST
                return True
            last = now if self._last is None else self._last
            self._tokens = min(self._tokens + (now - last) * rate, max(_LEAST, rate * _BURST_SECONDS))
            self._last = now
            if self._tokens <= 0 or rate <= 0:
                return False
            self._tokens -= length
            return True

    def seen(self, latency: float, length: int, now: float) -> None:
        """The engine tells how long a read took."""
        with self._lock:
            if self._backoff is not None:
                self._backoff.seen(latency, length, now)

    @property
    def ceiling(self) -> float | None:
        """What the back-off allows now, or None."""
        with self._lock:
            return None if self._backoff is None else self._backoff.ceiling

    def _limit(self) -> float | None:
        ceiling = None if self._backoff is None else self._backoff.ceiling
        rates = [each for each in (self._rate, ceiling) if each is not None]
        return min(rates) if rates else None

    def _release(self, now: float) -> None:
        if self._held_seconds is None:
            return
        if self._held_until is None:
            self._held_until = now + self._held_seconds
        if now >= self._held_until:
            self._rate, self._held_seconds = None, None
