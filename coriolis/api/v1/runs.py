# SPDX-License-Identifier: Apache-2.0
"""Executions with their tasks, for whoever shows some: a constant number of statements for any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.api.schemas.jobs import STATUSES
from coriolis.api.views import executions as view
from coriolis.api.views import tasks as task_views
from coriolis.commands import graphs
from coriolis.domain.errors import Invalid
from coriolis.domain.model import ExecutionState
from coriolis.rpc.messages import Wake
from coriolis.store import actions, events, progress, replicas, tasks
from coriolis.store.rows import Action, Execution, Replica

Json = Any

NEWS = Wake(what="advance")  # a hint: without it, the conductor finds what is new at its next look

_NO_STATE = ("",)
EVENTS_SHOWN = 200  # of each task; .../events has all


def statuses(words: Sequence[str]) -> tuple[str, ...]:
    """The statuses that are asked for. :raises Invalid: one is none"""
    for word in words:
        if word not in STATUSES:
            raise Invalid(f"status must be one of {', '.join(STATUSES)}, not {word[:40]!r}", field="status")
    return tuple(words)


def stored_states(words: Sequence[str]) -> tuple[str, ...]:
    """The states of executions that the wire shows with one of these words."""
    found = tuple(state.value for state in ExecutionState if view.shown_as(state) in words)
    return found or _NO_STATE if words else ()


def shown(conn: Connection, runs: Sequence[Execution]) -> list[Json]:
    """These executions, with tasks, progress and the latest events."""
    found = tasks_of(conn, runs)
    return [view.execution(run, found[run.id]) for run in runs]


def tasks_of(conn: Connection, runs: Sequence[Execution]) -> dict[str, list[Json]]:
    """The tasks of these executions on the wire, by execution; of one that has none yet, those that it will have."""
    stored = tasks.of_executions(conn, [run.id for run in runs])
    rows = [task for found in stored.values() for task in found]
    keys = [task.id for task in rows]
    done = progress.of_tasks(conn, keys)
    history = events.of_tasks(conn, keys, EVENTS_SHOWN)
    new = [run for run in runs if run.state == ExecutionState.PENDING and not stored[run.id]]
    jobs = actions.find(conn, sorted({run.action_id for run in new})) if new else {}
    for run in new:
        stored[run.id] = graphs.preview(conn, jobs[run.action_id], run)
    return {run_id: task_views.tasks(found, done, history) for run_id, found in stored.items()}


def machines(conn: Connection, rows: Sequence[Action]) -> dict[str, dict[str, Replica]]:
    """What is known of the machines of each job, by name."""
    wanted = {(row.replica_of, n): row.id for row in rows for n in range(len(row.instances))}
    found: dict[str, dict[str, Replica]] = {row.id: {} for row in rows}
    for place, one in replicas.find(conn, sorted(wanted)).items():
        for row in rows:
            if row.replica_of == place[0]:
                found[row.id][one.instance] = one
    return found
