# SPDX-License-Identifier: Apache-2.0
"""Jobs: create, look, cancel, delete."""

from __future__ import annotations

from typing import Any

from coriolis.api.delegation import leave
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import orders, rehearsals, runs
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import migrations as view
from coriolis.api.views import tasks as task_views
from coriolis.commands import migrations as commands
from coriolis.rpc.messages import CONDUCTOR
from coriolis.store import actions as queries
from coriolis.store import events, executions, progress, tasks
from coriolis.store.rows import Action, Execution

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    """Without tasks: a list reads one row per job, however many tasks it has."""
    wanted = page(request.query)
    statuses = runs.statuses(request.query.all("status"))
    with services.db.reader() as conn:
        rows = queries.page(conn, request.project_id, wanted, statuses=statuses)
    return {"migrations": [view.migration(row) for row in rows]}


def create(request: ApiRequest, services: Services) -> Json:
    order = orders.read(request, services)
    if request.query.flag("dry_run"):
        return {"dry_run": rehearsals.migration(order, request, services)}
    with leave(request, services, ends=(order.origin, order.destination)) as caller:
        row = commands.create(
            services.db,
            caller,
            order,
            idempotency_key=request.idempotency_key,
            request_hash=request_hash(services.vault, "migrations", request.body),
        )
    return _told(row, services)


def show(request: ApiRequest, services: Services) -> Json:
    return {"migration": _whole(find(request, services), services)}


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, request.caller, object_id(request, "migration_id", "migration"))


def action(request: ApiRequest, services: Services) -> Json:
    """Cancel, or retry the instances that failed: that answers with the migration."""
    if "retry" in request.body:
        with leave(request, services, job=find(request, services)) as caller:
            row = commands.retry(services.db, caller, object_id(request, "migration_id", "migration"))
        return _told(row, services)
    force = bool((request.body["cancel"] or {}).get("force"))
    commands.cancel(services.db, request.caller, object_id(request, "migration_id", "migration"), force=force)
    services.bus.cast(CONDUCTOR, runs.NEWS)
    return None


def find(request: ApiRequest, services: Services) -> Action:
    """The migration of the path. :raises NotFound: there is none that the caller may see"""
    key = object_id(request, "migration_id", "migration")
    with services.db.reader() as conn:
        return queries.get(conn, key, request.caller.scope)


def execution_of(request: ApiRequest, services: Services) -> Execution:
    """The latest run of the migration of the path. :raises NotFound: there is no such migration"""
    row = find(request, services)
    with services.db.reader() as conn:
        return executions.latest(conn, [row.id])[row.id]


def _told(row: Action, services: Services) -> Json:
    """One that has just begun to run."""
    services.bus.cast(CONDUCTOR, runs.NEWS)
    return {"migration": _whole(row, services)}


def _whole(row: Action, services: Services) -> Json:
    """With the tasks of its latest run. A constant number of statements."""
    with services.db.reader() as conn:
        run = executions.latest(conn, [row.id])[row.id]
        rows = tasks.of_executions(conn, [run.id])[run.id]
        done = progress.of_execution(conn, run.id)
        history = events.of_execution(conn, run.id, runs.EVENTS_SHOWN)
    return {**view.migration(row), "execution_id": run.id, "tasks": task_views.tasks(rows, done, history)}
