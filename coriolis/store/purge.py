# SPDX-License-Identifier: Apache-2.0
"""Removes whole jobs. Children go first, so that foreign keys hold at every moment."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection

from coriolis.store import journals
from coriolis.store.tables import (
    action,
    certificate,
    checkpoint,
    effect,
    endpoint,
    event,
    execution,
    execution_instance,
    idempotency,
    progress,
    replica,
    stream,
    task,
    task_output,
)

_BY_TASK = (checkpoint, progress, stream, task_output)
_BY_EXECUTION = (event, effect, execution_instance, certificate)


def actions(conn: Connection, action_ids: Sequence[str]) -> None:
    """Removes these jobs with their executions, tasks, effects, replicas, history, keys and hidden endpoints.
    Deployments of a transfer that goes stay, and forget it.

    The number of statements does not depend on the number of jobs.
    """
    ids = list(action_ids)
    if not ids:
        return
    runs = select(execution.c.id).where(execution.c.action_id.in_(ids)).scalar_subquery()
    tasks = select(task.c.id).where(task.c.execution_id.in_(runs)).scalar_subquery()
    used = select(action.c.origin_endpoint_id, action.c.destination_endpoint_id).where(action.c.id.in_(ids))
    ends = sorted({end for row in conn.execute(used) for end in row})
    for table in _BY_TASK:
        conn.execute(delete(table).where(table.c.task_id.in_(tasks)))
    for table in _BY_EXECUTION:
        conn.execute(delete(table).where(table.c.execution_id.in_(runs)))
    conn.execute(delete(task).where(task.c.execution_id.in_(runs)))
    conn.execute(delete(execution).where(execution.c.action_id.in_(ids)))
    journals.forget(conn, ids)
    conn.execute(delete(replica).where(replica.c.transfer_id.in_(ids)))
    conn.execute(update(action).where(action.c.transfer_id.in_(ids)).values(transfer_id=None))
    conn.execute(delete(action).where(action.c.id.in_(ids)))
    conn.execute(delete(idempotency).where(idempotency.c.object_id.in_(ids)))
    conn.execute(delete(endpoint).where(endpoint.c.id.in_(ends), endpoint.c.hidden.is_(True)))
