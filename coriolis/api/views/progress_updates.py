# SPDX-License-Identifier: Apache-2.0
"""Progress of a task's items on the wire. An item is overwritten, so a task has as many lines as items."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.timestamps import stamps
from coriolis.store.rows import Progress

Json = Any

_MESSAGE_LENGTH = 1024


def identifier(task_id: str, item: str) -> str:
    """Unique, and what a page's marker names."""
    return f"{task_id}/{item}"


def item_of(marker: str | None, task_id: str) -> str | None:
    """The item that a marker names, given as the id or as the bare item."""
    return None if marker is None else marker.removeprefix(f"{task_id}/")


def progress_update(row: Progress) -> dict[str, Json]:
    return {
        "id": identifier(row.task_id, row.item),
        "task_id": row.task_id,
        "index": row.index,
        "item": row.item,
        "current_step": row.done,
        "total_steps": row.total,
        "message": shortened(row.message),
        **stamps(row.created_at, row.updated_at),
    }


def shortened(message: str) -> str:
    """At most as many characters as the contract allows."""
    return message if len(message) <= _MESSAGE_LENGTH else message[: _MESSAGE_LENGTH - 3] + "..."
