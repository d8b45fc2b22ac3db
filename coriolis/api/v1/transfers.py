# SPDX-License-Identifier: Apache-2.0
"""Transfers: create, look, update, delete, delete their disks."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

from coriolis.api.delegation import leave
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import runs, transfer_orders
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import executions as execution_views
from coriolis.api.views import jobs as job_views
from coriolis.api.views import transfers as view
from coriolis.commands import transfers as commands
from coriolis.rpc.messages import CONDUCTOR
from coriolis.store import actions, executions
from coriolis.store.rows import Action, Execution

Json = Any

_EXECUTIONS_SHOWN = 20  # of each transfer, in a list that asks for tasks


def index(request: ApiRequest, services: Services) -> Json:
    """One row per transfer; with ``include_task_info`` also what is known of its machines, and its executions."""
    wanted = page(request.query)
    statuses = runs.statuses(request.query.all("status"))
    deleted = request.query.flag("show_deleted")
    with services.db.reader() as conn:
        rows = actions.page(conn, request.project_id, wanted, kind=actions.TRANSFER, statuses=statuses, deleted=deleted)
        if not request.query.flag("include_task_info"):
            return {"transfers": [view.transfer(row) for row in rows]}
        return {"transfers": _with_tasks(conn, rows)}


def create(request: ApiRequest, services: Services) -> Json:
    row = commands.create(
        services.db,
        request.caller,
        transfer_orders.new(request, services),
        idempotency_key=request.idempotency_key,
        request_hash=request_hash(services.vault, "transfers", request.body),
    )
    return {"transfer": view.transfer(row)}


def show(request: ApiRequest, services: Services) -> Json:
    row = find(request, services)
    shown = view.transfer(row)
    if request.query.flag("include_task_info"):
        with services.db.reader() as conn:
            shown["info"] = job_views.info(row.instances, runs.machines(conn, [row])[row.id])
    return {"transfer": shown}


def update(request: ApiRequest, services: Services) -> Json:
    """Answers with the execution that carries the update out."""
    row = find(request, services)
    with services.db.reader() as conn:
        ends = commands.endpoints_of(conn, row)
    wanted = transfer_orders.changes(request, row, ends, services)
    with leave(request, services, job=row) as caller:
        run = commands.update(services.db, caller, row.id, wanted)
    return answer(run, services)


def delete(request: ApiRequest, services: Services) -> None:
    row = find(request, services)
    with leave(request, services, job=row) as caller:
        commands.delete(services.db, caller, row.id, disks=request.query.flag("delete_disks"))
    services.bus.cast(CONDUCTOR, runs.NEWS)


def action(request: ApiRequest, services: Services) -> Json:
    """The only action is delete-disks."""
    row = find(request, services)
    with leave(request, services, job=row) as caller:
        run = commands.delete_disks(services.db, caller, row.id)
    return answer(run, services)


def find(request: ApiRequest, services: Services) -> Action:
    """The transfer of the path. :raises NotFound: there is none that the caller may see"""
    key = object_id(request, "transfer_id", "transfer")
    with services.db.reader() as conn:
        return actions.get(conn, key, request.caller.scope, actions.TRANSFER)


def answer(run: Execution, services: Services) -> Json:
    """An execution that was started just now."""
    services.bus.cast(CONDUCTOR, runs.NEWS)
    with services.db.reader() as conn:
        return {"execution": runs.shown(conn, [run])[0]}


def _with_tasks(conn: Connection, rows: list[Action]) -> list[Json]:
    found = executions.latest_of_each(conn, [row.id for row in rows], _EXECUTIONS_SHOWN)
    tasks = runs.tasks_of(conn, [run for several in found.values() for run in several])
    machines = runs.machines(conn, rows)
    return [
        {
            **view.transfer(row, [execution_views.execution(run, tasks[run.id]) for run in found[row.id]]),
            "info": job_views.info(row.instances, machines[row.id]),
        }
        for row in rows
    ]
