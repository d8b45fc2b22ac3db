# SPDX-License-Identifier: Apache-2.0
"""Threads that do a piece of work again and again: at once when woken, otherwise after a pause."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

LOG = logging.getLogger(__name__)

Q = TypeVar("Q")
A = TypeVar("A")


class Loop:
    """Calls ``turn`` in a thread of its own. ``turn`` gives True when there is more to do at once.

    Turns that are woken start at least ``gap`` seconds apart, so that under load each finds more to do at once, while
    a wake after a quiet time is followed at once.

    A turn that fails is logged, and the next one comes after the pause: a loop ends only by ``stop``.
    """

    def __init__(self, name: str, turn: Callable[[], bool], pause: float, gap: float = 0.0) -> None:
        self._name = name
        self._turn = turn
        self._pause = pause
        self._gap = gap
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Makes the next turn come at once; any number of calls during a turn make one more turn."""
        self._wake.set()

    def stop(self) -> None:
        """Waits for the end of the turn under way."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            start = time.monotonic()
            try:
                more = self._turn()
            except Exception:
                LOG.exception("A turn of %s failed; the next one comes in %s s", self._name, self._pause)
                more = False
            if not more:
                self._wake.wait(self._pause)
                _rest(start + self._gap, self._gap)


def _rest(until: float, gap: float) -> None:
    """Sleeps until then, and a tenth of the gap at least: what was sent together also arrives together."""
    left = max(until - time.monotonic(), gap / 10)
    if left > 0:
        time.sleep(left)


class Batcher(Generic[Q, A]):
    """Lets calls that come at the same time share one transaction.

    ``submit`` waits for its own answer. While a batch is under way, what comes in is gathered into the next one. When
    a batch fails, each of its members is tried alone, so that a bad one fails alone.
    """

    def __init__(self, carry_out: Callable[[list[Q]], list[A]], limit: int = 100, gap: float = 0.0) -> None:
        self._carry_out = carry_out
        self._limit = limit
        self._gap = gap
        self._next = 0.0  # earliest start of a batch that is not full
        self._waiting: list[_Place[Q, A]] = []
        self._guard = threading.Lock()
        self._turn = threading.Lock()

    def submit(self, request: Q) -> A:
        """The answer to this request; raises what ``carry_out`` raises for it."""
        place: _Place[Q, A] = _Place(request)
        with self._guard:
            self._waiting.append(place)
        with self._turn:  # whoever comes first serves all who wait
            while not place.done:
                if len(self._waiting) < self._limit:
                    _rest(self._next, self._gap)
                self._next = time.monotonic() + self._gap
                with self._guard:
                    batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                self._serve(batch)
        if place.error is not None:
            raise place.error
        return place.answers[0]

    def _serve(self, batch: list[_Place[Q, A]]) -> None:
        try:
            answers = self._carry_out([place.request for place in batch])
        except Exception as error:  # noqa: BLE001 - handed to the callers
            if len(batch) > 1:
                for place in batch:
                    self._serve([place])
                return
            batch[0].error, batch[0].done = error, True
            return
        for place, answer in zip(batch, answers, strict=True):
            place.answers, place.done = [answer], True


class _Place(Generic[Q, A]):
    def __init__(self, request: Q) -> None:
        self.request = request
        self.answers: list[A] = []
        self.error: Exception | None = None
        self.done = False
