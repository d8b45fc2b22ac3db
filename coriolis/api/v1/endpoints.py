# SPDX-License-Identifier: Apache-2.0
"""Platform accounts."""

from __future__ import annotations

import uuid
from typing import Any

from coriolis.api.delegation import lent
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.accounts import check_account, seal
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import endpoints as view
from coriolis.api.views import masking
from coriolis.commands import endpoints as commands
from coriolis.domain.errors import CoriolisError, Invalid, NotFound
from coriolis.store import endpoints as queries
from coriolis.store.rows import Endpoint

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query)
    with services.db.reader() as conn:
        rows = queries.page(conn, request.project_id, wanted)
    return {"endpoints": _views(rows, services)}


def create(request: ApiRequest, services: Services) -> Json:
    body = request.body["endpoint"]
    live = services.catalogue.providers()
    if live and body["type"] not in live:
        services.catalogue.require(body["type"], "endpoint.type")
    kept = seal(services.vault, body["connection_info"], "endpoint.connection_info")
    new = commands.NewEndpoint(
        name=body["name"],
        type=body["type"],
        description=body.get("description") or "",
        mapped_regions=tuple(body.get("mapped_regions") or ()),
        sealed=kept.sealed,
        secret_ref=kept.secret_ref,
    )
    row = commands.create(
        services.db,
        request.caller,
        new,
        idempotency_key=request.idempotency_key,
        request_hash=request_hash(services.vault, "endpoints", request.body),
    )
    return {"endpoint": _views([row], services)[0]}


def show(request: ApiRequest, services: Services) -> Json:
    return {"endpoint": _views([find(request, services)], services)[0]}


def update(request: ApiRequest, services: Services) -> Json:
    """Unknown and unchangeable keys are dropped, as the contract has it; ``***`` leaves a secret as it is."""
    body = request.body["endpoint"]
    row = find(request, services)
    changes: dict[str, Json] = {key: body[key] for key in ("name",) if key in body}
    if "description" in body:
        changes["description"] = body["description"] or ""
    if "mapped_regions" in body:
        changes["mapped_regions"] = list(body["mapped_regions"] or ())
    if "connection_info" in body:
        masked = masking.masked_place(body["connection_info"], "") is not None
        stored = services.vault.unseal(row.sealed) if row.sealed and masked else {}
        sent = masking.restore(body["connection_info"], stored)
        kept = seal(services.vault, sent, "endpoint.connection_info")
        changes.update({"sealed": kept.sealed} if kept.sealed is not None else {"secret_ref": kept.secret_ref})
    row = commands.update(services.db, request.caller, row, changes)
    return {"endpoint": _views([row], services)[0]}


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, request.caller, object_id(request, "endpoint_id", "endpoint"))


def action(request: ApiRequest, services: Services) -> Json:
    """Never an HTTP error for bad credentials: the answer says whether they are good."""
    row = find(request, services)
    try:
        check_account(row, services)
        services.catalogue.call(
            row.type,
            "check",
            f"endpoint {row.name}",
            endpoint=lent(row, request, services),
            regions=row.mapped_regions,
            request_id=request.context.request_id,
        )
    except CoriolisError as error:
        return {"validate-connection": {"valid": False, "message": error.message}}
    return {"validate-connection": {"valid": True, "message": None}}


def find(request: ApiRequest, services: Services) -> Endpoint:
    """The endpoint of the path. :raises NotFound: there is none that the caller may see"""
    key = object_id(request, "endpoint_id", "endpoint")
    with services.db.reader() as conn:
        return queries.get(conn, key, request.caller.scope)


def named(body: dict[str, Json], side: str, noun: str, request: ApiRequest, services: Services) -> Endpoint:
    """The endpoint that the body of a job (``noun``) names for this side.

    :raises Invalid: the caller has none of this id, or no worker has its provider
    """
    key, where = body[f"{side}_endpoint_id"], f"{noun}.{side}_endpoint_id"
    try:
        with services.db.reader() as conn:
            row = queries.get(conn, str(uuid.UUID(key)), request.caller.scope)
    except (ValueError, NotFound):
        raise Invalid(f"{where}: there is no endpoint {key!r}: GET /endpoints lists them", field=where) from None
    services.catalogue.require(row.type, where)
    return row


def _views(rows: list[Endpoint], services: Services) -> list[Json]:
    live = services.catalogue.providers() if rows else {}
    schemas = {kind: services.catalogue.schemas_if_live(kind) for kind in {r.type for r in rows} if kind in live}
    shown = []
    for row in rows:
        found = schemas.get(row.type)
        masked = masking.mask(_stored(row, services), found and found.connection, known=found is not None)
        shown.append(view.endpoint(row, masked))
    return shown


def _stored(row: Endpoint, services: Services) -> Json:
    if row.sealed is None:
        return {"secret_ref": row.secret_ref}
    try:
        return services.vault.unseal(row.sealed)
    except Invalid:
        return {}  # its key is gone: the endpoint can still be listed, deleted, and given new connection info
