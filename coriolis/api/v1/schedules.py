# SPDX-License-Identifier: Apache-2.0
"""When transfers are executed by themselves."""

from __future__ import annotations

import datetime as dt
from typing import Any

from coriolis.api.delegation import leave
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import transfers
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import schedules as view
from coriolis.commands import schedules as commands
from coriolis.domain.errors import Invalid
from coriolis.store import actions
from coriolis.store import schedules as queries

Json = Any

_FLAGS = ("enabled", "shutdown_instance", "auto_deploy")


def index(request: ApiRequest, services: Services) -> Json:
    """All, unless ``show_expired`` is false."""
    wanted = page(request.query)
    everything = request.query.flag("show_expired", default=True)
    transfer_id = _transfer(request)
    with services.db.reader() as conn:
        actions.get(conn, transfer_id, request.caller.scope, actions.TRANSFER)
        now = None if everything else queries.clock(conn)
        rows = queries.page(conn, transfer_id, wanted, unexpired_at=now)
    return {"schedules": [view.schedule(row) for row in rows]}


def create(request: ApiRequest, services: Services) -> Json:
    wanted = commands.NewSchedule(**_values(request.body))
    job = transfers.find(request, services)
    with leave(request, services, job=job) as caller:
        row = commands.create(
            services.db,
            caller,
            job.id,
            wanted,
            idempotency_key=request.idempotency_key,
            request_hash=request_hash(services.vault, "schedules", request.body),
        )
    return {"schedule": view.schedule(row)}


def show(request: ApiRequest, services: Services) -> Json:
    transfer_id, schedule_id = _transfer(request), object_id(request, "schedule_id", "schedule")
    with services.db.reader() as conn:
        actions.get(conn, transfer_id, request.caller.scope, actions.TRANSFER)
        row = queries.get(conn, transfer_id, schedule_id)
    return {"schedule": view.schedule(row)}


def update(request: ApiRequest, services: Services) -> Json:
    """Unknown keys are dropped, as the contract has it; null changes nothing but the expiration date."""
    schedule_id = object_id(request, "schedule_id", "schedule")
    row = commands.update(services.db, request.caller, _transfer(request), schedule_id, _values(request.body))
    return {"schedule": view.schedule(row)}


def delete(request: ApiRequest, services: Services) -> None:
    schedule_id = object_id(request, "schedule_id", "schedule")
    commands.delete(services.db, request.caller, _transfer(request), schedule_id)


def _transfer(request: ApiRequest) -> str:
    return object_id(request, "transfer_id", "transfer")


def _values(body: dict[str, Json]) -> dict[str, Any]:
    """What the body names, by the fields of the command."""
    values: dict[str, Any] = {name: body[name] for name in _FLAGS if body.get(name) is not None}
    if "schedule" in body:
        values["calendar"] = {name: int(value) for name, value in body["schedule"].items() if value is not None}
    if "expiration_date" in body:
        values["expiration_date"] = _moment(body["expiration_date"])
    return values


def _moment(text: str | None) -> dt.datetime | None:
    """Naive UTC. A time without a zone is UTC. :raises Invalid: it is no RFC 3339"""
    if not text:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise Invalid(
            "expiration_date must be a time by RFC 3339, for example 2030-01-31T12:00:00Z", field="expiration_date"
        ) from None
    return moment
