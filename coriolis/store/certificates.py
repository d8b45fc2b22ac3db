# SPDX-License-Identifier: Apache-2.0
"""Queries on certificates. One that was signed is never changed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from oslo_db import exception as db_exc
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from coriolis.store.engine import Clash
from coriolis.store.tables import certificate


def get(conn: Connection, execution_id: str) -> Any:
    """The document, or None."""
    return conn.execute(select(certificate.c.document).where(certificate.c.execution_id == execution_id)).scalar()


def keep(conn: Connection, execution_id: str, document: Any, now: dt.datetime) -> None:
    """:raises Clash: somebody else has just signed one"""
    try:
        conn.execute(insert(certificate).values(execution_id=execution_id, document=document, created_at=now))
    except db_exc.DBDuplicateEntry as error:
        raise Clash from error
