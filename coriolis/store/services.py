# SPDX-License-Identifier: Apache-2.0
"""Queries on services: the hosts with workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from oslo_db import exception as db_exc
from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.domain.states import SessionState
from coriolis.store import paging
from coriolis.store.engine import Clash
from coriolis.store.rows import load
from coriolis.store.site_rows import Service
from coriolis.store.site_tables import service
from coriolis.store.tables import session

ORDER = paging.Order(
    keys={
        "created_at": service.c.created_at,
        "id": service.c.id,
        "host": service.c.host,
        "binary": service.c.binary,
        "topic": service.c.topic,
        "enabled": service.c.enabled,
        "updated_at": func.coalesce(service.c.updated_at, service.c.created_at),
    }
)


def insert(conn: Connection, row: Service) -> None:
    """:raises Clash: somebody else made the same one meanwhile"""
    try:
        conn.execute(sql_insert(service), asdict(row))
    except db_exc.DBDuplicateEntry as error:
        raise Clash from error


def get(conn: Connection, service_id: str, *, hold: bool = False) -> Service:
    """``hold``: nobody can change it until the end of the transaction. :raises NotFound:"""
    query = select(service).where(service.c.id == service_id)
    row = conn.execute(query.with_for_update() if hold else query).first()
    if row is None:
        raise NotFound(f"There is no service {service_id}.")
    return load(Service, row)


def find(conn: Connection, host: str, binary: str, topic: str) -> Service | None:
    """The service of these three, held until the end of the transaction."""
    query = select(service).where(service.c.host == host, service.c.binary == binary, service.c.topic == topic)
    row = conn.execute(query.with_for_update()).first()
    return load(Service, row) if row else None


def page(conn: Connection, wanted: paging.Page) -> list[Service]:
    return [load(Service, row) for row in paging.fetch(conn, select(service), wanted, ORDER)]


def update(conn: Connection, service_id: str, values: Mapping[str, Any]) -> None:
    conn.execute(sql_update(service).where(service.c.id == service_id), dict(values))


def delete(conn: Connection, service_id: str) -> None:
    """Its dead sessions stay, for the tasks that name them."""
    conn.execute(sql_update(session).where(session.c.service_id == service_id).values(service_id=None))
    conn.execute(sql_delete(service).where(service.c.id == service_id))


def up(conn: Connection, service_ids: Collection[str]) -> set[str]:
    """Those of these services that have a live worker. One statement."""
    query = select(session.c.service_id).where(
        session.c.state == SessionState.LIVE.value, session.c.service_id.in_(list(service_ids))
    )
    return set(conn.execute(query.distinct()).scalars())
