# SPDX-License-Identifier: Apache-2.0
"""What executions and jobs show of their instances: state, percent, bytes. Lists read one row for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import jobs
from coriolis.commands import minion_pools as pool_commands
from coriolis.conductor import minion_pools
from coriolis.domain import progress
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, executions, journals, tasks
from coriolis.store import progress as progress_rows
from coriolis.store.actions import MIGRATION
from coriolis.store.events import shorten
from coriolis.store.rows import Action, Execution, ExecutionInstance

Key = tuple[str, int]

BYTE_KINDS = ("copy", "clone")  # kinds of tasks whose progress counts bytes of disks


def runs(conn: Connection, execution_ids: Sequence[str], now: dt.datetime) -> None:
    """Derives the state of these executions, and of their jobs, from their instances. At most six statements, and a
    few more when a transfer's execution ends.

    The rows of the executions are held first, so that of two conductors which end the last two instances, the later
    one sees both.
    """
    held = executions.hold_runs(conn, execution_ids)
    if not held:
        return
    instances = executions.instances_of(conn, list(held))
    changed = [
        (run, change) for run in held.values() if (change := _run_change(run, instances[run.id], now)) is not None
    ]
    executions.update(conn, [{"b_id": run.id, **change} for run, change in changed])
    before = actions.find(conn, [run.action_id for run, _ in changed if run.number > 1])
    actions.update(
        conn,
        [
            {
                "b_id": run.action_id,
                "last_execution_status": change["state"],
                "message": change["message"],
                "percent": change["percent"],
                "bytes_done": change["bytes_done"],
                "bytes_total": change["bytes_total"],
                "transfer_result": _results(before.get(run.action_id), instances[run.id]),
                "updated_at": now,
            }
            for run, change in changed
        ],
    )
    over = [run.action_id for run, change in changed if change["finished_at"] is not None and run.type == MIGRATION]
    journals.forget(conn, over)  # its disks are handed over, or gone
    for run, change in changed:
        if change["finished_at"] is not None:
            _over(conn, run, ExecutionState(change["state"]), now)
    _pools_over(conn, [run for run, change in changed if change["finished_at"] is not None], now)


def _pools_over(conn: Connection, ended: Sequence[Execution], now: dt.datetime) -> None:
    mine = [run for run in ended if run.type in pool_commands.TYPES]
    found = actions.find(conn, sorted({run.action_id for run in mine}))
    for run in mine:
        minion_pools.over(conn, found[run.action_id], run, now)


def _results(before: Action | None, instances: Sequence[ExecutionInstance]) -> dict[str, Any] | None:
    """The machines made; those of earlier runs stay, of which a retry does not speak."""
    known = (before.transfer_result if before else None) or {}
    return {**known, **{one.instance: one.result for one in instances if one.result}} or None


def _over(conn: Connection, run: Execution, state: ExecutionState, now: dt.datetime) -> None:
    """What the end of an execution brings about: an update's new values hold, deployments that waited begin."""
    good = state is ExecutionState.COMPLETED
    if run.changes and good:
        actions.update(conn, [{"b_id": run.action_id, **run.changes}])
    if not run.auto_deploy:
        return
    held = executions.hold_runs(conn, [one.id for one in actions.waiting(conn, [run.id])])
    waiting = [one for one in held.values() if one.state == ExecutionState.UNEXECUTED]  # not cancelled meanwhile
    if not waiting:
        return
    if good:
        jobs.release(conn, waiting, now)
    else:
        message = f"Not deployed: the execution {run.number} that it waited for is {state.value}."
        end = ExecutionState.CANCELED if state is ExecutionState.CANCELED else ExecutionState.ERROR
        jobs.end_waiting(conn, waiting, end, message, now)


def _run_change(run: Execution, instances: Sequence[ExecutionInstance], now: dt.datetime) -> dict[str, Any] | None:
    """The new values of an execution's row, or None when it is over already."""
    if run.state in FINAL_EXECUTION_STATES:
        return None
    states = [ExecutionState(one.state) for one in instances]
    reason = next((one.message for one in instances if one.state == ExecutionState.ERROR), None)
    state, message = progress.execution_state(states, run.cancel_requested, reason)
    over = state in FINAL_EXECUTION_STATES
    return {
        "state": state.value,
        "message": shorten(message) if message else None,
        "percent": progress.percent_of_all([one.percent for one in instances]),
        "bytes_done": sum(one.bytes_done for one in instances),
        "bytes_total": sum(one.bytes_total for one in instances),
        "started_at": run.started_at or now,
        "finished_at": now if over else None,
        "updated_at": now,
    }


def amounts(conn: Connection, keys: Sequence[Key], now: dt.datetime) -> None:
    """Counts bytes and percent of these instances anew, and of their executions and jobs. At most eight
    statements; a figure that is written twice at the same time is right again with the next report."""
    if not keys:
        return
    copied = progress_rows.bytes_of(conn, keys, BYTE_KINDS)
    steps = tasks.steps_of(conn, keys)
    rows = executions.open_instances(conn, keys)
    changes: list[dict[str, Any]] = []
    for key, row in rows.items():
        done, total = copied.get(key, (0, 0))
        percent = progress.percent_of_steps(*steps.get(key, (0, 0)), progress.Amount(done, total))
        if (row.bytes_done, row.bytes_total) != (done, total) or percent > row.percent:
            changes.append(
                {
                    "b_id": key[0],
                    "b_position": key[1],
                    "bytes_done": done,
                    "bytes_total": total,
                    "percent": max(percent, row.percent),
                }
            )
    if not changes:
        return
    executions.update_instances(conn, changes)
    run_ids = sorted({change["b_id"] for change in changes})
    sums = executions.sums(conn, run_ids)
    found = executions.find(conn, run_ids)
    figures = [
        (found[run_id], {"percent": percent, "bytes_done": done, "bytes_total": total, "updated_at": now})
        for run_id, (percent, done, total) in sorted(sums.items())
        if found[run_id].state not in FINAL_EXECUTION_STATES
    ]
    executions.update(conn, [{"b_id": run.id, **values} for run, values in figures])
    actions.update(conn, [{"b_id": run.action_id, **values} for run, values in figures])
