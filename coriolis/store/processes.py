# SPDX-License-Identifier: Apache-2.0
"""Queries on processes: what runs now, and on what."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import and_, exists, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.states import SessionState
from coriolis.store.rows import load
from coriolis.store.site_rows import Process
from coriolis.store.site_tables import process
from coriolis.store.tables import session
from coriolis.store.types import lease_now

WORKER = "coriolis-worker"

# A worker is there as long as its session; the others tell themselves.
_IN_SESSION = exists(
    select(session.c.id).where(session.c.id == process.c.id, session.c.state == SessionState.LIVE.value)
)


def start(
    conn: Connection, process_id: str, *, application: str, host: str, pid: int, specs: dict[str, Any], now: dt.datetime
) -> None:
    conn.execute(
        sql_insert(process).values(
            id=process_id,
            application=application,
            host=host,
            pid=pid,
            specs=specs,
            seen_at=lease_now(conn),
            created_at=now,
        )
    )


def renew(conn: Connection, process_id: str) -> bool:
    """A sign of life. False: it was forgotten meanwhile."""
    seen = conn.execute(sql_update(process).where(process.c.id == process_id).values(seen_at=lease_now(conn)))
    return seen.rowcount == 1


def end(conn: Connection, process_id: str) -> None:
    conn.execute(sql_delete(process).where(process.c.id == process_id))


def present(conn: Connection, silent_seconds: float) -> list[Process]:
    """What runs: workers with a live session, and others that gave a sign of life lately. One statement."""
    lately = and_(process.c.application != WORKER, process.c.seen_at > lease_now(conn) - silent_seconds)
    order = (process.c.application, process.c.host, process.c.id)
    query = select(process).where(or_(lately, _IN_SESSION)).order_by(*order)
    return [load(Process, row) for row in conn.execute(query)]


def forget(conn: Connection, silent_seconds: float, limit: int) -> int:
    """Removes at most ``limit`` processes that are long gone; gives how many."""
    query = select(process.c.id).where(process.c.seen_at < lease_now(conn) - silent_seconds, ~_IN_SESSION).limit(limit)
    old = list(conn.execute(query).scalars())
    if old:
        conn.execute(sql_delete(process).where(process.c.id.in_(old)))
    return len(old)
