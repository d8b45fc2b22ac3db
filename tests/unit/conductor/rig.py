# SPDX-License-Identifier: Apache-2.0
"""The engine without processes: a database, and workers that are played by the test, on a clock that it sets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coriolis.commands import migrations as commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.conductor import advance, ingest, reaper, relay
from coriolis.domain.capabilities import Capability
from coriolis.rpc.messages import Ack, Assign, AttemptReport, Error, Register, Result, Sync, SyncReply
from coriolis.scheduler.dispatch import dispatch
from coriolis.store import actions, executions, tasks
from coriolis.store.engine import Database
from coriolis.store.paging import Page
from coriolis.store.rows import Action, Execution, Task

LEASE = 30.0
QUARANTINE = dt.timedelta(seconds=60)
CALLER = Caller(user_id="user", project_id="project", request_id="req-1")

DEFINITION = frozenset(
    {Capability.INVENTORY, Capability.PLANNING, Capability.COMPUTE, Capability.NETWORKS, Capability.STORAGE}
)
EVERYTHING = frozenset(Capability)

# What a worker of these tests gives for a kind of task, unless the test says otherwise.
GIVES: dict[str, dict[str, Any]] = {
    "inspect": {"vm": {"name": "vm", "devices": {"disks": [{"id": "disk-0"}, {"id": "disk-1"}]}}},
    "check_source": {"concerns": []},
    "plan": {"layout": {}},
    "volumes": {"volumes": {"disk-0": "v0", "disk-1": "v1"}},
    "snapshot": {"snapshot": {"id": "s"}},
    "copy": {"digest": "d"},
    "verify": {"verified": True},
    "deploy": {"deployed": {"id": "new"}},
    "finalize": {"transfer_result": {"id": "new", "name": "moved"}},
}


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)

    def __call__(self) -> dt.datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


class Wire:
    """A bus that keeps what is cast."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any, str | None]] = []

    def cast(self, topic: str, request: Any, *, server: str | None = None) -> None:
        self.sent.append((topic, request, server))


Behave = Callable[[Assign], Mapping[str, Any]]  # fields of the Result


def well(assign: Assign) -> Mapping[str, Any]:
    """Ends every task well."""
    return {"outcome": "completed", "outputs": GIVES.get(assign.kind, {})}


def badly(*kinds: str, retryable: bool = False) -> Behave:
    """Fails the tasks of these kinds."""
    error = Error(code="provider.invalid", message="It does not work.", retryable=retryable)

    def behave(assign: Assign) -> Mapping[str, Any]:
        return {"outcome": "failed", "error": error} if assign.kind in kinds else well(assign)

    return behave


@dataclass
class Rig:
    db: Database
    clock: Clock
    sessions: list[str] = field(default_factory=list)

    # ---- what a user does ------------------------------------------------------------------------------------------

    def create(self, *instances: str, kind: str = "null", **more: Any) -> Action:
        ends = [NewEndpoint(name=side, type=kind, sealed="ciphertext") for side in ("from", "to")]
        spec = NewMigration(origin=ends[0], destination=ends[1], instances=instances or ("vm-1",), **more)
        return commands.create(self.db, CALLER, spec)

    def cancel(self, migration: Action, *, force: bool = False) -> None:
        commands.cancel(self.db, CALLER, migration.id, force=force)
        self.advance()

    # ---- what is in the store --------------------------------------------------------------------------------------

    def migration(self, migration: Action) -> Action:
        return self.db.read(actions.get, migration.id, None)

    def execution(self, migration: Action) -> Execution:
        return self.db.read(executions.latest, [migration.id])[migration.id]

    def tasks(self, migration: Action) -> dict[str, Task]:
        """Every task by its name (of the first instance that has it)."""
        run = self.execution(migration)
        rows = self.db.read(tasks.page, run.id, Page(), everything=True)
        return {row.name: row for row in reversed(rows)}

    def states(self, migration: Action) -> dict[str, str]:
        return {name: row.status for name, row in self.tasks(migration).items()}

    # ---- what the services do --------------------------------------------------------------------------------------

    def advance(self) -> None:
        while advance.compile_pending(self.db, limit=50):
            pass
        advance.cancel_asked(self.db, limit=50, quarantine=QUARANTINE)

    def dispatch(self, limit: int = 100, per_endpoint: int = 1000) -> list[Assign]:
        return dispatch(self.db, limit=limit, tasks_per_endpoint=per_endpoint).assigns

    def reap(self) -> list[str]:
        return reaper.reap(self.db, lease_seconds=LEASE, quarantine=QUARANTINE)

    def relay(self) -> list[tuple[str, Any, str | None]]:
        wire = Wire()
        relay.relay(self.db, wire, limit=100)  # type: ignore[arg-type]
        return wire.sent

    # ---- what a worker does ----------------------------------------------------------------------------------------

    def worker(self, *, host: str = "host-1", kind: str = "null", slots: int = 100, **more: Any) -> str:
        capabilities = more.pop("capabilities", DEFINITION if kind == "null" else EVERYTHING)
        request = Register(host=host, pid=1, providers={kind: sorted(capabilities)}, slots=slots, **more)
        reply = ingest.register(self.db, request, lease_seconds=LEASE, sync_seconds=5.0)
        self.sessions.append(reply.session_id)
        return reply.session_id

    def sync(self, session_id: str, *reports: AttemptReport, **more: Any) -> SyncReply:
        request = Sync(session_id=session_id, attempts=reports, **more)
        return ingest.sync(self.db, request, grace_seconds=10.0)

    def end(self, assign: Assign, **fields: Any) -> Ack:
        result = Result(attempt=assign.attempt, **(fields or dict(well(assign))))
        return ingest.results(self.db, [result], quarantine=QUARANTINE)[0]

    def run(self, behave: Behave = well, *, until: str | None = None, turns: int = 200) -> None:
        """Compiles, places and ends tasks until nothing is ready; before a task of the kind ``until`` it stops, with
        that task PENDING or RUNNING. Heartbeats go on; delays of retries are waited for on the clock."""
        self.advance()
        for _ in range(turns):
            for session_id in self.sessions:
                ingest.sync(self.db, Sync(session_id=session_id), grace_seconds=1e9)
            assigns = self.dispatch()
            if not assigns:
                self.clock.forward(LEASE / 2)
                assigns = self.dispatch()
                if not assigns and not self._later():
                    return
            self.held = [assign for assign in assigns if assign.kind == until]
            batch = [Result(attempt=assign.attempt, **behave(assign)) for assign in assigns if assign not in self.held]
            ingest.results(self.db, batch, quarantine=QUARANTINE)
            if self.held:
                return
        raise AssertionError("the run does not end")

    def _later(self) -> bool:
        return self.db.read(tasks.counts).get("PENDING", 0) > 0 and bool(self.sessions)

    held: list[Assign] = field(default_factory=list)
