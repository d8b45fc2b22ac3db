# SPDX-License-Identifier: Apache-2.0
"""Queries on executions and on their instances."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import BindParameter, Update, bindparam, func, select, tuple_
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import paging
from coriolis.store.rows import Execution, ExecutionInstance, load
from coriolis.store.tables import action, execution, execution_instance

Key = tuple[str, int]

ORDER = paging.Order(
    keys={
        "created_at": execution.c.created_at,
        "id": execution.c.id,
        "number": execution.c.number,
        "state": execution.c.state,
    }
)
INSTANCE_ORDER = paging.Order(
    keys={"position": execution_instance.c.position},
    default=("position",),
    default_direction=paging.ASCENDING,
    unique="position",
)

_KEY = tuple_(execution_instance.c.execution_id, execution_instance.c.position)

# Built once: to build a statement costs more than to run it.
_KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_HOLD = sql_update(execution_instance).where(_KEY.in_(_KEYS)).values(version=execution_instance.c.version + 1)
_HELD = select(execution_instance).where(_KEY.in_(_KEYS))
_HOLD_RUNS = sql_update(execution).where(execution.c.id.in_(_IDS)).values(version=execution.c.version + 1)
_FIND = select(execution).where(execution.c.id.in_(_IDS))
_SHOWN = (
    select(execution)
    .join(action, action.c.id == execution.c.action_id)
    .where(
        execution.c.id == bindparam("execution"),
        execution.c.deleted_at.is_(None),
        action.c.id == bindparam("action"),
        action.c.kind == bindparam("kind"),
        action.c.deleted_at.is_(None),
    )
)
_SHOWN_IN = _SHOWN.where(action.c.project_id == bindparam("project"))
_INSTANCES = (
    select(execution_instance)
    .where(execution_instance.c.execution_id.in_(_IDS))
    .order_by(execution_instance.c.execution_id, execution_instance.c.position)
)


def insert(conn: Connection, row: Execution, instances: Sequence[ExecutionInstance]) -> None:
    conn.execute(sql_insert(execution), asdict(row))
    conn.execute(sql_insert(execution_instance), [asdict(one) for one in instances])


def get(conn: Connection, execution_id: str, project_id: str | None = None) -> Execution:
    """:raises NotFound: no such execution there"""
    query = select(execution).where(execution.c.id == execution_id)
    if project_id is not None:
        query = query.where(execution.c.project_id == project_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound(f"There is no execution {execution_id}.")
    return load(Execution, row)


def of_action(conn: Connection, action_id: str, execution_id: str) -> Execution:
    """An execution of the job that is not deleted. :raises NotFound: there is no such one"""
    found = find(conn, [execution_id]).get(execution_id)
    if found is None or found.action_id != action_id or found.deleted_at is not None:
        raise NotFound(f"There is no execution {execution_id}.")
    return found


def shown(conn: Connection, kind: str, action_id: str, execution_id: str, project_id: str | None) -> Execution | None:
    """An execution of a job of this kind, neither of them deleted; None: there is none. ``project_id`` None: in all
    projects. What pollers ask for: one statement, and nothing of the job is read."""
    query = _SHOWN if project_id is None else _SHOWN_IN
    given = {"kind": kind, "action": action_id, "execution": execution_id, "project": project_id}
    row = conn.execute(query, given).first()
    return None if row is None else load(Execution, row)


def forget_all(conn: Connection, action_id: str, now: dt.datetime) -> None:
    """Marks all executions of a job as deleted."""
    conn.execute(
        sql_update(execution)
        .where(execution.c.action_id == action_id, execution.c.deleted_at.is_(None))
        .values(deleted_at=now)
    )


def latest(conn: Connection, action_ids: Sequence[str]) -> dict[str, Execution]:
    """The latest execution of each of these jobs, deleted ones left out. One statement."""
    if not action_ids:
        return {}
    mine = (execution.c.action_id.in_(list(action_ids)), execution.c.deleted_at.is_(None))
    query = select(execution).where(*mine).order_by(execution.c.number)
    return {row.action_id: load(Execution, row) for row in conn.execute(query)}


def latest_of_each(conn: Connection, action_ids: Sequence[str], limit: int) -> dict[str, list[Execution]]:
    """The latest executions of each of these jobs, oldest first, deleted ones left out. One statement."""
    found: dict[str, list[Execution]] = {action_id: [] for action_id in action_ids}
    if not action_ids:
        return found
    mine = (execution.c.action_id.in_(list(action_ids)), execution.c.deleted_at.is_(None))
    newest = func.row_number().over(partition_by=execution.c.action_id, order_by=execution.c.number.desc())
    ranked = select(execution, newest.label("newest")).where(*mine).subquery()
    columns = [ranked.c[column.name] for column in execution.c]
    for row in conn.execute(select(*columns).where(ranked.c.newest <= limit).order_by(ranked.c.number)):
        found[row.action_id].append(load(Execution, row))
    return found


def page(conn: Connection, action_id: str, wanted: paging.Page, *, statuses: Sequence[str] = ()) -> list[Execution]:
    """The executions of a job, deleted ones left out."""
    query = select(execution).where(execution.c.action_id == action_id, execution.c.deleted_at.is_(None))
    if statuses:
        query = query.where(execution.c.state.in_(list(statuses)))
    return [load(Execution, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def page_instances(conn: Connection, execution_id: str, wanted: paging.Page) -> list[ExecutionInstance]:
    """The machines of an execution in the order the user gave. A marker is a position."""
    query = select(execution_instance).where(execution_instance.c.execution_id == execution_id)
    return [load(ExecutionInstance, row) for row in paging.fetch(conn, query, wanted, INSTANCE_ORDER)]


def instances_of(conn: Connection, execution_ids: Sequence[str]) -> dict[str, list[ExecutionInstance]]:
    """The machines of several executions. One statement."""
    found: dict[str, list[ExecutionInstance]] = {execution_id: [] for execution_id in execution_ids}
    if execution_ids:
        for row in conn.execute(_INSTANCES, {"ids": list(execution_ids)}):
            found[row.execution_id].append(load(ExecutionInstance, row))
    return found


def next_number(conn: Connection, action_id: str) -> int:
    """The number of a job's next execution; deleted ones count. The caller holds the job."""
    query = select(func.max(execution.c.number)).where(execution.c.action_id == action_id)
    return int(conn.execute(query).scalar() or 0) + 1


def has_completed(conn: Connection, action_id: str, kind: str) -> bool:
    """Whether an execution of this type has ended well, deleted ones included."""
    query = select(execution.c.id).where(
        execution.c.action_id == action_id,
        execution.c.type == kind,
        execution.c.state == ExecutionState.COMPLETED.value,
    )
    return conn.execute(query.limit(1)).first() is not None


def completed_positions(conn: Connection, action_id: str, execution_id: str | None = None) -> set[int]:
    """The machines that some execution of the job, or this one, has completed."""
    query = (
        select(execution_instance.c.position)
        .join(execution, execution.c.id == execution_instance.c.execution_id)
        .where(execution.c.action_id == action_id, execution_instance.c.state == ExecutionState.COMPLETED.value)
    )
    if execution_id is not None:
        query = query.where(execution.c.id == execution_id)
    return set(conn.execute(query).scalars())


def turn_instances(
    conn: Connection, execution_ids: Sequence[str], state: str, message: str | None, finished_at: dt.datetime | None
) -> None:
    """Gives all machines of executions that have no graphs yet another state."""
    conn.execute(
        sql_update(execution_instance)
        .where(execution_instance.c.execution_id.in_(list(execution_ids)))
        .values(state=state, message=message, finished_at=finished_at, version=execution_instance.c.version + 1)
    )


# ---- for the planner -------------------------------------------------------------------------------------------


def uncompiled(conn: Connection, limit: int, execution_id: str | None = None) -> list[Key]:
    """At most ``limit`` instances without a graph, of one execution or of any."""
    one = execution_instance.c
    query = select(one.execution_id, one.position).where(one.state == ExecutionState.PENDING.value)
    if execution_id is not None:
        query = query.where(one.execution_id == execution_id)
    return [(row[0], row[1]) for row in conn.execute(query.limit(limit))]


def to_cancel(conn: Connection, limit: int) -> list[str]:
    """Ids of at most ``limit`` executions whose cancel is not carried out yet."""
    return list(conn.execute(select(execution.c.id).where(execution.c.cancel_pending).limit(limit)).scalars())


def cancelled(conn: Connection, execution_id: str, *, force: bool) -> None:
    """Notes that a cancel is carried out, unless a forced one was asked for meanwhile."""
    conn.execute(
        sql_update(execution)
        .where(execution.c.id == execution_id, execution.c.cancel_force.is_(force))
        .values(cancel_pending=False)
    )


def hold(conn: Connection, keys: Sequence[Key]) -> dict[Key, ExecutionInstance]:
    """Raises the version of these instances, which makes everyone else who plans for them wait or run again until
    the end of the transaction; gives them as they are. Two statements. Unknown ones are left out."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    conn.execute(_HOLD, {"keys": wanted})
    found = conn.execute(_HELD, {"keys": wanted})
    return {(row.execution_id, row.position): load(ExecutionInstance, row) for row in found}


def hold_runs(conn: Connection, execution_ids: Sequence[str]) -> dict[str, Execution]:
    """As ``hold``, for executions themselves. Instances are held first: always in this order."""
    wanted = sorted(set(execution_ids))
    if not wanted:
        return {}
    conn.execute(_HOLD_RUNS, {"ids": wanted})
    return find(conn, wanted)


def find(conn: Connection, execution_ids: Sequence[str]) -> dict[str, Execution]:
    """The executions of these ids that exist. One statement."""
    if not execution_ids:
        return {}
    found = conn.execute(_FIND, {"ids": list(execution_ids)})
    return {row.id: load(Execution, row) for row in found}


def keys_of(conn: Connection, execution_id: str) -> list[Key]:
    """The instances of an execution."""
    query = select(execution_instance.c.position).where(execution_instance.c.execution_id == execution_id)
    return [(execution_id, position) for position in conn.execute(query.order_by("position")).scalars()]


def update(conn: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """One executemany: each mapping has ``b_id`` and the same columns as the others."""
    if changes:
        conn.execute(_update(tuple(changes[0])), list(changes))


@functools.cache
def _update(names: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in names if name != "b_id"}
    return sql_update(execution).where(execution.c.id == bindparam("b_id")).values(values)


def update_instances(conn: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """One executemany: each mapping has ``b_id``, ``b_position`` and the same columns as the others."""
    if changes:
        conn.execute(_update_instances(tuple(changes[0])), list(changes))


@functools.cache
def _update_instances(names: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in names if not name.startswith("b_")}
    here = (
        execution_instance.c.execution_id == bindparam("b_id"),
        execution_instance.c.position == bindparam("b_position"),
    )
    return sql_update(execution_instance).where(*here).values(values)


def open_instances(conn: Connection, keys: Sequence[Key]) -> dict[Key, ExecutionInstance]:
    """Those of these instances that have not ended. One statement."""
    final = [state.value for state in FINAL_EXECUTION_STATES]
    query = select(execution_instance).where(_KEY.in_(list(keys)), execution_instance.c.state.not_in(final))
    return {(row.execution_id, row.position): load(ExecutionInstance, row) for row in conn.execute(query)}


def sums(conn: Connection, execution_ids: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """(mean percent, bytes done, bytes in all) over the instances of each execution. One statement."""
    if not execution_ids:
        return {}
    one = execution_instance.c
    query = (
        select(
            one.execution_id,
            func.sum(one.percent),
            func.count(),
            func.coalesce(func.sum(one.bytes_done), 0),
            func.coalesce(func.sum(one.bytes_total), 0),
        )
        .where(one.execution_id.in_(list(execution_ids)))
        .group_by(one.execution_id)
    )
    return {row[0]: (int(row[1]) // int(row[2]), int(row[3]), int(row[4])) for row in conn.execute(query)}
