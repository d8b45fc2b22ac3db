# SPDX-License-Identifier: Apache-2.0
"""Deployments: create, look, cancel, retry, delete."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.api.delegation import leave
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.schemas.user_scripts import normalise
from coriolis.api.services import Services
from coriolis.api.v1 import history, minion_pools, rehearsals, runs
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import deployments as view
from coriolis.api.views import jobs as job_views
from coriolis.commands import deployments as commands
from coriolis.commands.deployments import NewDeployment
from coriolis.domain.errors import NotFound
from coriolis.rpc.messages import CONDUCTOR
from coriolis.store import actions, executions
from coriolis.store.rows import Action

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    """One row per deployment; with ``include_task_info`` also its tasks and what is known of its machines."""
    wanted = page(request.query)
    statuses = runs.statuses(request.query.all("status"))
    deleted = request.query.flag("show_deleted")
    with services.db.reader() as conn:
        rows = actions.page(
            conn, request.project_id, wanted, kind=actions.DEPLOYMENT, statuses=statuses, deleted=deleted
        )
        if request.query.flag("include_task_info"):
            return {"deployments": _whole(conn, rows, info=True)}
    return {"deployments": [{**view.deployment(row), "executions": []} for row in rows]}


def create(request: ApiRequest, services: Services) -> Json:
    order = read(request)
    if request.query.flag("dry_run"):
        return {"dry_run": rehearsals.deployment(order, request, services)}
    with services.db.reader() as conn:
        transfer = actions.get(conn, order.transfer_id, request.caller.scope, actions.TRANSFER)
    with leave(request, services, job=transfer) as caller:
        row = commands.create(
            services.db,
            caller,
            order,
            idempotency_key=request.idempotency_key,
            request_hash=request_hash(services.vault, "deployments", request.body),
        )
    return _answer(row, services)


def show(request: ApiRequest, services: Services) -> Json:
    row = find(request, services)
    with services.db.reader() as conn:
        return {"deployment": _whole(conn, [row], info=request.query.flag("include_task_info"))[0]}


def events(request: ApiRequest, services: Services) -> Json:
    row = find(request, services)
    with services.db.reader() as conn:
        run = executions.latest(conn, [row.id])[row.id]
    return history.answer(request, services, run)


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, request.caller, object_id(request, "deployment_id", "deployment"))


def action(request: ApiRequest, services: Services) -> Json:
    """Cancel, or retry the instances that failed: that answers with the deployment."""
    key = object_id(request, "deployment_id", "deployment")
    if "retry" in request.body:
        with leave(request, services, job=find(request, services)) as caller:
            row = commands.retry(services.db, caller, key)
        return _answer(row, services)
    force = bool((request.body["cancel"] or {}).get("force"))
    commands.cancel(services.db, request.caller, key, force=force)
    services.bus.cast(CONDUCTOR, runs.NEWS)
    return None


def find(request: ApiRequest, services: Services) -> Action:
    """The deployment of the path. :raises NotFound: there is none that the caller may see"""
    key = object_id(request, "deployment_id", "deployment")
    with services.db.reader() as conn:
        return actions.get(conn, key, request.caller.scope, actions.DEPLOYMENT)


def read(request: ApiRequest) -> NewDeployment:
    """The wish in the body. What it leaves out has the contract's defaults; null means: as the transfer has it.

    :raises Invalid: names the field. :raises NotFound: its transfer's id is none
    """
    body: dict[str, Json] = request.body["deployment"]
    try:
        key = str(uuid.UUID(body["transfer_id"]))
    except ValueError:
        raise NotFound(f"There is no transfer {body['transfer_id'][:64]!r}: an id is a UUID") from None
    inherits = "user_scripts" in body and body["user_scripts"] is None
    return NewDeployment(
        transfer_id=key,
        clone_disks=body.get("clone_disks", True),
        force=bool(body.get("force")),
        skip_os_morphing=body.get("skip_os_morphing", False),
        user_scripts=None if inherits else normalise(body.get("user_scripts"), "deployment.user_scripts"),
        morphing_pools=minion_pools.use(body).morphing,
    )


def _answer(row: Action, services: Services) -> Json:
    services.bus.cast(CONDUCTOR, runs.NEWS)
    with services.db.reader() as conn:
        return {"deployment": _whole(conn, [row], info=False)[0]}


def _whole(conn: Connection, rows: list[Action], *, info: bool) -> list[Json]:
    """With the tasks of their latest runs. A constant number of statements."""
    found = executions.latest(conn, [row.id for row in rows])
    tasks = runs.tasks_of(conn, list(found.values()))
    machines = runs.machines(conn, rows) if info else {}
    return [
        {
            **view.deployment(row),
            "tasks": tasks[found[row.id].id] if row.id in found else [],
            **({"info": job_views.info(row.instances, machines[row.id])} if info else {}),
        }
        for row in rows
    ]
