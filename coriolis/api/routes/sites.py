# SPDX-License-Identifier: Apache-2.0
"""Where work is done: regions, services, diagnostics."""

from __future__ import annotations

from typing import Any

from coriolis.api.dispatch import Handler, Route
from coriolis.api.paging import PAGE
from coriolis.api.schemas import diagnostics as diagnostic_schemas
from coriolis.api.schemas import regions as region_schemas
from coriolis.api.schemas import services as service_schemas
from coriolis.api.v1 import diagnostics, regions, services

_REGION, _REGIONS = region_schemas.ONE_REGION, region_schemas.REGIONS
_SERVICE, _SERVICES = service_schemas.ONE_SERVICE, service_schemas.SERVICES


def _route(method: str, path: str, handler: Handler, rule: str, summary: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, policy=f"migration:{rule}", summary=summary, **more)


ROUTES: tuple[Route, ...] = (
    # ---- regions
    _route("GET", "/regions", regions.index, "regions:list", "List regions, newest first", answer=_REGIONS, query=PAGE),
    _route(
        "POST",
        "/regions",
        regions.create,
        "regions:create",
        "Create a region",
        answer=_REGION,
        schema=region_schemas.CREATE,
        repeatable=True,
    ),
    _route(
        "GET",
        "/regions/{region_id}",
        regions.show,
        "regions:show",
        "Show a region and what is mapped to it",
        answer=_REGION,
    ),
    _route(
        "PUT",
        "/regions/{region_id}",
        regions.update,
        "regions:update",
        "Update a region; in a disabled one no work is placed",
        answer=_REGION,
        schema=region_schemas.UPDATE,
    ),
    _route(
        "DELETE",
        "/regions/{region_id}",
        regions.delete,
        "regions:delete",
        "Delete a region to which nothing is mapped",
        status=204,
        fails=(409,),
    ),
    # ---- services
    _route(
        "GET", "/services", services.index, "services:list", "List the hosts with workers", answer=_SERVICES, query=PAGE
    ),
    _route(
        "POST",
        "/services",
        services.create,
        "services:create",
        "Make a host known before its first worker registers",
        answer=_SERVICE,
        schema=service_schemas.CREATE,
        fails=(409,),
    ),
    _route(
        "GET", "/services/{service_id}", services.show, "services:show", "Show a host with workers", answer=_SERVICE
    ),
    _route(
        "PUT",
        "/services/{service_id}",
        services.update,
        "services:update",
        "Enable or disable a host, or map it to regions",
        answer=_SERVICE,
        schema=service_schemas.UPDATE,
    ),
    _route(
        "DELETE",
        "/services/{service_id}",
        services.delete,
        "services:delete",
        "Forget a host without a connected worker",
        status=204,
        fails=(409,),
    ),
    # ---- diagnostics
    _route(
        "GET",
        "/diagnostics",
        diagnostics.show,
        "diagnostics:get",
        "Show what each running process runs on",
        answer=diagnostic_schemas.DIAGNOSTICS,
    ),
)
