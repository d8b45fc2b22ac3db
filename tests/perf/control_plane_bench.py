# SPDX-License-Identifier: Apache-2.0
"""Tasks per second and SQL statements per task of a running control plane: API commands, conductor, scheduler, bus and
SQLite in one process, with 1,000 and with 10,000 migrations of four tasks. The worker ends each attempt as soon as it
is assigned, so that what is measured is the engine; ``measure`` takes any running system.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from coriolis.commands import migrations as commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.conductor.service import ConductorService, ConductorSettings
from coriolis.domain.capabilities import Capability
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import CONDUCTOR, WORKER, Assign, Cancel, Register, Result, Sync
from coriolis.runtime.loops import Loop
from coriolis.scheduler.service import SchedulerService, SchedulerSettings
from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.store.tables import execution, task

# What a task costs when it goes through the engine alone (tests/unit/conductor/test_cost.py), create included. In
# company it costs less, and never more, however many there are.
STATEMENTS_PER_TASK = 24
DEFINITION = (
    Capability.INVENTORY,
    Capability.NETWORKS,
    Capability.STORAGE,
    Capability.PLANNING,
    Capability.COMPUTE,
)
GIVES: dict[str, dict[str, Any]] = {
    "inspect": {"vm": {"name": "vm"}},
    "plan": {"layout": {}},
    "deploy": {"deployed": {}},
    "finalize": {"transfer_result": {"name": "vm"}},
}


@dataclass(frozen=True)
class System:
    """What is measured: the database of a running system, and how to ask it for one migration."""

    db: Database
    create: Callable[[int], object]


@dataclass(frozen=True)
class Figures:
    migrations: int
    tasks: int
    seconds: float
    statements: int

    @property
    def per_second(self) -> float:
        return self.tasks / self.seconds

    @property
    def per_task(self) -> float:
        return self.statements / self.tasks


def run(*, quick: bool = False) -> list[dict[str, Any]]:
    sizes = (100, 300) if quick else (1_000, 10_000)
    return [row for size in sizes for row in rows("engine", _one(size))]


def rows(name: str, figures: Figures) -> list[dict[str, Any]]:
    """Of one size: the speed, for orientation, and the statements, which are bound."""
    size = f"{figures.migrations:,} migrations of {figures.tasks // figures.migrations} tasks"
    common = {"peer": None, "ratio": None}
    return [
        {
            **common,
            "name": f"{name}: tasks per second, {size}",
            "ours": round(figures.per_second, 1),
            "unit": "tasks/s",
            "bar": None,
            "holds": None,
        },
        {
            **common,
            "name": f"{name}: SQL statements per task, {size}",
            "ours": round(figures.per_task, 2),
            "unit": "statements",
            "bar": STATEMENTS_PER_TASK,
            "holds": figures.per_task <= STATEMENTS_PER_TASK,
        },
    ]


def _one(size: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="cor-bench-") as folder, engine(Path(folder)) as system:
        return measure(system, size)


def measure(system: System, count: int, *, limit_seconds: float = 3600.0) -> Figures:
    """Asks for ``count`` migrations and waits until all of them are over. Statements and seconds are from the first
    request to the last task, creates included."""
    before = _counts(system.db)
    start = time.monotonic()
    with system.db.counting() as statements:
        for number in range(count):
            system.create(number)
        looks = 0
        while (now := _counts(system.db))[0] < before[0] + count:
            looks += 1
            if time.monotonic() > start + limit_seconds:
                raise TimeoutError(f"only {now[0] - before[0]} of {count} migrations are over")
            time.sleep(0.1)
        seconds = time.monotonic() - start
        spent = statements() - 2 * looks
    return Figures(count, now[1] - before[1], seconds, spent)


def _counts(db: Database) -> tuple[int, int]:
    """(executions that are over, tasks that were completed)"""
    final = [state.value for state in FINAL_EXECUTION_STATES]
    with db.reader() as conn:
        over = conn.execute(select(func.count()).where(execution.c.state.in_(final))).scalar_one()
        done = conn.execute(select(func.count()).where(task.c.state == "COMPLETED")).scalar_one()
    return int(over), int(done)


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[System]:
    """Conductor, scheduler and a worker that does nothing, on a SQLite file that survives a power cut."""
    db = Database(f"sqlite:///{folder}/bench.sqlite")
    schema.upgrade(db)
    bus = LocalBus()
    services = [
        ConductorService(ConductorSettings(poll_seconds=1.0), db, bus),
        SchedulerService(SchedulerSettings(poll_seconds=1.0, tasks_per_endpoint=1000), db, bus),
    ]
    for service in services:
        service.start()
    worker = IdleWorker(bus)
    worker.beat.start()
    caller = Caller(user_id="bench", project_id="bench")
    ends = [NewEndpoint(name=side, type="null", sealed="x") for side in ("from", "to")]

    def create(number: int) -> object:
        spec = NewMigration(origin=ends[0], destination=ends[1], instances=(f"vm-{number}",))
        return commands.create(db, caller, spec)

    yield System(db, create)
    worker.beat.stop()
    for service in reversed(services):
        service.stop()
    bus.close()
    db.dispose()


class IdleWorker:
    """Ends each attempt well as soon as it is assigned."""

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus
        request = Register(host="bench", pid=1, providers={"null": sorted(DEFINITION)}, slots=64)
        self._session_id = bus.call(CONDUCTOR, request).session_id
        bus.serve(WORKER, self._session_id, {"assign": self._assign, "cancel": self._cancel})
        self.beat = Loop("beat", self._sync, 5.0)

    def _assign(self, request: Assign) -> None:
        outputs = GIVES.get(request.kind, {})
        self._bus.call(CONDUCTOR, Result(attempt=request.attempt, outcome="completed", outputs=outputs))

    def _cancel(self, _: Cancel) -> None:
        raise AssertionError("nothing is cancelled here")

    def _sync(self) -> bool:
        self._bus.call(CONDUCTOR, Sync(session_id=self._session_id))
        return False


if __name__ == "__main__":
    print(*run(), sep="\n")
