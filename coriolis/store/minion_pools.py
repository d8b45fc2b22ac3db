# SPDX-License-Identifier: Apache-2.0
"""Queries on minion pools and their machines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, or_, select
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import paging
from coriolis.store.minion_rows import MinionMachine, MinionPool
from coriolis.store.minion_tables import minion_machine, minion_pool
from coriolis.store.rows import Event, Execution, Progress, load
from coriolis.store.tables import action, event, execution, progress, task

KIND = "minion_pool"  # of the job behind a pool

ORDER = paging.Order(
    keys={
        "created_at": minion_pool.c.created_at,
        "id": minion_pool.c.id,
        "updated_at": func.coalesce(minion_pool.c.updated_at, minion_pool.c.created_at),
        "name": minion_pool.c.name,
        "status": minion_pool.c.status,
        "platform": minion_pool.c.platform,
        "os_type": minion_pool.c.os_type,
        "endpoint_id": minion_pool.c.endpoint_id,
    }
)


def insert(conn: Connection, row: MinionPool) -> None:
    conn.execute(sql_insert(minion_pool), asdict(row))


def get(conn: Connection, pool_id: str, project_id: str | None) -> MinionPool:
    """``project_id`` None looks in all projects. :raises NotFound: no such pool there"""
    query = select(minion_pool).where(minion_pool.c.id == pool_id)
    if project_id is not None:
        query = query.where(minion_pool.c.project_id == project_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound(f"There is no minion pool {pool_id}.")
    return load(MinionPool, row)


def hold(conn: Connection, pool_ids: Collection[str]) -> dict[str, MinionPool]:
    """These pools, which nobody else holds until the end of the transaction. Always in the order of their ids."""
    found = {}
    for pool_id in sorted(set(pool_ids)):
        conn.execute(sql_update(minion_pool).where(minion_pool.c.id == pool_id).values(status=minion_pool.c.status))
        row = conn.execute(select(minion_pool).where(minion_pool.c.id == pool_id)).first()
        if row is not None:
            found[pool_id] = load(MinionPool, row)
    return found


def page(conn: Connection, project_id: str | None, wanted: paging.Page) -> list[MinionPool]:
    query = select(minion_pool)
    if project_id is not None:
        query = query.where(minion_pool.c.project_id == project_id)
    return [load(MinionPool, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def update(conn: Connection, pool_id: str, values: Mapping[str, Any]) -> None:
    conn.execute(sql_update(minion_pool).where(minion_pool.c.id == pool_id), dict(values))


def delete(conn: Connection, pool_id: str) -> None:
    """Its machines' rows go with it; the job behind it is removed by its own."""
    conn.execute(sql_delete(minion_machine).where(minion_machine.c.pool_id == pool_id))
    conn.execute(sql_delete(minion_pool).where(minion_pool.c.id == pool_id))


def with_status(conn: Connection, statuses: Collection[str]) -> list[str]:
    """Ids of pools with one of these statuses."""
    return list(conn.execute(select(minion_pool.c.id).where(minion_pool.c.status.in_(list(statuses)))).scalars())


def users(conn: Connection, pool_id: str) -> list[str]:
    """Ids of transfers that name the pool and are not deleted."""
    named = or_(action.c.origin_minion_pool_id == pool_id, action.c.destination_minion_pool_id == pool_id)
    query = select(action.c.id).where(named, action.c.kind == "transfer", action.c.deleted_at.is_(None))
    return list(conn.execute(query).scalars())


def latest_events(conn: Connection, pool_id: str, limit: int) -> tuple[list[Event], int]:
    """The latest events of the pool's executions, oldest first, and the place of the first of them, from 0."""
    runs = select(execution.c.id).where(execution.c.action_id == pool_id).scalar_subquery()
    mine = event.c.execution_id.in_(runs)
    total = int(conn.execute(select(func.count()).where(mine)).scalar_one())
    found = conn.execute(select(event).where(mine).order_by(event.c.id.desc()).limit(limit))
    rows = [load(Event, row) for row in found][::-1]
    return rows, total - len(rows)


def latest_progress(conn: Connection, pool_id: str, limit: int) -> list[Progress]:
    """What is being done with the pool's machines: the items of its executions that are not over, or else of its
    latest one; the oldest first."""
    mine = select(execution.c.id).where(execution.c.action_id == pool_id)
    final = [state.value for state in FINAL_EXECUTION_STATES]
    runs = list(conn.execute(mine.where(execution.c.state.not_in(final))).scalars())
    if not runs:
        latest = mine.order_by(execution.c.created_at.desc(), execution.c.number.desc()).limit(1)
        runs = list(conn.execute(latest).scalars())
    query = select(progress).join(task, task.c.id == progress.c.task_id).where(task.c.execution_id.in_(runs))
    found = conn.execute(query.order_by(progress.c.created_at.desc(), progress.c.task_id, progress.c.item).limit(limit))
    return [load(Progress, row) for row in found][::-1]


# ---- machines --------------------------------------------------------------------------------------------------


def machines(conn: Connection, pool_ids: Sequence[str]) -> dict[str, list[MinionMachine]]:
    """The machines of these pools by place. One statement."""
    found: dict[str, list[MinionMachine]] = {pool_id: [] for pool_id in pool_ids}
    if pool_ids:
        query = select(minion_machine).where(minion_machine.c.pool_id.in_(list(pool_ids)))
        for row in conn.execute(query.order_by(minion_machine.c.pool_id, minion_machine.c.position)):
            found[row.pool_id].append(load(MinionMachine, row))
    return found


def add_machines(conn: Connection, rows: Sequence[MinionMachine]) -> None:
    if rows:
        conn.execute(sql_insert(minion_machine), [asdict(row) for row in rows])


def update_machines(conn: Connection, ids: Collection[str], values: Mapping[str, Any]) -> None:
    """The same values for each of these machines."""
    if ids:
        conn.execute(sql_update(minion_machine).where(minion_machine.c.id.in_(list(ids))), dict(values))


def remove_machines(conn: Connection, ids: Collection[str]) -> None:
    if ids:
        conn.execute(sql_delete(minion_machine).where(minion_machine.c.id.in_(list(ids))))


def held_by(conn: Connection, execution_id: str) -> list[MinionMachine]:
    """The machines that a job's execution uses, or shall use."""
    query = select(minion_machine).where(minion_machine.c.execution_id == execution_id)
    return [load(MinionMachine, row) for row in conn.execute(query.order_by(minion_machine.c.pool_id))]


def ended_users(conn: Connection) -> list[str]:
    """Ids of executions that are over and hold machines."""
    final = [state.value for state in FINAL_EXECUTION_STATES]
    query = (
        select(execution.c.id)
        .join(minion_machine, minion_machine.c.execution_id == execution.c.id)
        .where(execution.c.state.in_(final))
    )
    return sorted(set(conn.execute(query).scalars()))


def waiting(conn: Connection, pool_id: str | None = None) -> list[Execution]:
    """The executions that wait for machines (of one pool) and have none yet, first come first."""
    holds = select(minion_machine.c.id).where(minion_machine.c.execution_id == execution.c.id).exists()
    query = select(execution).where(execution.c.state == ExecutionState.AWAITING_MINIONS.value, ~holds)
    if pool_id is not None:
        named = or_(action.c.origin_minion_pool_id == pool_id, action.c.destination_minion_pool_id == pool_id)
        query = query.join(action, action.c.id == execution.c.action_id).where(named)
    found = conn.execute(query.order_by(execution.c.created_at, execution.c.id))
    return [load(Execution, row) for row in found]


def idle_since(conn: Connection, moment: dt.datetime) -> list[str]:
    """Ids of pools with an available machine that was last used, or made, before this moment."""
    used = func.coalesce(minion_machine.c.last_used_at, minion_machine.c.created_at)
    query = select(minion_machine.c.pool_id).where(minion_machine.c.status == "AVAILABLE", used < moment)
    return sorted(set(conn.execute(query).scalars()))
