# SPDX-License-Identifier: Apache-2.0
"""The platforms that live workers serve, and their schemas."""

from __future__ import annotations

from typing import Any

from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.views import providers as view
from coriolis.domain.errors import NotFound

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    return {"providers": view.providers(services.catalogue.providers())}


def schemas(request: ApiRequest, services: Services) -> Json:
    """The schema of one kind, {} for kinds without one."""
    platform, number = request.params["platform"], request.params["type"]
    known = services.catalogue.providers()
    if platform not in known:
        names = ", ".join(known) or "none, as no worker is connected"
        raise NotFound(f"There is no provider {platform[:64]!r}; known are {names}")
    if not (number.isascii() and number.isdecimal()):
        raise NotFound(f"There is no schema {number[:20]!r}: GET /providers tells the numbers")
    key, part = view.SCHEMA_KEYS.get(int(number[:18]), ("", ""))
    schema = getattr(services.catalogue.schemas(platform), part) if part else None
    return {"schemas": {key: schema} if schema is not None else {}}
