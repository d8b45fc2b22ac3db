# SPDX-License-Identifier: Apache-2.0
"""Lets requests wait for news of executions: one thread asks the database for all of them.

A request that waits holds a seat and nothing else: no connection to the database, and none of the threads that
ordinary requests are answered with (the server has one more for each seat).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

from coriolis.domain.errors import Unavailable
from coriolis.store.pulses import Pulse

LOG = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
_IDLE_SECONDS = 10.0  # then the thread ends; the next request starts another

Look = Callable[[Collection[str]], Mapping[str, Pulse]]


class Busy(Unavailable):
    """All seats are taken."""

    code = "coriolis.too_many_waiting"

    retry_after_seconds = RETRY_AFTER_SECONDS


class Watch:
    """Safe to use from many threads. ``look`` tells the pulses of these executions; ``seats``: requests that may wait
    at the same time; ``seconds``: between two looks."""

    def __init__(self, look: Look, *, seats: int, seconds: float = 0.5) -> None:
        self._look = look
        self._seats = seats
        self._seconds = seconds
        self._news = threading.Condition()
        self._followed: dict[str, int] = {}
        self._pulses: dict[str, Pulse | None] = {}  # None: it is gone; absent: not looked at yet
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._nudge = threading.Event()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """The service stops: nobody waits any longer."""
        self._closed.set()
        self._nudge.set()
        with self._news:
            self._news.notify_all()

    def pause(self, seconds: float) -> None:
        """A moment without a look; shorter when the service stops."""
        self._closed.wait(seconds)

    def follow(self, execution_id: str) -> Seat:
        """:raises Busy: no seat is free. :raises Unavailable: the service stops"""
        with self._news:
            if self.is_closed:
                raise Unavailable("This service stops: ask again in a moment")
            if sum(self._followed.values()) >= self._seats:
                raise Busy(f"{self._seats} requests wait for events already: try again later, or ask without since")
            self._followed[execution_id] = self._followed.get(execution_id, 0) + 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="event-watch", daemon=True)
                self._thread.start()
        self._nudge.set()
        return Seat(self, execution_id)

    def leave(self, execution_id: str) -> None:
        """Gives a seat back."""
        with self._news:
            left = self._followed.pop(execution_id) - 1
            if left:
                self._followed[execution_id] = left
            else:
                self._pulses.pop(execution_id, None)

    def wait(self, execution_id: str, seen: Pulse | None, seconds: float) -> tuple[bool, Pulse | None]:
        """(True, the pulse) as soon as it is another one than ``seen``, with None for an execution that is gone;
        (False, None) when the time is over, or the service stops."""

        def is_new() -> bool:
            return self.is_closed or (execution_id in self._pulses and self._pulses[execution_id] != seen)

        with self._news:
            if self._news.wait_for(is_new, seconds) and not self.is_closed:
                return True, self._pulses[execution_id]
            return False, None

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self.is_closed:
            with self._news:
                wanted = set(self._followed)
                if not wanted and time.monotonic() - idle_since > _IDLE_SECONDS:
                    self._thread = None
                    return
            if wanted:
                idle_since = time.monotonic()
                self._tell(wanted)
            self._nudge.wait(self._seconds)
            self._nudge.clear()

    def _tell(self, wanted: Collection[str]) -> None:
        try:
            found = self._look(wanted)
        except Unavailable as error:
            LOG.warning("no news of executions reason=%s", error.message)
            return
        except Exception:
            LOG.exception("looking for news of executions failed")  # those who wait go on, and run out of time
            return
        with self._news:
            for execution_id in wanted:
                if execution_id in self._followed:
                    self._pulses[execution_id] = found.get(execution_id)
            self._news.notify_all()


class Seat:
    """The right to wait for one execution. Given back once, by whoever comes first."""

    def __init__(self, watch: Watch, execution_id: str) -> None:
        self._watch = watch
        self._execution_id = execution_id
        self._lock = threading.Lock()
        self._taken = True

    def wait(self, seen: Pulse | None, seconds: float) -> tuple[bool, Pulse | None]:
        """As ``Watch.wait``."""
        return self._watch.wait(self._execution_id, seen, seconds)

    def close(self) -> None:
        with self._lock:
            taken, self._taken = self._taken, False
        if taken:
            self._watch.leave(self._execution_id)

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
