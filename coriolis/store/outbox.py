# SPDX-License-Identifier: Apache-2.0
"""Queries on the outbox: hints decided in a transaction, sent after it, at least once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Connection

from coriolis.store.rows import Hint, load
from coriolis.store.tables import outbox

Line = tuple[str, str | None, str, Mapping[str, Any]]  # topic, server, method, fields of the message


def put(conn: Connection, lines: Sequence[Line], now: dt.datetime) -> None:
    """Adds hints."""
    if lines:
        conn.execute(
            insert(outbox),
            [
                {"topic": topic, "server": server, "method": method, "payload": dict(payload), "created_at": now}
                for topic, server, method, payload in lines
            ],
        )


def oldest(conn: Connection, limit: int) -> list[Hint]:
    """At most ``limit`` lines in order of writing."""
    return [load(Hint, row) for row in conn.execute(select(outbox).order_by(outbox.c.id).limit(limit))]


def remove(conn: Connection, ids: Sequence[int]) -> None:
    """Forgets lines that were sent."""
    if ids:
        conn.execute(delete(outbox).where(outbox.c.id.in_(list(ids))))


def age(conn: Connection, now: dt.datetime) -> tuple[int, float]:
    """(lines waiting, seconds that the oldest has waited)."""
    count, first = conn.execute(select(func.count(), func.min(outbox.c.created_at))).one()
    return int(count), (now - first).total_seconds() if first else 0.0
