# SPDX-License-Identifier: Apache-2.0
"""Queries on bandwidth budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.store import paging
from coriolis.store.rows import BandwidthBudget, load
from coriolis.store.tables import bandwidth_budget

ORDER = paging.Order(
    keys={
        "created_at": bandwidth_budget.c.created_at,
        "id": bandwidth_budget.c.id,
        "name": bandwidth_budget.c.name,
        "scope": bandwidth_budget.c.scope,
        "updated_at": func.coalesce(bandwidth_budget.c.updated_at, bandwidth_budget.c.created_at),
    }
)

_ENABLED = select(bandwidth_budget).where(bandwidth_budget.c.enabled.is_(True)).order_by(bandwidth_budget.c.id)


def insert(conn: Connection, row: BandwidthBudget) -> None:
    conn.execute(sql_insert(bandwidth_budget), asdict(row))


def get(conn: Connection, budget_id: str, *, hold: bool = False) -> BandwidthBudget:
    """``hold``: nobody can change it until the end of the transaction. :raises NotFound: no such budget"""
    query = select(bandwidth_budget).where(bandwidth_budget.c.id == budget_id)
    row = conn.execute(query.with_for_update() if hold else query).first()
    if row is None:
        raise NotFound(f"There is no bandwidth budget {budget_id}.")
    return load(BandwidthBudget, row)


def page(conn: Connection, wanted: paging.Page) -> list[BandwidthBudget]:
    return [load(BandwidthBudget, row) for row in paging.fetch(conn, select(bandwidth_budget), wanted, ORDER)]


def update(conn: Connection, budget_id: str, values: Mapping[str, Any]) -> None:
    conn.execute(sql_update(bandwidth_budget).where(bandwidth_budget.c.id == budget_id), dict(values))


def delete(conn: Connection, budget_id: str) -> bool:
    """False: there was none."""
    return bool(conn.execute(sql_delete(bandwidth_budget).where(bandwidth_budget.c.id == budget_id)).rowcount)


def enabled(conn: Connection) -> list[BandwidthBudget]:
    """Those that limit something, by id."""
    return [load(BandwidthBudget, row) for row in conn.execute(_ENABLED)]


def hold(conn: Connection) -> list[BandwidthBudget]:
    """As ``enabled``. Who shares them out meanwhile waits for the end of this transaction."""
    return [load(BandwidthBudget, row) for row in conn.execute(_ENABLED.with_for_update())]
