# SPDX-License-Identifier: Apache-2.0
"""Conductors and schedulers with their loops, over a bus; the worker is played by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.commands import migrations as commands
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.conductor.service import ConductorService, ConductorSettings
from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import CONDUCTOR, SCHEDULER, WORKER, Assign, Cancel, Register, Result, Sync, Wake
from coriolis.runtime.loops import Batcher, Loop
from coriolis.scheduler.service import SchedulerService, SchedulerSettings
from coriolis.store import actions, schema
from coriolis.store.engine import Database
from tests.unit.conductor.rig import CALLER, DEFINITION, well


class Worker:
    """Ends each attempt well as soon as it is assigned; counts doubles."""

    def __init__(self, bus: LocalBus) -> None:
        self.bus = bus
        request = Register(host="here", pid=1, providers={"null": sorted(DEFINITION)}, slots=50)
        self.session_id = bus.call(CONDUCTOR, request).session_id
        self.refused = 0
        self.seen: list[Any] = []
        self.served = bus.serve(WORKER, self.session_id, {"assign": self.assign, "cancel": self.cancel})

    def assign(self, request: Assign) -> None:
        self.seen.append(request.attempt)
        if not self.bus.call(CONDUCTOR, Result(attempt=request.attempt, **well(request))).accepted:
            self.refused += 1

    def cancel(self, _: Cancel) -> None:
        raise AssertionError("nothing is cancelled here")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/service.sqlite", synchronous="OFF")
    schema.upgrade(database)
    yield database
    database.dispose()


def test_several_of_each_run_many_migrations(db: Database) -> None:
    bus = LocalBus()
    settings = {"poll_seconds": 0.2}
    services = [ConductorService(ConductorSettings(**settings), db, bus) for _ in range(2)]
    services += [SchedulerService(SchedulerSettings(**settings), db, bus) for _ in range(2)]  # type: ignore[misc]
    for service in services:
        service.start()
    worker = Worker(bus)
    ends = [NewEndpoint(name=side, type="null", sealed="x") for side in ("from", "to")]
    made = []
    for number in range(20):
        spec = NewMigration(origin=ends[0], destination=ends[1], instances=(f"vm-{number}",))
        made.append(commands.create(db, CALLER, spec).id)
        bus.cast(CONDUCTOR, Wake(what="advance"))
    waited = threading.Event()
    for _ in range(300):
        states = {row.last_execution_status for row in db.read(actions.find, made).values()}
        if states == {"COMPLETED"}:
            break
        waited.wait(0.05)
    for service in reversed(services):
        service.stop()
    bus.close()
    assert states == {"COMPLETED"}
    assert worker.refused == 0
    assert len(worker.seen) == len(set(worker.seen)) == 80


def test_a_sync_of_nobody_is_refused(db: Database) -> None:
    conductor = ConductorService(ConductorSettings(), db, LocalBus())
    assert not conductor.sync(Sync(session_id="nobody")).accepted


def test_a_wake_reaches_the_scheduler(db: Database) -> None:
    bus = LocalBus()
    scheduler = SchedulerService(SchedulerSettings(poll_seconds=60), db, bus)
    scheduler.start()
    bus.cast(SCHEDULER, Wake(what="dispatch"))
    scheduler.stop()
    bus.close()


def test_a_batch_gathers_what_comes_meanwhile() -> None:
    entered, go = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def carry_out(batch: list[int]) -> list[int]:
        batches.append(batch)
        entered.set()
        assert go.wait(10)
        return [10 * one for one in batch]

    batcher: Batcher[int, int] = Batcher(carry_out, limit=3)
    answers: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: batcher.submit(n)})) for n in range(8)]
    threads[0].start()
    assert entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(batcher._waiting) < 7:
        threading.Event().wait(0.001)
    go.set()
    for thread in threads:
        thread.join(10)
    assert answers == {n: 10 * n for n in range(8)}
    assert [len(batch) for batch in batches] == [1, 3, 3, 1]


def test_a_bad_member_of_a_batch_fails_alone() -> None:
    def carry_out(batch: list[int]) -> list[int]:
        if 3 in batch:
            raise ValueError("three")
        return batch

    batcher: Batcher[int, int] = Batcher(carry_out)
    assert batcher.submit(1) == 1
    with pytest.raises(ValueError, match="three"):
        batcher.submit(3)


def test_a_loop_survives_a_bad_turn() -> None:
    turns = threading.Semaphore(0)
    count = iter(range(1000))

    def turn() -> bool:
        turns.release()
        if next(count) == 0:
            raise RuntimeError("bad turn")
        return False

    loop = Loop("test", turn, 0.01)
    loop.start()
    assert all(turns.acquire(timeout=10) for _ in range(3))
    loop.stop()
