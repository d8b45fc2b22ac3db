# SPDX-License-Identifier: Apache-2.0
"""What the end of a pool's execution means for its machines, and what pools do by themselves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from sqlalchemy.engine import Connection

from coriolis.commands import jobs
from coriolis.commands import minion_pools as commands
from coriolis.domain.minions import SERVING, MachineStatus, PoolStatus, Retention, surplus
from coriolis.domain.model import ExecutionState
from coriolis.domain.recipes.minion_pool import DELETE_MINIONS, POWER_OFF_MINIONS
from coriolis.store import actions, executions, minion_pools
from coriolis.store.engine import Database
from coriolis.store.minion_rows import MinionMachine, MinionPool
from coriolis.store.rows import Action, Execution, ExecutionInstance


def over(conn: Connection, job: Action, run: Execution, now: dt.datetime) -> None:
    """In the transaction in which an execution of a pool ends: its machines are ready, off or gone."""
    pool = minion_pools.hold(conn, [job.id]).get(job.id)
    if pool is None:
        return
    ends = {one.position: one for one in executions.instances_of(conn, [run.id])[run.id]}
    machines = [one for one in minion_pools.machines(conn, [pool.id])[pool.id] if one.position in ends]
    _SETTLE[run.type](conn, pool, machines, ends, now)


def _readied(
    conn: Connection,
    pool: MinionPool,
    machines: Sequence[MinionMachine],
    ends: dict[int, ExecutionInstance],
    now: dt.datetime,
) -> None:
    """Machines were made, or made ready: by an allocation, a refresh, or for a job's execution."""
    if pool.status == PoolStatus.DEALLOCATING_MACHINES:
        return  # the deallocation that cancelled us sees to the rest
    good = {one.id: one for one in machines if ends[one.position].state == ExecutionState.COMPLETED}
    for one in good.values():
        status = MachineStatus.IN_USE if one.execution_id else MachineStatus.AVAILABLE
        values = {"status": status.value, "powered_on": True, "made": ends[one.position].result, "updated_at": now}
        minion_pools.update_machines(conn, [one.id], values)
    bad = [one for one in machines if one.id not in good]
    minion_pools.remove_machines(conn, [one.id for one in bad])  # their executions have removed what they made
    reason = next((ends[one.position].message for one in bad if ends[one.position].message), None)
    for execution_id in sorted({one.execution_id for one in machines if one.execution_id}):
        _serve_or_refuse(
            conn,
            pool,
            execution_id,
            failed=any(one.execution_id == execution_id for one in bad),
            reason=reason,
            now=now,
        )
    left = minion_pools.machines(conn, [pool.id])[pool.id]
    if pool.status in (PoolStatus.ALLOCATING_MACHINES, PoolStatus.IN_MAINTENANCE):
        enough = len(left) >= pool.minimum_minions and not bad
        commands.turn(conn, pool.id, PoolStatus.ALLOCATED if enough else PoolStatus.ERROR, now)


def _serve_or_refuse(
    conn: Connection, pool: MinionPool, execution_id: str, *, failed: bool, reason: str | None, now: dt.datetime
) -> None:
    """An execution of a job begins when all its machines are ready, and ends when one of them cannot be had."""
    run = executions.hold_runs(conn, [execution_id]).get(execution_id)
    if run is None or run.state != ExecutionState.AWAITING_MINIONS:
        return
    held = minion_pools.held_by(conn, execution_id)
    if failed:
        message = f"The minion pool {pool.name} could not make a machine ready: {reason or 'its execution failed'}"
        jobs.end_waiting(conn, [run], ExecutionState.ERROR_MINIONS, message, now)
        free = {"action_id": None, "execution_id": None, "updated_at": now}
        ready = [one.id for one in held if one.status == MachineStatus.IN_USE]
        minion_pools.update_machines(conn, ready, {**free, "status": MachineStatus.AVAILABLE.value})
        minion_pools.update_machines(conn, [one.id for one in held if one.id not in ready], free)
    elif all(one.status == MachineStatus.IN_USE for one in held):
        jobs.release(conn, [run], now)


def _deleted(
    conn: Connection,
    pool: MinionPool,
    machines: Sequence[MinionMachine],
    ends: dict[int, ExecutionInstance],
    now: dt.datetime,
) -> None:
    """Machines were removed: all of them by a deallocation, or those that were too many."""
    gone = [one for one in machines if ends[one.position].state == ExecutionState.COMPLETED]
    minion_pools.remove_machines(conn, [one.id for one in gone])
    stuck = [one.id for one in machines if one not in gone]
    minion_pools.update_machines(conn, stuck, {"status": MachineStatus.ERROR.value, "updated_at": now})
    if pool.status == PoolStatus.DEALLOCATING_MACHINES:
        commands.turn(conn, pool.id, PoolStatus.ERROR if stuck else PoolStatus.DEALLOCATED, now)
        message = f"The minion pool {pool.name} was deallocated."
        waiting = minion_pools.waiting(conn, pool.id)
        if waiting:
            jobs.end_waiting(conn, waiting, ExecutionState.ERROR_MINIONS, message, now)


def _retired(
    conn: Connection,
    pool: MinionPool,
    machines: Sequence[MinionMachine],
    ends: dict[int, ExecutionInstance],
    now: dt.datetime,
) -> None:
    """Machines that nobody used were deleted or switched off, as the pool's strategy has it."""
    if pool.minion_retention_strategy == Retention.DELETE:
        _deleted(conn, pool, machines, ends, now)
        return
    values = {"status": MachineStatus.AVAILABLE.value, "powered_on": False, "last_used_at": now, "updated_at": now}
    minion_pools.update_machines(conn, [one.id for one in machines], values)


_SETTLE: dict[
    str,
    Callable[[Connection, MinionPool, Sequence[MinionMachine], dict[int, ExecutionInstance], dt.datetime], None],
] = {
    commands.ALLOCATE: _readied,
    commands.REFRESH: _readied,
    commands.PREPARE: _readied,
    commands.DEALLOCATE: _deleted,
    commands.RETIRE: _retired,
}


# ---- by themselves ---------------------------------------------------------------------------------------------


def turn(db: Database) -> bool:
    """Takes machines back from executions that are over, gives machines to those that wait for them, and retires what
    nobody uses. Gives whether anything was done."""
    now = db.utcnow()
    ended = db.read(minion_pools.ended_users)
    for execution_id in ended:
        db.write(_give_back, execution_id, now)
    waiting = db.read(minion_pools.waiting)
    begun = [run for run in waiting if db.write(_serve, run.id, now)]
    idle = [pool_id for pool_id in db.read(minion_pools.idle_since, now) if db.write(_retire, pool_id, now)]
    return bool(ended or begun or idle)


def _give_back(conn: Connection, execution_id: str, now: dt.datetime) -> None:
    held = minion_pools.held_by(conn, execution_id)
    minion_pools.hold(conn, {one.pool_id for one in held})
    free = {"action_id": None, "execution_id": None, "updated_at": now}
    held = minion_pools.held_by(conn, execution_id)
    used = [one.id for one in held if one.status == MachineStatus.IN_USE]
    available = {**free, "status": MachineStatus.AVAILABLE.value, "last_used_at": now}
    minion_pools.update_machines(conn, used, available)
    # Those that are still being made ready become available when that is over.
    minion_pools.update_machines(conn, [one.id for one in held if one.id not in used], free)


def _serve(conn: Connection, execution_id: str, now: dt.datetime) -> bool:
    run = executions.hold_runs(conn, [execution_id]).get(execution_id)
    if run is None or run.state != ExecutionState.AWAITING_MINIONS or minion_pools.held_by(conn, execution_id):
        return False
    return commands.serve(conn, actions.find(conn, [run.action_id])[run.action_id], run, now)


def _retire(conn: Connection, pool_id: str, now: dt.datetime) -> bool:
    pool = minion_pools.hold(conn, [pool_id]).get(pool_id)
    if pool is None or PoolStatus(pool.status) not in SERVING:
        return False
    machines = minion_pools.machines(conn, [pool_id])[pool_id]
    deletes = pool.minion_retention_strategy == Retention.DELETE
    counted = machines if deletes else [one for one in machines if one.powered_on]
    idle = dt.timedelta(seconds=pool.minion_max_idle_time)
    places = surplus([one.rule for one in counted], pool.minimum_minions, idle, now)
    if not places:
        return False
    status = MachineStatus.DEALLOCATING if deletes else MachineStatus.POWERING_OFF
    ids = [one.id for one in machines if one.position in places]
    minion_pools.update_machines(conn, ids, {"status": status.value, "updated_at": now})
    recipe = DELETE_MINIONS if deletes else POWER_OFF_MINIONS
    commands.start(conn, pool_id, commands.RETIRE, recipe, places, now, trust_id=pool.trust_id)
    return True
