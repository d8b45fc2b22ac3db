# SPDX-License-Identifier: Apache-2.0
"""Steps of a migration's latest run."""

from __future__ import annotations

from typing import Any

from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1 import runs
from coriolis.api.v1.identifiers import object_id
from coriolis.api.v1.migrations import execution_of
from coriolis.api.views import tasks as view
from coriolis.store import events, progress
from coriolis.store import tasks as queries

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query, first="asc", most=services.settings.max_limit)
    run = execution_of(request, services)
    with services.db.reader() as conn:
        rows = queries.page(conn, run.id, wanted)
        keys = [row.id for row in rows]
        shown = view.tasks(rows, progress.of_tasks(conn, keys), events.of_tasks(conn, keys, runs.EVENTS_SHOWN))
    return {"tasks": shown}


def show(request: ApiRequest, services: Services) -> Json:
    run = execution_of(request, services)
    key = object_id(request, "task_id", "task")
    with services.db.reader() as conn:
        row = queries.get(conn, run.id, key)
        shown = view.tasks([row], progress.of_tasks(conn, [key]), events.of_tasks(conn, [key], runs.EVENTS_SHOWN))
    return {"task": shown[0]}
