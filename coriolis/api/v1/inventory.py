# SPDX-License-Identifier: Apache-2.0
"""What is on an endpoint, read by a worker at the moment of asking: instances, networks, storage."""

from __future__ import annotations

from typing import Any

from coriolis.api import environments
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import endpoints
from coriolis.api.v1.accounts import check_account
from coriolis.api.v1.identifiers import environment, from_base64
from coriolis.rpc import messages

Json = Any


def list_instances(request: ApiRequest, services: Services) -> Json:
    """``limit`` is honoured exactly: clients stop at a page that is shorter. ``refresh`` is taken for granted."""
    arguments = {
        "marker": request.query.one("marker"),
        "limit": request.query.number("limit"),
        "name": request.query.one("name"),
    }
    return {"instances": _read(request, services, "list_instances", "instances", arguments) or []}


def get_instance(request: ApiRequest, services: Services) -> Json:
    name = from_base64(request.params["instance"], "instance")
    return {"instance": _read(request, services, "get_instance", f"instance {name[:64]!r}", {"name": name})}


def list_networks(request: ApiRequest, services: Services) -> Json:
    return {"networks": _read(request, services, "list_networks", "networks", {}) or []}


def list_storage(request: ApiRequest, services: Services) -> Json:
    return {"storage": _read(request, services, "list_storage", "storage", {}) or {"storage_backends": []}}


def _read(request: ApiRequest, services: Services, operation: str, what: str, arguments: dict[str, Json]) -> Json:
    row = endpoints.find(request, services)
    check_account(row, services)
    given = environment(request)
    if given:
        given = environments.for_listing(given, services.catalogue.schemas(row.type))
    return services.catalogue.call(
        row.type,
        operation,
        f"The {what} of endpoint {row.name}",
        endpoint=messages.Endpoint(type=row.type, sealed=row.sealed, secret_ref=row.secret_ref),
        arguments={**arguments, "environment": given},
        regions=row.mapped_regions,
        request_id=request.context.request_id,
    )
