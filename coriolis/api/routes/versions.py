# SPDX-License-Identifier: Apache-2.0
"""Version documents."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.schemas import versions as schemas
from coriolis.api.v1 import versions

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/",
        handler=versions.index,
        policy=None,
        summary="List the versions of the API",
        answer=schemas.VERSIONS,
    ),
    Route(
        method="GET",
        path="/v1",
        handler=versions.show,
        policy=None,
        summary="Show version 1 of the API",
        answer=schemas.ONE_VERSION,
    ),
    Route(
        method="GET",
        path="/v1/openapi.json",
        handler=versions.describe,
        policy=None,
        summary="Show this API as an OpenAPI 3.1 document",
        answer=schemas.OPENAPI,
    ),
)
