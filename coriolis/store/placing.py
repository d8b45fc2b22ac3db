# SPDX-License-Identifier: Apache-2.0
"""Queries of the scheduler: tasks that may be placed, and the claim."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.model import Side, Task, TaskState
from coriolis.store import fence
from coriolis.store.tables import action, endpoint, execution, task
from coriolis.store.task_rows import from_row


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A task that may be placed."""

    task: Task
    position: int
    needs_key: str


@dataclass(frozen=True)
class Claim:
    """An assignment to be made: the task under ``epoch`` is as it was read."""

    task_id: str
    epoch: int
    session_id: str
    host: str


def used_ends(side: str, origin: str, destination: str) -> tuple[str, ...]:
    """The endpoints that a task of this side works against."""
    return {Side.SOURCE.value: (origin,), Side.DESTINATION.value: (destination,)}.get(side, (origin, destination))


def ready(
    conn: Connection,
    now: dt.datetime,
    limit: int,
    *,
    without_keys: Collection[str] = (),
    without_endpoints: Collection[str] = (),
) -> list[Ready]:
    """At most ``limit`` PENDING tasks whose time has come, those that wait longest first. ``without_keys`` leaves
    out what no worker can run (``needs_key``), ``without_endpoints`` what would exceed a limit.

    Where the database can, the rows are locked, and those that another scheduler has locked are left to it. That
    saves work only: what decides is the claim.
    """
    query = (
        select(task)
        .where(task.c.state == TaskState.PENDING.value, task.c.not_before <= now)
        .order_by(task.c.not_before, task.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    if without_keys:
        query = query.where(task.c.needs_key.not_in(list(without_keys)))
    if without_endpoints:
        for side, column in (
            (Side.SOURCE, action.c.origin_endpoint_id),
            (Side.DESTINATION, action.c.destination_endpoint_id),
        ):
            full = (
                select(execution.c.id)
                .join(action, action.c.id == execution.c.action_id)
                .where(column.in_(list(without_endpoints)))
            )
            query = query.where(
                or_(task.c.side.not_in([side.value, Side.BOTH.value]), task.c.execution_id.not_in(full))
            )
    return [Ready(task=from_row(row), position=row.position, needs_key=row.needs_key) for row in conn.execute(query)]


@dataclass(frozen=True)
class Load:
    """How many tasks run now: in each session, and against each endpoint."""

    sessions: dict[str, int]
    endpoints: dict[str, int]


_LOAD = (task.c.session_id, task.c.side, action.c.origin_endpoint_id, action.c.destination_endpoint_id)
_RUNNING = (
    select(*_LOAD, func.count())
    .join(execution, execution.c.id == task.c.execution_id)
    .join(action, action.c.id == execution.c.action_id)
    .where(task.c.state == TaskState.RUNNING.value)
    .group_by(*_LOAD)
)


def running(conn: Connection) -> Load:
    """Counts what runs. One statement."""
    load = Load({}, {})
    for session_id, side, origin, destination, count in conn.execute(_RUNNING):
        load.sessions[session_id] = load.sessions.get(session_id, 0) + int(count)
        for used in used_ends(side, origin, destination):
            load.endpoints[used] = load.endpoints.get(used, 0) + int(count)
    return load


def regions_of_executions(conn: Connection, execution_ids: Sequence[str]) -> dict[str, list[str]]:
    """The regions that the endpoints of each execution are mapped to, with the side, sorted. One statement."""
    found: dict[str, set[str]] = {execution_id: set() for execution_id in execution_ids}
    query = (
        select(execution.c.id, endpoint.c.mapped_regions, endpoint.c.id == action.c.origin_endpoint_id)
        .join(action, action.c.id == execution.c.action_id)
        .join(
            endpoint,
            or_(endpoint.c.id == action.c.origin_endpoint_id, endpoint.c.id == action.c.destination_endpoint_id),
        )
        .where(execution.c.id.in_(list(execution_ids)))
    )
    for execution_id, mapped, is_origin in conn.execute(query):
        found[execution_id].update(f"{'source' if is_origin else 'destination'}:{one}" for one in mapped)
    return {execution_id: sorted(regions) for execution_id, regions in found.items()}


_CLAIM = (
    sql_update(task)
    .where(
        task.c.id == bindparam("b_id"),
        task.c.state == TaskState.PENDING.value,
        task.c.epoch == bindparam("b_epoch"),
        fence.is_live(bindparam("b_session")),
    )
    .values(
        state=TaskState.RUNNING.value,
        session_id=bindparam("b_session"),
        host=bindparam("b_host"),
        epoch=task.c.epoch + 1,
        event_seq=0,
        stop_asked=False,
        not_before=None,
        started_at=func.coalesce(task.c.started_at, bindparam("b_now")),
        synced_at=bindparam("b_now"),
        updated_at=bindparam("b_now"),
    )
)


def claim(conn: Connection, wanted: Sequence[Claim], now: dt.datetime) -> list[Claim]:
    """Assigns tasks. Gives those that are now RUNNING as wanted; the others went elsewhere, were cancelled, or their
    session is dead. One or two statements."""
    if not wanted:
        return []
    ordered = sorted(wanted, key=lambda one: one.task_id)
    parameters = [
        {"b_id": one.task_id, "b_epoch": one.epoch, "b_session": one.session_id, "b_host": one.host, "b_now": now}
        for one in ordered
    ]
    result = conn.execute(_CLAIM, parameters)
    if result.rowcount == len(ordered):
        return list(wanted)
    query = select(task.c.id, task.c.epoch, task.c.session_id).where(
        task.c.id.in_([one.task_id for one in ordered]), task.c.state == TaskState.RUNNING.value
    )
    mine = {(row.id, row.epoch, row.session_id) for row in conn.execute(query)}
    return [one for one in wanted if (one.task_id, one.epoch + 1, one.session_id) in mine]


def waiting(conn: Connection, now: dt.datetime) -> tuple[int, float]:
    """(tasks that may be placed, seconds that the first has waited)."""
    query = select(func.count(), func.min(task.c.not_before)).where(
        task.c.state == TaskState.PENDING.value, task.c.not_before <= now
    )
    count, first = conn.execute(query).one()
    return int(count), (now - first).total_seconds() if first else 0.0
