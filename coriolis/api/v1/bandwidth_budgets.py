# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import bandwidth_budgets as view
from coriolis.commands import bandwidth_budgets as commands
from coriolis.domain import bandwidth
from coriolis.store import bandwidth_budgets as queries
from coriolis.store import streams
from coriolis.store.rows import BandwidthBudget

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query)
    with services.db.reader() as conn:
        return {"bandwidth_budgets": _views(conn, queries.page(conn, wanted), services)}


def create(request: ApiRequest, services: Services) -> Json:
    body = dict(request.body["bandwidth_budget"])
    body["description"] = body.get("description") or ""
    return _one(commands.create(services.db, commands.NewBudget(**body)), services)


def show(request: ApiRequest, services: Services) -> Json:
    return _one(_find(request, services), services)


def update(request: ApiRequest, services: Services) -> Json:
    changes = dict(request.body["bandwidth_budget"])
    if "description" in changes:
        changes["description"] = changes["description"] or ""
    seen = _find(request, services)
    return _one(commands.update(services.db, seen.id, changes, seen=seen), services)


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, _key(request))


def _key(request: ApiRequest) -> str:
    return object_id(request, "bandwidth_budget_id", "bandwidth budget")


def _find(request: ApiRequest, services: Services) -> BandwidthBudget:
    key = _key(request)
    with services.db.reader() as conn:
        return queries.get(conn, key)


def _one(row: BandwidthBudget, services: Services) -> Json:
    with services.db.reader() as conn:
        return {"bandwidth_budget": _views(conn, [row], services)[0]}


def _views(conn: Connection, rows: list[BandwidthBudget], services: Services) -> list[Json]:
    """With what uses them now. One statement for any number."""
    now = services.db.utcnow()
    moving = streams.running(conn) if rows else []
    usage = bandwidth.usage((one.budgets, one.used, one.granted) for one in moving)
    return [
        view.bandwidth_budget(row, bandwidth.limit_at(commands.rule(row), now), usage.get(row.id, bandwidth.Usage()))
        for row in rows
    ]
