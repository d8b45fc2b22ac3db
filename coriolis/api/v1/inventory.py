# SPDX-License-Identifier: Apache-2.0
"""What is on a platform: read by a worker, now."""

from __future__ import annotations

from typing import Any

from coriolis.api import environments, options
from coriolis.api.answers import Text
from coriolis.api.catalogue import Schemas
from coriolis.api.delegation import lent
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import endpoints
from coriolis.api.v1.accounts import check_account
from coriolis.api.v1.identifiers import environment, from_base64, option_names
from coriolis.api.views import inventory as view
from coriolis.domain.capabilities import Capability
from coriolis.store.rows import Endpoint

Json = Any

CSV = "text/csv"


def list_instances(request: ApiRequest, services: Services) -> Json:
    """``limit`` is honoured exactly: clients stop at a page that is shorter. ``refresh`` is taken for granted."""
    arguments = {
        "marker": request.query.one("marker"),
        "limit": request.query.number("limit"),
        "name": request.query.one("name"),
    }
    if arguments["limit"] == 0:
        endpoints.find(request, services)
        return {"instances": []}
    return {"instances": _read(request, services, "list_instances", "instances", arguments) or []}


def get_instance(request: ApiRequest, services: Services) -> Json:
    name = from_base64(request.params["instance"], "instance")
    return {"instance": _read(request, services, "get_instance", f"instance {name[:64]!r}", {"name": name})}


def export(request: ApiRequest, services: Services) -> Json:
    """CSV; as one JSON text for a caller who does not ask for CSV."""
    lines = _read(request, services, "export_inventory", "inventory", {}) or []
    text = view.inventory(lines)
    return Text(body=text, content_type=CSV) if request.media_type == CSV else text


def list_networks(request: ApiRequest, services: Services) -> Json:
    return {"networks": _read(request, services, "list_networks", "networks", {}) or []}


def list_storage(request: ApiRequest, services: Services) -> Json:
    return {"storage": _read(request, services, "list_storage", "storage", {}) or {"storage_backends": []}}


def source_options(request: ApiRequest, services: Services) -> Json:
    return {"source_options": _options(request, services, "source")}


def destination_options(request: ApiRequest, services: Services) -> Json:
    return {"destination_options": _options(request, services, "destination")}


def source_minion_pool_options(request: ApiRequest, services: Services) -> Json:
    return {"source_minion_pool_options": _options(request, services, "source_minion_pool")}


def destination_minion_pool_options(request: ApiRequest, services: Services) -> Json:
    return {"destination_minion_pool_options": _options(request, services, "destination_minion_pool")}


def _options(request: ApiRequest, services: Services, of: str) -> list[Json]:
    """``of``: the part of the provider whose options are wanted; a provider without that part has none."""
    names = option_names(request)
    row = endpoints.find(request, services)
    schemas = check_account(row, services)
    schema: dict[str, Json] | None = getattr(schemas, of)
    given = _environment(request, schemas if schema is None else Schemas(source=schema))
    known: list[Json] = []
    if schema is not None and Capability.OPTIONS in services.catalogue.providers().get(row.type, ()):
        arguments = {"of": of, "names": names, "environment": given}
        known = _ask(request, services, row, "list_options", "options", arguments)
    return options.merged(schema, known, names)


def _read(request: ApiRequest, services: Services, operation: str, what: str, arguments: dict[str, Json]) -> Json:
    row = endpoints.find(request, services)
    given = _environment(request, check_account(row, services))
    return _ask(request, services, row, operation, what, {**arguments, "environment": given})


def _environment(request: ApiRequest, schemas: Schemas) -> dict[str, Json]:
    given = environment(request)
    return environments.for_listing(given, (schemas.source, schemas.destination)) if given else {}


def _ask(
    request: ApiRequest, services: Services, row: Endpoint, operation: str, what: str, arguments: dict[str, Json]
) -> Json:
    return services.catalogue.call(
        row.type,
        operation,
        f"The {what} of endpoint {row.name}",
        endpoint=lent(row, request, services),
        arguments=arguments,
        regions=row.mapped_regions,
        request_id=request.context.request_id,
    )
