# SPDX-License-Identifier: Apache-2.0
"""Queries on idempotency keys: a create that is sent again gives what the first one made."""

from __future__ import annotations

import datetime as dt

from oslo_db import exception as db_exc
from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.engine import Connection

from coriolis.domain.errors import Conflict
from coriolis.store.engine import Clash
from coriolis.store.tables import idempotency


def claim(
    conn: Connection,
    project_id: str,
    key: str | None,
    request_hash: str | None,
    object_id: str,
    now: dt.datetime,
) -> str | None:
    """None: the key is new (or there is none) and now stands for ``object_id``. Otherwise the id made before.

    Two requests at the same time: one of them meets the primary key and is run again.
    :raises Conflict: the key was used with another request
    """
    if key is None:
        return None
    mine = (idempotency.c.project_id == project_id, idempotency.c.key == key)
    row = conn.execute(select(idempotency).where(*mine)).first()
    if row is None:
        values = {"project_id": project_id, "key": key, "request_hash": request_hash or "", "object_id": object_id}
        try:
            conn.execute(insert(idempotency).values(**values, created_at=now))
        except db_exc.DBDuplicateEntry as error:
            raise Clash from error
        return None
    if row.request_hash != (request_hash or ""):
        raise Conflict(
            f"The Idempotency-Key '{key}' was used with another request. Use a new key.", field="Idempotency-Key"
        )
    return str(row.object_id)


def forget(conn: Connection, before: dt.datetime, limit: int) -> int:
    """Removes at most ``limit`` keys older than ``before``; gives how many."""
    both = (idempotency.c.project_id, idempotency.c.key)
    old = [tuple(row) for row in conn.execute(select(*both).where(idempotency.c.created_at < before).limit(limit))]
    if old:
        conn.execute(delete(idempotency).where(tuple_(*both).in_(old)))
    return len(old)
