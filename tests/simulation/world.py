# SPDX-License-Identifier: Apache-2.0
"""Virtual time, one source of chance, a lossy network, and processes that can be killed or frozen.

Everything runs in one thread. Code that waits runs in a greenlet, so that the real, blocking code of a worker can be
used as it is; a killed greenlet is never resumed, which is what SIGKILL does.
"""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import greenlet

START = dt.datetime(2026, 1, 1)  # naive UTC, as rows have it


class World:
    """The queue of events, in order of time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._depth = 0
        self.violations: list[str] = []
        self.counts: dict[str, int] = {}

    def clock(self) -> dt.datetime:
        """For ``Database``: the lease clock and the rows' clock."""
        return START + dt.timedelta(seconds=self.now)

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), action))

    def step(self) -> None:
        moment, _, action = heapq.heappop(self._events)
        self.now = max(self.now, moment)
        action()

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """True when ``until`` came true before the virtual time ``limit``."""
        while self._events and self.now < limit:
            if until():
                return True
            self.step()
        return until()

    def let_others_run(self) -> None:
        """Between two transactions of one process, events of others that are due within a moment come first."""
        if self._depth or self.rng.random() > 0.3:
            return
        self._depth += 1
        try:
            horizon = self.now + self.rng.random() * 2
            for _ in range(5):
                if self._events and self._events[0][0] <= horizon:
                    self.step()
        finally:
            self._depth -= 1

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def blame(self, text: str) -> None:
        """Notes a broken promise."""
        self.violations.append(f"{self.now:.1f} s: {text}")

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class Process:
    """Something on a host: its greenlets stop for ever when it dies, and wait while it is frozen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.thaws_at = 0.0
        self.cut_until = 0.0  # nothing goes to or from its host

    def kill(self) -> None:
        self.alive = False

    @property
    def is_cut(self) -> bool:
        return self.world.now < self.cut_until

    def freeze(self, seconds: float) -> None:
        self.thaws_at = max(self.thaws_at, self.world.now + seconds)

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """``action`` later, when the process still lives; not before it thaws."""

        def due() -> None:
            if not self.alive:
                return
            if self.world.now < self.thaws_at:
                self.world.at(self.thaws_at - self.world.now + self.world.rng.random() * 0.5, due)
            else:
                action()

        self.world.at(delay, due)

    def spawn(self, work: Callable[[], None]) -> None:
        """Runs ``work``, which may wait, from now on."""
        thread = greenlet.greenlet(work)
        self.after(0.0, lambda: self._resume(thread))

    def _resume(self, thread: greenlet.greenlet, *value: Any) -> None:
        thread.parent = greenlet.getcurrent()
        thread.switch(*value)

    def wait(self, start: Callable[[Callable[[Any], None]], None]) -> Any:
        """Blocks the current greenlet until the ``done`` that is given to ``start`` is called; gives its value. The
        first call counts."""
        thread = greenlet.getcurrent()
        called = False

        def done(value: Any) -> None:
            nonlocal called
            if not called:
                called = True
                self.after(0.0, lambda: self._resume(thread, value))

        start(done)
        parent = thread.parent
        assert parent is not None
        return parent.switch()

    def sleep(self, seconds: float) -> None:
        self.wait(lambda done: self.after(seconds, lambda: done(None)))


class Network:
    """Loses, delays, doubles and so reorders messages."""

    def __init__(self, world: World, *, loss: float, doubles: float, slow: float) -> None:
        self.world = world
        self.loss, self.doubles, self.slow = loss, doubles, slow

    def send(self, deliver: Callable[[], None]) -> None:
        copies = 2 if self.world.chance(self.doubles) else 1
        for _ in range(copies):
            if not self.world.chance(self.loss):
                self.world.at(self.delay(), deliver)

    def delay(self) -> float:
        if self.world.chance(self.slow):
            return self.world.rng.uniform(1.0, 12.0)
        return self.world.rng.uniform(0.01, 0.2)
