# SPDX-License-Identifier: Apache-2.0
"""Queries on streams: the attempts that move disk bytes and share budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import and_, delete, insert, select
from sqlalchemy.engine import Connection

from coriolis.domain.model import TaskState
from coriolis.store.rows import Stream, load
from coriolis.store.tables import session, stream, task

_LIVE = and_(task.c.id == stream.c.task_id, task.c.epoch == stream.c.epoch, task.c.state == TaskState.RUNNING.value)
_RUNNING = select(stream).join(task, _LIVE).order_by(task.c.started_at, task.c.id)


@dataclass(frozen=True)
class Mover:
    """A running task of a session that may move bytes."""

    task_id: str
    epoch: int
    execution_id: str
    side: str
    host: str


def movers(conn: Connection, session_id: str) -> dict[str, Mover]:
    """The running tasks of a live session, by id."""
    query = (
        select(task.c.id, task.c.epoch, task.c.execution_id, task.c.side, session.c.host)
        .join(session, session.c.id == task.c.session_id)
        .where(task.c.session_id == session_id, task.c.state == TaskState.RUNNING.value, session.c.state == "live")
        .order_by(task.c.started_at, task.c.id)
    )
    return {row.id: Mover(*row) for row in conn.execute(query)}


def running(conn: Connection) -> list[Stream]:
    """The streams whose attempts still own their tasks, the oldest task first. One statement."""
    return [load(Stream, row) for row in conn.execute(_RUNNING)]


def store(conn: Connection, rows: Sequence[Stream]) -> None:
    """Overwrites these streams. Two statements for any number."""
    if rows:
        conn.execute(delete(stream).where(stream.c.task_id.in_([row.task_id for row in rows])))
        conn.execute(insert(stream), [asdict(row) for row in rows])


def sweep(conn: Connection) -> int:
    """Removes what is left of attempts that are over; gives how many."""
    over = select(task.c.id).where(task.c.state != TaskState.RUNNING.value).scalar_subquery()
    return conn.execute(delete(stream).where(stream.c.task_id.in_(over))).rowcount
