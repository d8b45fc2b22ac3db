# SPDX-License-Identifier: Apache-2.0
"""Executions of a transfer: start, look, cancel, retry, delete."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from coriolis.api.delegation import leave
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import history, runs, transfers
from coriolis.api.v1.identifiers import object_id
from coriolis.commands import executions as commands
from coriolis.domain.errors import NotFound
from coriolis.rpc.messages import CONDUCTOR
from coriolis.store import actions
from coriolis.store import executions as queries
from coriolis.store.rows import Execution

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query)
    states = runs.stored_states(runs.statuses(request.query.all("status")))
    row = transfers.find(request, services)
    with services.db.reader() as conn:
        found = queries.page(conn, row.id, wanted, statuses=states)
        return {"executions": runs.shown(conn, found)}


def create(request: ApiRequest, services: Services) -> Json:
    """The body may be absent, or without its envelope."""
    body = request.body or {}
    wish = body.get("execution") or body
    row = transfers.find(request, services)
    with leave(request, services, job=row) as caller:
        run = commands.create(
            services.db,
            caller,
            row.id,
            shutdown_instances=bool(wish.get("shutdown_instances")),
            auto_deploy=bool(wish.get("auto_deploy")),
            idempotency_key=request.idempotency_key,
            request_hash=request_hash(services.vault, f"executions of {row.id}", wish),
        )
    return transfers.answer(run, services)


def show(request: ApiRequest, services: Services) -> Json:
    with services.db.reader() as conn:
        run = _find(conn, request)
        return {"execution": runs.shown(conn, [run])[0]}


def events(request: ApiRequest, services: Services) -> Json:
    with services.db.reader() as conn:
        run = _find(conn, request)
    return history.answer(request, services, run)


def delete(request: ApiRequest, services: Services) -> None:
    row = transfers.find(request, services)
    commands.delete(services.db, request.caller, row.id, object_id(request, "execution_id", "execution"))


def action(request: ApiRequest, services: Services) -> Json:
    """Cancel, or retry the instances that failed: that answers with the new execution."""
    row = transfers.find(request, services)
    key = object_id(request, "execution_id", "execution")
    if "retry" in request.body:
        with leave(request, services, job=row) as caller:
            run = commands.retry(services.db, caller, row.id, key)
        return transfers.answer(run, services)
    force = bool((request.body["cancel"] or {}).get("force"))
    commands.cancel(services.db, request.caller, row.id, key, force=force)
    services.bus.cast(CONDUCTOR, runs.NEWS)
    return None


def _find(conn: Connection, request: ApiRequest) -> Execution:
    """The execution of the path. :raises NotFound: the caller may see no such transfer, or it has no such execution"""
    transfer_id = object_id(request, "transfer_id", "transfer")
    key = object_id(request, "execution_id", "execution")
    run = queries.shown(conn, actions.TRANSFER, transfer_id, key, request.caller.scope)
    if run is None:
        actions.get(conn, transfer_id, request.caller.scope, actions.TRANSFER)
        raise NotFound(f"There is no execution {key}.")
    return run
