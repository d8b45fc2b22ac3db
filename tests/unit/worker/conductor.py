# SPDX-License-Identifier: Apache-2.0
"""A fake conductor: keeps in memory what workers tell it, and says what a test wants it to say."""

from __future__ import annotations

import base64
import itertools
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coriolis.domain.errors import Unavailable
from coriolis.rpc.bus import Bus, Served
from coriolis.rpc.messages import (
    CONDUCTOR,
    WORKER,
    Ack,
    Assign,
    Attempt,
    AttemptReport,
    Effect,
    EffectAck,
    EffectWrite,
    Endpoint,
    JournalAck,
    JournalOpen,
    JournalOpened,
    JournalPieces,
    JournalRead,
    JournalWrite,
    Register,
    Registered,
    Result,
    Sync,
    SyncReply,
)
from coriolis.worker import forks, proctree
from coriolis.worker.agent import WorkerService


@dataclass
class Shelf:
    """Journals, kept as the conductor does, but for the fence."""

    data: dict[str, bytes] = field(default_factory=dict)
    drafts: dict[str, bytes] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        return {"journal_open": self.open, "journal_read": self.read, "journal_write": self.write}

    def open(self, request: JournalOpen) -> JournalOpened:
        before = self.turns.get(request.name, 0)
        self.turns[request.name] = before + 1
        length = len(self.data.setdefault(request.name, b""))
        return JournalOpened(accepted=True, before=before, turn=before + 1, length=length)

    def read(self, request: JournalRead) -> JournalPieces:
        data = self.data[request.name]
        piece = base64.b64encode(zlib.compress(data[request.offset :])).decode()
        return JournalPieces(accepted=True, pieces=(piece,), end=len(data))

    def write(self, request: JournalWrite) -> JournalAck:
        name, piece = request.name, zlib.decompress(base64.b64decode(request.data))
        if request.turn != self.turns[name]:
            return JournalAck(accepted=False)
        if request.draft:
            self.drafts[name] = self.drafts.get(name, b"")[: request.offset] + piece
            if request.done:
                self.data[name] = self.drafts.pop(name)
        elif request.offset == len(self.data[name]):
            self.data[name] += piece
        return JournalAck(accepted=True, length=len(self.data[name]))


@dataclass
class FakeConductor:
    bus: Bus
    lease_seconds: float = 30.0
    sync_seconds: float = 0.1
    alive: bool = True  # of the current session
    away: bool = False  # answers nothing but errors
    frozen: threading.Event = field(default_factory=threading.Event)  # calls hang while it is set
    ack: Callable[[Result], bool] = lambda result: True
    accept_effect: Callable[[EffectWrite], bool] = lambda write: True
    registered: list[Register] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)
    reports: list[AttemptReport] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    effects: dict[str, Effect] = field(default_factory=dict)
    writes: list[EffectWrite] = field(default_factory=list)
    reply: SyncReply = field(default_factory=lambda: SyncReply(accepted=True))  # the next replies
    changed: threading.Condition = field(default_factory=threading.Condition)
    served: Served | None = None
    shelf: Shelf = field(default_factory=Shelf)

    def serve(self) -> FakeConductor:
        self.served = self.bus.serve(
            CONDUCTOR,
            "fake",
            {
                "register": self._register,
                "sync": self._sync,
                "result": self._result,
                "effect": self._effect,
                **self.shelf.handlers(),
            },
        )
        return self

    def reset(self) -> None:
        """As in the beginning, but for who is registered."""
        with self.changed:
            self.away, self.alive = False, True
            self.frozen.clear()
            self.ack, self.accept_effect = lambda result: True, lambda write: True
            self.reply = SyncReply(accepted=True)
            for said in (self.syncs, self.reports, self.results, self.writes, self.effects):
                said.clear()
        self.handle("sync", self._sync)
        self.handle("result", self._result)

    def handle(self, method: str, handler: Callable[[Any], Any]) -> None:
        """Lets another handler answer the method."""
        self.served._handlers[method] = handler  # type: ignore[union-attr]

    def wait(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Until something that arrived makes ``condition`` true."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "the worker did not do it in time"

    def said(self, task_id: str, item: str = "at") -> str:
        """The text of an item of progress, once it is there."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [p.message for r in self.reports if r.task_id == task_id for p in r.progress if p.item == item]
            return bool(found)

        self.wait(look)
        return found[-1]

    def result_of(self, task_id: str, seconds: float = 20.0) -> Result:
        self.wait(lambda: any(r.attempt.task_id == task_id for r in self.results), seconds)
        return next(r for r in self.results if r.attempt.task_id == task_id)

    def _gate(self) -> None:
        limit = time.monotonic() + 60
        while self.frozen.is_set() and time.monotonic() < limit:
            time.sleep(0.01)
        if self.away:
            raise Unavailable("no database")

    def _register(self, request: Register) -> Registered:
        self._gate()
        with self.changed:
            self.registered.append(request)
            self.alive = True
            self.changed.notify_all()
            return Registered(
                session_id=f"session-{len(self.registered)}",
                lease_seconds=self.lease_seconds,
                sync_seconds=self.sync_seconds,
            )

    def _sync(self, request: Sync) -> SyncReply:
        self._gate()
        with self.changed:
            self.syncs.append(request)
            self.reports += request.attempts
            current = request.session_id == f"session-{len(self.registered)}" and self.alive
            self.changed.notify_all()
            return self.reply if current else SyncReply(accepted=False)

    def _result(self, result: Result) -> Ack:
        self._gate()
        with self.changed:
            self.results.append(result)
            if result.report is not None:
                self.reports.append(result.report)
            self.changed.notify_all()
            return Ack(accepted=self.ack(result))

    def _effect(self, write: EffectWrite) -> EffectAck:
        self._gate()
        with self.changed:
            self.writes.append(write)
            accepted = self.accept_effect(write)
            if accepted:
                self.effects[write.effect.key] = write.effect
            self.changed.notify_all()
            return EffectAck(accepted=accepted, effect=self.effects.get(write.effect.key))


class Bench:
    """A running worker and what a test does to it."""

    def __init__(self, bus: Bus, conductor: FakeConductor, service: WorkerService, key_file: str = "") -> None:
        self.bus, self.conductor, self.service, self.key_file = bus, conductor, service, key_file
        self.endpoint = Endpoint(type="trial")
        self._numbers = itertools.count(1)

    def assign(self, instance: str, task_id: str | None = None, **changes: Any) -> str:
        """Casts an attempt of kind inspect; gives the task id.

        It is a new one each time: a cancel that a test before left on its way must not meet this test's attempt.
        """
        task_id = task_id or f"task-{instance}-{next(self._numbers)}"
        epoch = changes.pop("epoch", 1)
        session = self.service.session_id
        assert session is not None
        values: dict[str, Any] = {
            "attempt": Attempt(task_id=task_id, epoch=epoch, session_id=session),
            "execution_id": "execution-1",
            "project_id": "p",
            "instance": instance,
            "kind": "inspect",
            "name": "inspect",
            "source": self.endpoint,
            "destination": self.endpoint,
            "request_id": "req-1",
        }
        self.bus.cast(WORKER, Assign(**{**values, **changes}), server=session)
        return task_id

    def tree(self) -> list[int]:
        """Everything below the worker's fork server, and what got away from it."""
        server = self.service._warm.current()
        below = proctree.descendants(server.pid) if server is not None else []
        return sorted({*below, *proctree.marked(forks.MARK, self.service._mark)} - ({server.pid} if server else set()))


def until(condition: Callable[[], object], seconds: float = 15.0) -> bool:
    """Whether it becomes true in time; for what sends no message."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True
