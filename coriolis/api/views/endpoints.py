# SPDX-License-Identifier: Apache-2.0
"""Endpoints on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.timestamps import stamps
from coriolis.store.rows import Endpoint

Json = Any


def endpoint(row: Endpoint, connection_info: Json) -> dict[str, Json]:
    """``connection_info``: already masked."""
    return {
        "id": row.id,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "name": row.name,
        "type": row.type,
        "description": row.description,
        "connection_info": connection_info,
        "mapped_regions": list(row.mapped_regions),
        **stamps(row.created_at, row.updated_at),
    }
