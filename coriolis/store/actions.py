# SPDX-License-Identifier: Apache-2.0
"""Queries on jobs: migrations, transfers and deployments."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Update, bindparam, func, or_, select
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import paging
from coriolis.store.rows import Action, Execution, load
from coriolis.store.tables import action, execution

MIGRATION, TRANSFER, DEPLOYMENT = "migration", "transfer", "deployment"
KINDS = (MIGRATION, TRANSFER, DEPLOYMENT)

ORDER = paging.Order(
    keys={
        "created_at": action.c.created_at,
        "id": action.c.id,
        "updated_at": func.coalesce(action.c.updated_at, action.c.created_at),
        "last_execution_status": action.c.last_execution_status,
        "origin_endpoint_id": action.c.origin_endpoint_id,
        "destination_endpoint_id": action.c.destination_endpoint_id,
        "percent": action.c.percent,
        "scenario": func.coalesce(action.c.scenario, ""),
        "transfer_id": func.coalesce(action.c.transfer_id, ""),
        "user_id": action.c.user_id,
    }
)

_FINAL = [state.value for state in FINAL_EXECUTION_STATES]
_FIND = select(action).where(action.c.id.in_(bindparam("ids", expanding=True)))
_HOLD = sql_update(action).where(action.c.id == bindparam("b_id")).values(fence=action.c.fence + bindparam("by"))


def insert(conn: Connection, row: Action) -> None:
    conn.execute(sql_insert(action), asdict(row))


def get(conn: Connection, action_id: str, project_id: str | None, kind: str = MIGRATION) -> Action:
    """One job that is not deleted; ``project_id`` None looks in all projects.

    :raises NotFound: no such job there
    """
    query = select(action).where(action.c.id == action_id, action.c.kind == kind, action.c.deleted_at.is_(None))
    if project_id is not None:
        query = query.where(action.c.project_id == project_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound(f"There is no {kind} {action_id}.")
    return load(Action, row)


def hold(conn: Connection, action_id: str, *, by: int = 0) -> Action:
    """The job, which nobody else holds until the end of the transaction; its ``fence`` is raised ``by`` so much.

    :raises NotFound: it is gone
    """
    conn.execute(_HOLD, {"b_id": action_id, "by": by})
    found = find(conn, [action_id]).get(action_id)
    if found is None:
        raise NotFound(f"There is no job {action_id}.")
    return found


def find(conn: Connection, action_ids: Sequence[str]) -> dict[str, Action]:
    """The jobs of these ids that exist, of any kind, deleted ones included. One statement."""
    if not action_ids:
        return {}
    found = conn.execute(_FIND, {"ids": list(action_ids)})
    return {row.id: load(Action, row) for row in found}


def page(
    conn: Connection,
    project_id: str | None,
    wanted: paging.Page,
    *,
    kind: str = MIGRATION,
    statuses: Sequence[str] = (),
    deleted: bool = False,
) -> list[Action]:
    """The jobs of a kind of a project, or of all; ``statuses`` keeps only those whose last execution has one of them,
    ``deleted`` brings deleted ones as well."""
    query = select(action).where(action.c.kind == kind)
    if project_id is not None:
        query = query.where(action.c.project_id == project_id)
    if statuses:
        query = query.where(action.c.last_execution_status.in_(list(statuses)))
    if not deleted:
        query = query.where(action.c.deleted_at.is_(None))
    return [load(Action, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def update(conn: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """One executemany: each mapping has ``b_id`` and the same columns as the others."""
    if changes:
        conn.execute(_update(tuple(changes[0])), list(changes))


@functools.cache
def _update(names: tuple[str, ...]) -> Update:
    values: dict[str, Any] = {name: bindparam(name) for name in names if name != "b_id"}
    return sql_update(action).where(action.c.id == bindparam("b_id")).values(values)


def open_runs(conn: Connection, transfer_id: str) -> list[Execution]:
    """The executions of a transfer and of its deployments that have begun, or shall begin, and have not ended."""
    waiting = ExecutionState.UNEXECUTED.value
    query = (
        select(execution)
        .join(action, action.c.id == execution.c.action_id)
        .where(or_(action.c.id == transfer_id, action.c.transfer_id == transfer_id))
        .where(execution.c.state.not_in([*_FINAL, waiting]))
        .order_by(execution.c.created_at, execution.c.id)
    )
    return [load(Execution, row) for row in conn.execute(query)]


def waiting(conn: Connection, deployer_ids: Sequence[str]) -> list[Execution]:
    """The runs of deployments that wait for the end of these executions."""
    query = (
        select(execution)
        .join(action, action.c.id == execution.c.action_id)
        .where(action.c.deployer_id.in_(list(deployer_ids)))
        .where(execution.c.state == ExecutionState.UNEXECUTED.value)
        .order_by(execution.c.created_at, execution.c.id)
    )
    return [load(Execution, row) for row in conn.execute(query)]


def finished_before(conn: Connection, moment: dt.datetime, limit: int) -> list[str]:
    """Ids of at most ``limit`` jobs to be forgotten: migrations and deployments whose executions all ended before
    ``moment``, and transfers that were deleted before it."""
    open_one = (
        select(execution.c.id)
        .where(execution.c.action_id == action.c.id)
        .where(execution.c.finished_at.is_(None) | (execution.c.finished_at >= moment))
        .exists()
    )
    query = (
        select(action.c.id)
        .where(action.c.created_at < moment, action.c.last_execution_status.in_(_FINAL))
        .where(or_(action.c.kind.in_((MIGRATION, DEPLOYMENT)), action.c.deleted_at < moment))
        .where(~open_one)
        .order_by(action.c.created_at, action.c.id)
        .limit(limit)
    )
    return list(conn.execute(query).scalars())
