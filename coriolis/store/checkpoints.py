# SPDX-License-Identifier: Apache-2.0
"""Queries on checkpoints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from coriolis.store.tables import checkpoint


def store(conn: Connection, values: Mapping[str, tuple[int, Any]], now: dt.datetime) -> None:
    """Overwrites the checkpoints of tasks: task id to (epoch, JSON). Two statements for any number.

    The caller holds the task rows under these epochs (``fence.hold``).
    """
    if not values:
        return
    conn.execute(delete(checkpoint).where(checkpoint.c.task_id.in_(list(values))))
    conn.execute(
        insert(checkpoint),
        [
            {"task_id": task_id, "epoch": epoch, "value": value, "updated_at": now}
            for task_id, (epoch, value) in values.items()
        ],
    )


def of_tasks(conn: Connection, task_ids: Sequence[str]) -> dict[str, Any]:
    """Task id to its checkpoint, for those that have one."""
    if not task_ids:
        return {}
    query = select(checkpoint.c.task_id, checkpoint.c.value).where(checkpoint.c.task_id.in_(list(task_ids)))
    return {row.task_id: row.value for row in conn.execute(query)}
