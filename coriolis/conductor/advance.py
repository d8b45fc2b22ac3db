# SPDX-License-Identifier: Apache-2.0
"""Compiles what is new and carries out cancels. Both go by instance, in chunks, so that a job of a thousand
machines does not make one huge transaction. Running the same chunk twice, or in two conductors, changes nothing."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from coriolis.commands import graphs
from coriolis.conductor.plans import Plans
from coriolis.domain.errors import CoriolisError
from coriolis.domain.facts import CancelAsked
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, executions
from coriolis.store.engine import Database
from coriolis.store.events import NewEvent

LOG = logging.getLogger(__name__)

Key = tuple[str, int]


def compile_pending(db: Database, *, limit: int, execution_id: str | None = None) -> int:
    """Stores the graphs of at most ``limit`` instances that have none yet; gives how many were looked at."""

    def use(conn: Connection) -> int:
        keys = executions.uncompiled(conn, limit, execution_id)
        if keys:
            _compile(conn, keys, db.utcnow())
        return len(keys)

    return db.write(use)


def _compile(conn: Connection, keys: Sequence[Key], now: dt.datetime) -> None:
    plans = Plans(conn, keys, now, dt.timedelta(0))
    runs = executions.find(conn, sorted({key[0] for key in keys}))
    jobs = actions.find(conn, sorted({run.action_id for run in runs.values()}))
    seeds = graphs.seeds(conn, {key: jobs[runs[key[0]].action_id].replica_of for key in plans.graphs})
    for key, graph in plans.graphs.items():
        if graph.state is not ExecutionState.PENDING:
            continue
        run = runs[key[0]]
        try:
            given = seeds.get(key, {})
            plans.add(key, graphs.compiled(run, jobs[run.action_id], graph.row.instance, given), given)
            plans.turn(key, ExecutionState.RUNNING)
        except CoriolisError as error:
            plans.turn(key, ExecutionState.ERROR, error.message)
            text = f"{graph.row.instance}: {error.message}"
            plans.tell(NewEvent(execution_id=run.id, level="ERROR", message=text))
    plans.save()


def cancel_asked(db: Database, *, limit: int, quarantine: dt.timedelta) -> int:
    """Carries out the cancels that are asked for, each for all its instances, ``limit`` at a time; gives how many
    executions were looked at."""
    found = db.read(executions.to_cancel, limit)
    for execution_id in found:
        run = db.read(executions.get, execution_id)
        keys = db.read(executions.keys_of, execution_id)
        for start in range(0, len(keys), limit):
            db.write(_cancel, db, keys[start : start + limit], run.cancel_force, quarantine)
        db.write(executions.cancelled, execution_id, force=run.cancel_force)
    return len(found)


def _cancel(conn: Connection, db: Database, keys: Sequence[Key], force: bool, quarantine: dt.timedelta) -> None:
    plans = Plans(conn, keys, db.utcnow(), quarantine)
    for key, graph in plans.graphs.items():
        if graph.state not in FINAL_EXECUTION_STATES:
            plans.take(key, CancelAsked(at=plans.now, force=force))
    plans.save()
