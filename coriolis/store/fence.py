# SPDX-License-Identifier: Apache-2.0
"""The fence: which writes of attempts are let through. The one place that knows.

A write names (task, epoch, session). It passes when the task is RUNNING under exactly that epoch and session, and
the session is live. Anything else comes from an attempt that no longer owns its task.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, exists, select, tuple_, update
from sqlalchemy.engine import Connection

from coriolis.domain.model import TaskState
from coriolis.domain.states import SessionState
from coriolis.store.tables import session, task


@dataclass(frozen=True)
class Owner:
    """Who writes."""

    task_id: str
    epoch: int
    session_id: str


def is_live(session_id: Any) -> ColumnElement[bool]:
    """``EXISTS`` a live session of this id (a value or a column)."""
    return exists(select(session.c.id).where(session.c.id == session_id, session.c.state == SessionState.LIVE))


def owns(row: Any, owner: Owner) -> bool:
    """The fence on a row that the caller has locked; the liveness of the session is in the row's state."""
    return bool(row.state == TaskState.RUNNING and row.epoch == owner.epoch and row.session_id == owner.session_id)


def fenced(owners: Iterable[Owner]) -> ColumnElement[bool]:
    """The ``WHERE`` of every write of attempts to their task rows."""
    keys = [(owner.task_id, owner.epoch, owner.session_id) for owner in owners]
    return and_(
        tuple_(task.c.id, task.c.epoch, task.c.session_id).in_(keys),
        task.c.state == TaskState.RUNNING,
        is_live(task.c.session_id),
    )


def as_decided() -> ColumnElement[bool]:
    """The ``WHERE`` of a planner's change: the row is as it was when it was decided on. For a RUNNING row this is
    the fence of the attempt whose end is being stored. Parameters: b_id, b_state, b_epoch, b_session."""
    return and_(
        task.c.id == bindparam("b_id"),
        task.c.state == bindparam("b_state"),
        task.c.epoch == bindparam("b_epoch"),
        task.c.session_id.is_not_distinct_from(bindparam("b_session")),
    )


def touch(conn: Connection, owners: Sequence[Owner], now: dt.datetime) -> int:
    """Writes the owners' task rows under the fence, which keeps them from changing hands until the end of the
    transaction. Gives how many passed; the others are stale."""
    if not owners:
        return 0
    return conn.execute(update(task).where(fenced(owners)).values(synced_at=now)).rowcount


def hold(conn: Connection, owners: Sequence[Owner], now: dt.datetime) -> set[Owner]:
    """As ``touch``; gives those that passed. One statement for any number when all do, else two."""
    if touch(conn, owners, now) == len(set(owners)):
        return set(owners)
    rows = conn.execute(select(task.c.id, task.c.epoch, task.c.session_id).where(fenced(owners)))
    return {Owner(row.id, row.epoch, row.session_id) for row in rows}
