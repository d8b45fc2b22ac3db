# SPDX-License-Identifier: Apache-2.0
"""Collects what an attempt says between two syncs: of progress and checkpoint only the latest counts, of events all."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from coriolis.domain.model import Json
from coriolis.rpc.messages import AttemptReport, Event, Progress, Stream

_MOST_EVENTS = 1000  # unsent; a provider that says more loses the oldest
_EVENTS_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A report and what ``Reporter.confirm`` needs to know of it."""

    report: AttemptReport
    versions: dict[str, int]
    checkpoint_version: int


class Reporter:
    """Safe to use from several threads. What was collected is offered again until it is confirmed."""

    def __init__(self, task_id: str, epoch: int) -> None:
        self._task_id, self._epoch = task_id, epoch
        self._lock = threading.Lock()
        self._progress: dict[str, tuple[int, Progress]] = {}  # item -> (version, unsent value)
        self._version = 0
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._seq = 0
        self._checkpoint: Json = None
        self._checkpoint_version = 0
        self._stream: Stream | None = None

    def progress(self, progress: Progress) -> None:
        with self._lock:
            self._version += 1
            self._progress[progress.item] = (self._version, progress)

    def event(self, level: str, message: str) -> None:
        with self._lock:
            self._seq += 1
            self._events.append(Event(seq=self._seq, level=level, message=message))

    def checkpoint(self, value: Json) -> None:
        with self._lock:
            self._checkpoint_version += 1
            self._checkpoint = value

    def stream(self, value: Stream) -> bool:
        """True: the first one."""
        with self._lock:
            first, self._stream = self._stream is None, value
            return first

    @property
    def moves_bytes(self) -> bool:
        return self._stream is not None

    def collect(self, *, all_events: bool = False) -> Collected:
        """Everything unconfirmed."""
        with self._lock:
            events = tuple(self._events)
            return Collected(
                report=AttemptReport(
                    task_id=self._task_id,
                    epoch=self._epoch,
                    progress=tuple(progress for _, progress in self._progress.values()),
                    events=events if all_events else events[:_EVENTS_AT_ONCE],
                    checkpoint=self._checkpoint,
                    stream=self._stream,
                ),
                versions={item: version for item, (version, _) in self._progress.items()},
                checkpoint_version=self._checkpoint_version,
            )

    def confirm(self, collected: Collected) -> None:
        """The conductor has it. What came meanwhile stays."""
        with self._lock:
            for item, version in collected.versions.items():
                if item in self._progress and self._progress[item][0] == version:
                    del self._progress[item]
            sent = {event.seq for event in collected.report.events}
            self._events = deque((e for e in self._events if e.seq not in sent), maxlen=_MOST_EVENTS)
            if collected.checkpoint_version == self._checkpoint_version:
                self._checkpoint = None
