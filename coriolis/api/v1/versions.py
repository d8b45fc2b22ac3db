# SPDX-License-Identifier: Apache-2.0
"""Version documents, for discovery. They need no token."""

from __future__ import annotations

from typing import Any

from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.views import versions as view

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    return {"versions": [view.version(request.base_url)]}


def describe(request: ApiRequest, services: Services) -> Json:
    return services.description


def show(request: ApiRequest, services: Services) -> Json:
    return {"version": view.version(request.base_url)}
