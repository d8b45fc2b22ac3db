# SPDX-License-Identifier: Apache-2.0
"""Conductors and schedulers: the real functions on a real database, called as ``conductor.service`` and
``scheduler.service`` call them, by processes that crash between transactions."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from coriolis.conductor import advance, ingest, ledger, reaper, relay
from coriolis.domain.model import Role, TaskState
from coriolis.domain.states import FINAL_TASK_STATES
from coriolis.rpc import messages
from coriolis.rpc.messages import Assign, Attempt, EffectWrite, Register, Result, Sync
from coriolis.scheduler import dispatch
from coriolis.store.engine import Database
from tests.simulation.world import Network, Process, World

LEASE = 30.0
QUARANTINE = dt.timedelta(seconds=60)
GRACE = 20.0  # twice the period of syncs
POLL, RELAY = 15.0, 10.0  # hints come first; what is lost is found by the next look


class Crash(Exception):
    """The process that runs this transaction dies before, or just after it."""


class SimDatabase(Database):
    """The real one. Around each transaction of a process that may crash, the simulation has its say."""

    world: World
    crash_chance = 0.0
    twice_chance = 0.0  # a commit whose answer was lost: the same transaction again
    busy = False  # a process of the simulation is in one of its transactions

    def write(self, use: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.busy:
            return super().write(use, *args, **kwargs)
        world = self.world
        if world.chance(self.crash_chance):
            raise Crash
        if world.chance(self.twice_chance):
            super().write(use, *args, **kwargs)
        value = super().write(use, *args, **kwargs)
        if world.chance(self.crash_chance):
            raise Crash
        self.busy = False
        world.let_others_run()
        self.busy = True
        return value


class Site:
    """All processes of one control plane, and what the simulation knows that they do not."""

    def __init__(self, world: World, db: SimDatabase, network: Network) -> None:
        self.world, self.db, self.network = world, db, network
        self.truth = sqlite3.connect(db.url.database, isolation_level=None)  # looks past all code under test
        self.conductors = [Conductor(self, number) for number in range(2)]
        self.schedulers = [Scheduler(self) for _ in range(2)]
        self.listeners: dict[str | None, Callable[[Any], None]] = {}
        self.completed: dict[str, set[int]] = {}
        self.perhaps: set[tuple[str, int, str]] = set()  # attempts whose result may be stored already
        self.befall: Callable[[Any], None] = lambda child: None

    # ---- messages

    def call(self, caller: Process, request: Any, timeout: float, answered: Callable[[Any], None]) -> None:
        """Asks some conductor. ``answered`` gets the reply, or None after the timeout."""
        over = False

        def once(reply: Any) -> None:
            nonlocal over
            if not over:
                over = True
                answered(reply)

        def back(reply: Any) -> None:
            if not caller.is_cut:
                self.network.send(lambda: caller.after(0.0, lambda: once(reply)))

        def deliver() -> None:
            up = [conductor for conductor in self.conductors if conductor.alive]
            if up:
                self.world.rng.choice(up).answer(request, back)

        if not caller.is_cut:
            self.network.send(deliver)
        caller.after(timeout, lambda: once(None))

    def cast(self, topic: str, message: Any, server: str | None = None) -> None:
        """``rpc.bus.Bus.cast``, as far as the relay uses it."""
        if topic == messages.WORKER:
            self.network.send(lambda: self.listeners.get(server, lambda _: None)(message))
        elif topic == messages.SCHEDULER:
            self.network.send(lambda: self.world.rng.choice(self.schedulers).wake())
        else:
            self.network.send(lambda: self.world.rng.choice(self.conductors).wake())

    # ---- the truth

    def owns(self, attempt: Attempt) -> bool:
        """Whether the attempt owns its task now, by an independent look."""
        query = """SELECT 1 FROM task JOIN session ON session.id = task.session_id AND session.state = 'live'
                   WHERE task.state = 'RUNNING' AND (task.id, task.epoch, task.session_id) = (?, ?, ?)"""
        return self.truth.execute(query, _key(attempt)).fetchone() is not None

    def check_result(self, result: Result, owned: bool, accepted: bool) -> None:
        key = _key(result.attempt)
        if not accepted:
            if not owned:
                self.world.count("zombie writes refused")
            return
        if not owned and key not in self.perhaps:
            self.world.count("zombie writes accepted")
            self.world.blame(f"the result of a zombie was accepted: {key}")
        if result.outcome == "completed":
            epochs = self.completed.setdefault(key[0], set())
            epochs.add(key[1])
            if len(epochs) > 1:
                self.world.count("double completions")
                self.world.blame(f"completed twice: {key[0]} in epochs {sorted(epochs)}")

    def check_effect(self, write: EffectWrite, owned: bool, accepted: bool) -> None:
        if accepted and not owned:
            self.world.count("zombie writes accepted")
            self.world.blame(f"the effect of a zombie was accepted: {write.attempt}")
        elif not accepted and not owned:
            self.world.count("zombie writes refused")

    def check_sync(self, request: Sync, owned: dict[str, bool], reply: messages.SyncReply) -> None:
        for report in request.attempts:
            if not owned[report.task_id]:
                if reply.accepted and report.task_id not in reply.revoke:
                    self.world.count("zombie writes accepted")
                    self.world.blame(f"the report of a zombie was accepted: {report.task_id}")
                else:
                    self.world.count("zombie writes refused")

    def check_assigns(self, assigns: list[Assign]) -> None:
        """No task before its parents."""
        for assign in assigns:
            query = "SELECT id, role, state, parents FROM task WHERE (execution_id, instance) = (?, ?)"
            rows = self.truth.execute(query, (assign.execution_id, assign.instance)).fetchall()
            states = {row[0]: row[2] for row in rows}
            role, parents = next((row[1], json.loads(row[3])) for row in rows if row[0] == assign.attempt.task_id)
            allowed = {TaskState.COMPLETED} if role == Role.WORK else FINAL_TASK_STATES
            if not {states[parent] for parent in parents} <= allowed:
                self.world.blame(f"{assign.name} was released before its parents")
            if role == Role.UNDO and not {row[2] for row in rows if row[1] == Role.WORK} <= FINAL_TASK_STATES:
                self.world.blame(f"{assign.name} was released before the work was over")


def _key(attempt: Attempt) -> tuple[str, int, str]:
    return attempt.task_id, attempt.epoch, attempt.session_id


class _Service(Process):
    """Crashes when a transaction says so, and comes back after a while, having forgotten everything."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.world)
        self.site = site
        self.lives = 1

    def guarded(self, work: Callable[[], Any]) -> Any:
        """The value of ``work``, or None when it crashed."""
        db = self.site.db
        before, db.busy = db.busy, True
        try:
            return work()
        except Crash:
            self.world.count("crashes of services")
            self._crash()
            return None
        finally:
            db.busy = before

    def _crash(self) -> None:
        self.alive = False
        self.forget()

        def start() -> None:
            self.alive = True
            self.lives += 1
            self.begin()

        self.world.at(self.world.rng.uniform(2.0, 20.0), start)

    def forget(self) -> None: ...

    def begin(self) -> None: ...

    def loop(self, work: Callable[[], Any], period: float) -> None:
        life = self.lives

        def turn() -> None:
            if self.lives != life:
                return
            self.guarded(work)
            self.after(period * self.world.rng.uniform(0.7, 1.3), turn)

        self.after(self.world.rng.uniform(0.0, period), turn)


class Conductor(_Service):
    def __init__(self, site: Site, number: int) -> None:
        super().__init__(site)
        self.number = number
        self._batch: list[tuple[Any, Callable[[Any], None]]] = []
        self.begin()

    def begin(self) -> None:
        self.loop(self._advance, POLL)
        self.loop(self._relay, RELAY)
        self.loop(self._reap, POLL)

    def forget(self) -> None:
        self._batch.clear()

    def wake(self) -> None:
        self.after(0.0, lambda: self.guarded(self._advance))

    def _advance(self) -> None:
        if advance.compile_pending(self.site.db, limit=2) + advance.cancel_asked(
            self.site.db, limit=2, quarantine=QUARANTINE
        ):
            self._relay_soon()

    def _reap(self) -> None:
        if reaper.reap(self.site.db, lease_seconds=LEASE, quarantine=QUARANTINE):
            self._relay_soon()

    def _relay(self) -> None:
        relay.relay(self.site.db, self.site, limit=20)  # type: ignore[arg-type]

    def _relay_soon(self) -> None:
        self.after(0.0, lambda: self.guarded(self._relay))

    def answer(self, request: Any, reply: Callable[[Any], None]) -> None:
        """Registrations and syncs at once; results and effects in batches, as the service does."""
        db, site = self.site.db, self.site
        if isinstance(request, Register):
            found = self.guarded(lambda: ingest.register(db, request, lease_seconds=LEASE, sync_seconds=10.0))
            if found is not None:
                reply(found)
        elif isinstance(request, Sync):
            found = self.guarded(lambda: self._sync(request))
            if found is not None:
                reply(found)
        else:
            if not self._batch:
                self.after(0.05, self._flush)
            self._batch.append((request, reply))
        site.world.count("requests")

    def _sync(self, request: Sync) -> Any:
        site = self.site
        owned = {
            report.task_id: site.owns(
                Attempt(task_id=report.task_id, epoch=report.epoch, session_id=request.session_id)
            )
            for report in request.attempts
        }
        found = ingest.sync(site.db, request, grace_seconds=GRACE)
        site.check_sync(request, owned, found)
        return found

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self.guarded(lambda: self._take(batch))

    def _take(self, batch: list[tuple[Any, Callable[[Any], None]]]) -> None:
        site = self.site
        for kind, take, check in (
            (EffectWrite, lambda all_: ledger.write(site.db, all_), site.check_effect),
            (Result, lambda all_: ingest.results(site.db, all_, quarantine=QUARANTINE), site.check_result),
        ):
            chosen = [(request, reply) for request, reply in batch if isinstance(request, kind)]
            if not chosen:
                continue
            owned = [site.owns(request.attempt) for request, _ in chosen]
            # Should we crash after the commit, an owner's result is in although nobody was told.
            site.perhaps |= {_key(request.attempt) for (request, _), own in zip(chosen, owned, strict=True) if own}
            acks = take([request for request, _ in chosen])
            for (request, reply), own, ack in zip(chosen, owned, acks, strict=True):
                check(request, own, ack.accepted)  # type: ignore[operator]
                reply(ack)
            if kind is Result:
                self._relay_soon()


class Scheduler(_Service):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.begin()

    def begin(self) -> None:
        self.loop(self._dispatch, POLL)

    def wake(self) -> None:
        self.after(0.0, lambda: self.guarded(self._dispatch))

    def _dispatch(self) -> None:
        done = dispatch.dispatch(self.site.db, limit=10, tasks_per_endpoint=6)
        self.site.check_assigns(done.assigns)
        for assign in done.assigns:
            self.site.cast(messages.WORKER, dataclasses.replace(assign), server=assign.attempt.session_id)
