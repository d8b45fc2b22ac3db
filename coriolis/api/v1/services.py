# SPDX-License-Identifier: Apache-2.0
"""Hosts with workers."""

from __future__ import annotations

from typing import Any

from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import services as view
from coriolis.commands import services as commands
from coriolis.store import services as queries
from coriolis.store.site_rows import Service

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query)
    with services.db.reader() as conn:
        rows = queries.page(conn, wanted)
    return {"services": _views(rows, services)}


def create(request: ApiRequest, services: Services) -> Json:
    body = request.body["service"]
    new = commands.NewService(
        host=body["host"],
        binary=body["binary"],
        topic=body["topic"],
        enabled=body.get("enabled") is not False,
        mapped_regions=tuple(body.get("mapped_regions") or ()),
    )
    return {"service": _views([commands.create(services.db, new)], services)[0]}


def show(request: ApiRequest, services: Services) -> Json:
    return {"service": _views([_find(request, services)], services)[0]}


def update(request: ApiRequest, services: Services) -> Json:
    """Unknown and unchangeable keys are dropped, as the contract has it."""
    body, seen = request.body["service"], _find(request, services)
    row = commands.update(
        services.db,
        seen.id,
        seen=seen,
        enabled=body.get("enabled"),
        mapped_regions=tuple(body["mapped_regions"] or ()) if "mapped_regions" in body else None,
    )
    return {"service": _views([row], services)[0]}


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, object_id(request, "service_id", "service"))


def _find(request: ApiRequest, services: Services) -> Service:
    key = object_id(request, "service_id", "service")
    with services.db.reader() as conn:
        return queries.get(conn, key)


def _views(rows: list[Service], services: Services) -> list[Json]:
    with services.db.reader() as conn:
        up = queries.up(conn, [row.id for row in rows])
    return [view.service(row, row.id in up) for row in rows]
