# SPDX-License-Identifier: Apache-2.0
"""Queries on schedules. What is due is told by the clock of the database alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, or_, select
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.store import paging
from coriolis.store.rows import load
from coriolis.store.standing_rows import Schedule
from coriolis.store.standing_tables import schedule
from coriolis.store.types import lease_now

ORDER = paging.Order(
    keys={
        "created_at": schedule.c.created_at,
        "id": schedule.c.id,
        "enabled": schedule.c.enabled,
        "updated_at": func.coalesce(schedule.c.updated_at, schedule.c.created_at),
    }
)


def clock(conn: Connection) -> dt.datetime:
    """Naive UTC by the database."""
    seconds = float(conn.execute(select(lease_now(conn))).scalar_one())
    return dt.datetime.fromtimestamp(seconds, dt.UTC).replace(tzinfo=None)


def insert(conn: Connection, row: Schedule) -> None:
    conn.execute(sql_insert(schedule), asdict(row))


def get(conn: Connection, transfer_id: str, schedule_id: str) -> Schedule:
    """:raises NotFound: the transfer has no such schedule"""
    row = conn.execute(
        select(schedule).where(schedule.c.id == schedule_id, schedule.c.transfer_id == transfer_id)
    ).first()
    if row is None:
        raise NotFound(f"The transfer has no schedule {schedule_id}.")
    return load(Schedule, row)


def page(
    conn: Connection, transfer_id: str, wanted: paging.Page, *, unexpired_at: dt.datetime | None = None
) -> list[Schedule]:
    """``unexpired_at``: only those that are not expired then."""
    query = select(schedule).where(schedule.c.transfer_id == transfer_id)
    if unexpired_at is not None:
        query = query.where(_alive(unexpired_at))
    return [load(Schedule, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def change(conn: Connection, row: Schedule, values: Mapping[str, Any]) -> bool:
    """False: somebody else has changed it, or it has fired, since it was read."""
    result = conn.execute(
        sql_update(schedule)
        .where(schedule.c.id == row.id, schedule.c.version == row.version)
        .values(**values, version=row.version + 1)
    )
    return result.rowcount == 1


def delete(conn: Connection, schedule_id: str) -> None:
    conn.execute(sql_delete(schedule).where(schedule.c.id == schedule_id))


def delete_of(conn: Connection, transfer_ids: Collection[str]) -> None:
    """Removes the schedules of these transfers."""
    conn.execute(sql_delete(schedule).where(schedule.c.transfer_id.in_(list(transfer_ids))))


def due(conn: Connection, now: dt.datetime, limit: int) -> list[Schedule]:
    """At most ``limit`` schedules whose minute has come, the longest due first."""
    query = (
        select(schedule)
        .where(schedule.c.enabled.is_(True), schedule.c.next_fire_at <= now, _alive(now))
        .order_by(schedule.c.next_fire_at, schedule.c.id)
        .limit(limit)
    )
    return [load(Schedule, row) for row in conn.execute(query)]


def _alive(now: dt.datetime) -> Any:
    return or_(schedule.c.expiration_date.is_(None), schedule.c.expiration_date > now)
