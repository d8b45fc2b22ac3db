# SPDX-License-Identifier: Apache-2.0
"""Platform accounts."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.routes.older import with_action
from coriolis.api.schemas import endpoints as schemas
from coriolis.api.v1 import endpoints

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/endpoints",
        handler=endpoints.index,
        policy="migration:endpoints:list",
        summary="List endpoints, newest first",
        query=PAGE,
        answer=schemas.ENDPOINTS,
    ),
    Route(
        method="POST",
        path="/endpoints",
        handler=endpoints.create,
        policy="migration:endpoints:create",
        summary="Create an endpoint",
        repeatable=True,
        schema=schemas.CREATE,
        answer=schemas.ONE_ENDPOINT,
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}",
        handler=endpoints.show,
        policy="migration:endpoints:show",
        summary="Show an endpoint",
        answer=schemas.ONE_ENDPOINT,
    ),
    Route(
        method="PUT",
        path="/endpoints/{endpoint_id}",
        handler=endpoints.update,
        policy="migration:endpoints:update",
        summary="Update an endpoint",
        schema=schemas.UPDATE,
        answer=schemas.ONE_ENDPOINT,
        fails=(409,),
    ),
    Route(
        method="DELETE",
        path="/endpoints/{endpoint_id}",
        handler=endpoints.delete,
        policy="migration:endpoints:delete",
        summary="Delete an endpoint that no migration uses",
        status=204,
    ),
    *with_action(
        Route(
            method="POST",
            path="/endpoints/{endpoint_id}/actions",
            handler=endpoints.action,
            policy="migration:endpoints:validate_connection",
            summary="Check that an endpoint can be reached with its credentials",
            schema=schemas.ACTION,
            answer=schemas.VALIDATION,
        )
    ),
)
