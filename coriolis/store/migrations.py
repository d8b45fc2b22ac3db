# SPDX-License-Identifier: Apache-2.0
"""Queries on migrations."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Update, bindparam, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import paging
from coriolis.store.rows import Migration, load
from coriolis.store.tables import execution, migration

ORDER = paging.Order(
    keys={
        "created_at": migration.c.created_at,
        "id": migration.c.id,
        "updated_at": func.coalesce(migration.c.updated_at, migration.c.created_at),
        "last_execution_status": migration.c.last_execution_status,
        "origin_endpoint_id": migration.c.origin_endpoint_id,
        "destination_endpoint_id": migration.c.destination_endpoint_id,
        "percent": migration.c.percent,
    }
)

_FIND = select(migration).where(migration.c.id.in_(bindparam("ids", expanding=True)))


def insert(conn: Connection, row: Migration) -> None:
    conn.execute(sql_insert(migration), asdict(row))


def get(conn: Connection, migration_id: str, project_id: str | None) -> Migration:
    """One migration; ``project_id`` None looks in all projects.

    :raises NotFound: no such migration there
    """
    query = select(migration).where(migration.c.id == migration_id)
    if project_id is not None:
        query = query.where(migration.c.project_id == project_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound(f"There is no migration {migration_id}.")
    return load(Migration, row)


def find(conn: Connection, migration_ids: Sequence[str]) -> dict[str, Migration]:
    """The migrations of these ids that exist. One statement."""
    if not migration_ids:
        return {}
    found = conn.execute(_FIND, {"ids": list(migration_ids)})
    return {row.id: load(Migration, row) for row in found}


def page(
    conn: Connection, project_id: str | None, wanted: paging.Page, *, statuses: Sequence[str] = ()
) -> list[Migration]:
    """The migrations of a project, or of all; ``statuses`` keeps only those whose last execution has one of them."""
    query = select(migration)
    if project_id is not None:
        query = query.where(migration.c.project_id == project_id)
    if statuses:
        query = query.where(migration.c.last_execution_status.in_(list(statuses)))
    return [load(Migration, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def update(conn: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """One executemany: each mapping has ``b_id`` and the same columns as the others."""
    if changes:
        conn.execute(_update(tuple(changes[0])), list(changes))


@functools.cache
def _update(names: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in names if name != "b_id"}
    return sql_update(migration).where(migration.c.id == bindparam("b_id")).values(values)


def finished_before(conn: Connection, moment: dt.datetime, limit: int) -> list[str]:
    """Ids of at most ``limit`` migrations whose executions all ended before ``moment``."""
    open_one = (
        select(execution.c.id)
        .where(execution.c.migration_id == migration.c.id)
        .where(execution.c.finished_at.is_(None) | (execution.c.finished_at >= moment))
        .exists()
    )
    query = (
        select(migration.c.id)
        .where(migration.c.created_at < moment, migration.c.last_execution_status.in_(FINAL_EXECUTION_STATES))
        .where(~open_one)
        .order_by(migration.c.created_at, migration.c.id)
        .limit(limit)
    )
    return list(conn.execute(query).scalars())


def delete(conn: Connection, migration_ids: Iterable[str]) -> None:
    """The rows alone; ``commands.migrations`` removes what hangs on them first."""
    conn.execute(sql_delete(migration).where(migration.c.id.in_(list(migration_ids))))
