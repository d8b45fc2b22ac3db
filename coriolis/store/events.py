# SPDX-License-Identifier: Apache-2.0
"""Queries on events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy import insert as sql_insert
from sqlalchemy.engine import Connection

from coriolis.store import paging
from coriolis.store.rows import Event, load
from coriolis.store.tables import event

MESSAGE_LENGTH = 1024

_OF_TASKS = select(event).where(event.c.task_id.in_(bindparam("ids", expanding=True))).order_by(event.c.id)

ORDER = paging.Order(keys={"id": event.c.id}, default=("id",), default_direction=paging.ASCENDING)


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """``task_id`` None: about the run itself."""

    execution_id: str
    level: str
    message: str
    task_id: str | None = None


class Written(NamedTuple):
    """Of which execution an event is, and since when."""

    execution_id: str
    at: dt.datetime


def shorten(text: str) -> str:
    """What fits into a message column. NUL cannot be stored by PostgreSQL."""
    text = text.replace("\0", "")
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 3] + "..."


def append(conn: Connection, new: Sequence[NewEvent], now: dt.datetime) -> None:
    """Adds events, in this order."""
    if new:
        conn.execute(
            sql_insert(event),
            [
                {
                    "execution_id": one.execution_id,
                    "task_id": one.task_id,
                    "level": one.level,
                    "message": shorten(one.message),
                    "created_at": now,
                }
                for one in new
            ],
        )


def page(conn: Connection, execution_id: str, wanted: paging.Page, *, task_id: str | None = None) -> list[Event]:
    """The events of an execution, or of one of its tasks, oldest first unless asked otherwise."""
    query = select(event).where(event.c.execution_id == execution_id)
    if task_id is not None:
        query = query.where(event.c.task_id == task_id)
    return [load(Event, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def after(conn: Connection, execution_id: str, event_id: int, limit: int) -> list[Event]:
    """The next events of an execution after this one, which need not exist, oldest first."""
    query = select(event).where(event.c.execution_id == execution_id, event.c.id > event_id)
    return [load(Event, row) for row in conn.execute(query.order_by(event.c.id).limit(limit))]


def among(conn: Connection, execution_id: str, ids: Collection[int]) -> list[Event]:
    """Those of these events that the execution has, oldest first."""
    query = select(event).where(event.c.id.in_(list(ids)), event.c.execution_id == execution_id)
    return [load(Event, row) for row in conn.execute(query.order_by(event.c.id))]


def written(conn: Connection, first: int, last: int) -> dict[int, Written]:
    """Which of these ids exist, of whatever execution."""
    query = select(event.c.id, event.c.execution_id, event.c.created_at).where(event.c.id.between(first, last))
    return {row[0]: Written(row[1], row[2]) for row in conn.execute(query)}


def of_tasks(conn: Connection, task_ids: Sequence[str], limit_each: int | None = None) -> dict[str, list[Event]]:
    """The events of these tasks, oldest first; with ``limit_each`` only each task's latest."""
    found: dict[str, list[Event]] = {task_id: [] for task_id in task_ids}
    if task_ids:
        for row in conn.execute(_OF_TASKS, {"ids": list(task_ids)}):
            found[row.task_id].append(load(Event, row))
    if limit_each is not None:
        found = {task_id: events[-limit_each:] for task_id, events in found.items()}
    return found


def count_before(conn: Connection, execution_id: str, event_id: int) -> int:
    """How many events of the execution are older than this one: its place in the history, from 0."""
    query = select(func.count()).where(event.c.execution_id == execution_id, event.c.id < event_id)
    return int(conn.execute(query).scalar_one())


def of_execution(conn: Connection, execution_id: str, limit_each: int) -> dict[str, list[Event]]:
    """The latest ``limit_each`` events of each task of the execution, oldest first. One statement, of a length that
    does not depend on the number of tasks; tasks without events are left out."""
    newest = func.row_number().over(partition_by=event.c.task_id, order_by=event.c.id.desc()).label("newest")
    ranked = select(event, newest).where(event.c.execution_id == execution_id, event.c.task_id.is_not(None)).subquery()
    columns = [ranked.c[column.name] for column in event.c]
    found: dict[str, list[Event]] = {}
    for row in conn.execute(select(*columns).where(ranked.c.newest <= limit_each).order_by(ranked.c.id)):
        found.setdefault(row.task_id, []).append(load(Event, row))
    return found
