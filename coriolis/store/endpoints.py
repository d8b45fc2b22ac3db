# SPDX-License-Identifier: Apache-2.0
"""Queries on endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.store import paging
from coriolis.store.rows import Endpoint, load
from coriolis.store.tables import action, endpoint, execution

ORDER = paging.Order(
    keys={
        "created_at": endpoint.c.created_at,
        "id": endpoint.c.id,
        "name": endpoint.c.name,
        "type": endpoint.c.type,
        "updated_at": func.coalesce(endpoint.c.updated_at, endpoint.c.created_at),
    }
)

_FIND = select(endpoint).where(endpoint.c.id.in_(bindparam("ids", expanding=True)))


def insert(conn: Connection, row: Endpoint) -> None:
    conn.execute(sql_insert(endpoint), asdict(row))


def get(conn: Connection, endpoint_id: str, project_id: str | None) -> Endpoint:
    """One endpoint, hidden ones included; ``project_id`` None looks in all projects.

    :raises NotFound: no such endpoint there
    """
    found = find(conn, [endpoint_id], project_id).get(endpoint_id)
    if found is None:
        raise NotFound(f"There is no endpoint {endpoint_id}.")
    return found


def find(conn: Connection, endpoint_ids: Iterable[str], project_id: str | None) -> dict[str, Endpoint]:
    """The endpoints of these ids that exist, by id."""
    query = _FIND if project_id is None else _FIND.where(endpoint.c.project_id == project_id)
    return {row.id: load(Endpoint, row) for row in conn.execute(query, {"ids": list(endpoint_ids)})}


def page(conn: Connection, project_id: str | None, wanted: paging.Page) -> list[Endpoint]:
    """The listed endpoints of a project, or of all."""
    query = select(endpoint).where(endpoint.c.hidden.is_(False))
    if project_id is not None:
        query = query.where(endpoint.c.project_id == project_id)
    return [load(Endpoint, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def update(conn: Connection, seen: Endpoint, values: Mapping[str, Any]) -> bool:
    """False: somebody else has changed or deleted it since it was read."""
    unchanged = endpoint.c.updated_at.is_not_distinct_from(seen.updated_at)
    result = conn.execute(sql_update(endpoint).where(endpoint.c.id == seen.id, unchanged), dict(values))
    return result.rowcount == 1


def user_of(conn: Connection, endpoint_id: str) -> str | None:
    """The kind and id of a job that needs the endpoint, if any: one that is not deleted, or that still runs."""
    either = or_(action.c.origin_endpoint_id == endpoint_id, action.c.destination_endpoint_id == endpoint_id)
    runs = exists().where(execution.c.action_id == action.c.id, execution.c.finished_at.is_(None))
    needs = and_(either, or_(action.c.deleted_at.is_(None), runs))
    row = conn.execute(select(action.c.kind, action.c.id).where(needs).limit(1)).first()
    return f"{row.kind} {row.id}" if row else None


def jobs_of(conn: Connection, endpoint_id: str) -> list[str]:
    """The ids of the jobs that refer to the endpoint."""
    either = or_(action.c.origin_endpoint_id == endpoint_id, action.c.destination_endpoint_id == endpoint_id)
    return list(conn.execute(select(action.c.id).where(either)).scalars())


def delete(conn: Connection, endpoint_ids: Iterable[str]) -> None:
    conn.execute(sql_delete(endpoint).where(endpoint.c.id.in_(list(endpoint_ids))))
