# SPDX-License-Identifier: Apache-2.0
"""Platforms and their schemas."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.schemas import providers as schemas
from coriolis.api.v1 import providers

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/providers",
        handler=providers.index,
        policy="migration:providers:list",
        summary="List the platforms that live workers serve",
        answer=schemas.PROVIDERS,
    ),
    Route(
        method="GET",
        path="/providers/{platform}/schemas/{type}",
        handler=providers.schemas,
        policy="migration:providers:show_schemas",
        summary="Show a JSON schema of a provider",
        answer=schemas.SCHEMAS,
        fails=(502,),
    ),
)
