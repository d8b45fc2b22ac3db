# SPDX-License-Identifier: Apache-2.0
"""Tasks on the wire. Which ones are visible, and when one is CANCELLING, ``store.tasks`` knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coriolis.api.views.events import events as event_views
from coriolis.api.views.progress_updates import progress_update
from coriolis.api.views.timestamps import stamps, text
from coriolis.domain.model import Role
from coriolis.store.rows import Event, Progress, Task

Json = Any


def task(row: Task, progress: Sequence[Progress], events: Sequence[Event]) -> dict[str, Json]:
    return {
        "id": row.id,
        "execution_id": row.execution_id,
        "instance": row.instance,
        "name": row.name,
        "item": row.item,
        "task_type": row.task_type,
        "index": row.index,
        "status": row.status,
        "depends_on": list(row.depends_on),
        "on_error": row.role == Role.UNDO,
        "host": row.host,
        "process_id": None,
        "attempts": row.attempts,
        "error_code": row.error_code,
        "exception_details": row.exception_details,
        "progress_updates": [progress_update(line) for line in progress],
        "events": event_views(events, first=0),
        "started_at": text(row.started_at),
        "finished_at": text(row.finished_at),
        **stamps(row.created_at, row.updated_at),
    }


def tasks(
    rows: Iterable[Task], progress: Mapping[str, Sequence[Progress]], events: Mapping[str, Sequence[Event]]
) -> list[dict[str, Json]]:
    """Each with its own progress and events, in the order of ``rows``."""
    return [task(row, progress.get(row.id, ()), events.get(row.id, ())) for row in rows]
