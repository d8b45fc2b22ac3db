# SPDX-License-Identifier: Apache-2.0
"""Regions on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.api.views.timestamps import stamps
from coriolis.store.site_rows import Region

Json = Any


def region(row: Region, endpoints: Sequence[str], services: Sequence[str]) -> dict[str, Json]:
    """``endpoints`` and ``services``: the ids of what is mapped to it."""
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "mapped_endpoints": list(endpoints),
        "mapped_services": list(services),
        **stamps(row.created_at, row.updated_at),
    }
