# SPDX-License-Identifier: Apache-2.0
"""How far a task has come, item by item."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.identifiers import object_id
from coriolis.api.v1.migrations import execution_of
from coriolis.api.views import progress_updates as view
from coriolis.store import progress as queries
from coriolis.store import tasks

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query, first="asc", most=services.settings.max_limit)
    run = execution_of(request, services)
    key = object_id(request, "task_id", "task")
    with services.db.reader() as conn:
        task = tasks.get(conn, run.id, key)
        rows = queries.page(conn, task.id, replace(wanted, marker=view.item_of(wanted.marker, task.id)))
    return {"progress_updates": [view.progress_update(row) for row in rows]}
