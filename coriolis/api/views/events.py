# SPDX-License-Identifier: Apache-2.0
"""Events on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.api.views.progress_updates import shortened
from coriolis.api.views.timestamps import stamps
from coriolis.store.rows import Event

Json = Any


def event(row: Event, index: int) -> dict[str, Json]:
    """``index``: its place in the history, from 0. The id is what a page's marker names."""
    return {
        "id": str(row.id),
        "task_id": row.task_id,
        "level": row.level,
        "index": index,
        "message": shortened(row.message),
        **stamps(row.created_at, None),
    }


def events(rows: Sequence[Event], first: int) -> list[dict[str, Json]]:
    """Numbered from ``first``, upwards or, when the newest comes first, downwards."""
    step = -1 if len(rows) > 1 and rows[0].id > rows[-1].id else 1
    return [event(row, first + step * place) for place, row in enumerate(rows)]
