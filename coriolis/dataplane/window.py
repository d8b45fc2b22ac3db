# SPDX-License-Identifier: Apache-2.0
"""How much to read at once: found out while reading, from what the reads tell. Pure: the time comes in.

A near source is fastest with few leaves in flight, which stay in the processor's caches. A source that is far away
delivers at most what is in flight per round trip, so it needs more; one that serves a request at a time needs
longer requests. Each of the two is tried when the reads look like it, and kept only if it pays.
"""

from __future__ import annotations

_GAIN = 1.1  # a step is kept when the rate grows by this factor
_QUEUE = 2.0  # reads that take this many times the least wait in a queue: more of them would only wait longer
_DISTANT = 0.003  # seconds; a near server answers a lone read of one leaf faster
_READS = 16  # at least so many make an interval
_PATIENCE = 8  # intervals until a step that did not pay is tried again; doubles each time
_SPAN = 8  # leaves of the longest read


class Window:
    """``leaves``: how many may be in flight. ``span``: how many adjacent ones to read as one."""

    def __init__(self, leaves: int, most: int, *, longest: int = _SPAN) -> None:
        self.leaves, self.span = leaves, 1
        self._most, self._longest = max(leaves, most), longest
        self._limited = False
        self._before: tuple[int, int, float] | None = None  # leaves, span and rate before a step that is on trial
        self._wait = {"leaves": 0, "span": 0}  # intervals
        self._patience = {"leaves": _PATIENCE, "span": _PATIENCE}
        self._trial, self._fresh = "", False
        self._least: float | None = None
        self._since: float | None = None
        self._sum, self._count, self._bytes = 0.0, 0, 0

    def limited(self) -> None:
        """Another read was possible, had there been room."""
        self._limited = True

    def seen(self, latency: float, length: int, now: float) -> None:
        """A read of so many bytes took so many seconds, and ended now."""
        if self._since is None:
            self._since = now
            return
        self._sum, self._count, self._bytes = self._sum + latency, self._count + 1, self._bytes + length
        self._least = latency if self._least is None else min(self._least, latency)
        if self._count >= max(_READS, 2 * self.leaves // self.span) and now > self._since:
            self._judge(self._sum / self._count, self._bytes / (now - self._since))
            self._since, self._limited = now, False
            self._sum, self._count, self._bytes = 0.0, 0, 0

    def _judge(self, latency: float, rate: float) -> None:
        if self._fresh:
            self._fresh = False  # many of these were begun before the step
            return
        if self._before is not None:
            self._conclude(rate)
            return
        self._wait = {kind: max(0, left - 1) for kind, left in self._wait.items()}
        assert self._least is not None
        if not self._limited:
            return
        if latency < _QUEUE * self._least and self.leaves < self._most and not self._wait["leaves"]:
            self._try("leaves", min(self._most, 2 * self.leaves), self.span, rate)
        elif self._least >= _DISTANT and 2 * self.span <= self._longest and not self._wait["span"]:
            self._try("span", min(self._most, max(self.leaves, 4 * self.span)), 2 * self.span, rate)

    def _try(self, kind: str, leaves: int, span: int, rate: float) -> None:
        self._before = (self.leaves, self.span, rate)
        self._trial, self.leaves, self._fresh = kind, leaves, True
        self.span = span

    def _conclude(self, rate: float) -> None:
        assert self._before is not None
        leaves, span, before = self._before
        if rate < _GAIN * before:
            self.leaves = leaves
            self.span = span
            self._wait[self._trial] = self._patience[self._trial]
            self._patience[self._trial] *= 2
        else:
            self._patience[self._trial] = _PATIENCE
        self._before = None
