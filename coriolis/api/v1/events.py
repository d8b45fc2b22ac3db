# SPDX-License-Identifier: Apache-2.0
"""What happened in a migration's latest run."""

from __future__ import annotations

from typing import Any

from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.migrations import execution_of
from coriolis.api.views import events as view
from coriolis.store import events as queries

Json = Any


def index(request: ApiRequest, services: Services) -> Json:
    """Oldest first, unless sort_dir=desc."""
    wanted = page(request.query, services.settings.max_limit, first="asc")
    run = execution_of(request, services)
    with services.db.reader() as conn:
        rows = queries.page(conn, run.id, wanted)
        first = queries.count_before(conn, run.id, rows[0].id) if rows else 0
    return {"events": view.events(rows, first)}
