# SPDX-License-Identifier: Apache-2.0
"""Where workers stand and endpoints are reached from."""

from __future__ import annotations

from typing import Any

from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import regions as view
from coriolis.commands import regions as commands
from coriolis.store import regions as queries
from coriolis.store.site_rows import Region

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query)
    with services.db.reader() as conn:
        rows = queries.page(conn, wanted)
    return {"regions": _views(rows, services)}


def create(request: ApiRequest, services: Services) -> Json:
    body = request.body["region"]
    row = commands.create(
        services.db,
        request.caller,
        name=body["name"],
        description=body.get("description") or "",
        enabled=body.get("enabled") is not False,
        idempotency_key=request.idempotency_key,
        request_hash=request_hash(services.vault, "regions", request.body),
    )
    return {"region": _views([row], services)[0]}


def show(request: ApiRequest, services: Services) -> Json:
    return {"region": _views([_find(request, services)], services)[0]}


def update(request: ApiRequest, services: Services) -> Json:
    """Unknown keys are dropped, as the contract has it; null changes nothing but the description."""
    body, seen = request.body["region"], _find(request, services)
    changes = {name: body[name] for name in ("name", "enabled") if body.get(name) is not None}
    if "description" in body:
        changes["description"] = body["description"] or ""
    row = commands.update(services.db, seen.id, changes, seen=seen)
    return {"region": _views([row], services)[0]}


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, object_id(request, "region_id", "region"))


def _find(request: ApiRequest, services: Services) -> Region:
    key = object_id(request, "region_id", "region")
    with services.db.reader() as conn:
        return queries.get(conn, key)


def _views(rows: list[Region], services: Services) -> list[Json]:
    with services.db.reader() as conn:
        endpoints, hosts = queries.mapped_to(conn, [row.id for row in rows])
    return [view.region(row, endpoints[row.id], hosts[row.id]) for row in rows]
