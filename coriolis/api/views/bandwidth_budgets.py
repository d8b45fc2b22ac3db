# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.timestamps import stamps
from coriolis.domain.bandwidth import DAYS, Limit, Usage
from coriolis.store.rows import BandwidthBudget

Json = Any


def bandwidth_budget(row: BandwidthBudget, now: Limit, usage: Usage) -> dict[str, Json]:
    """``now``: what holds at this moment. Rates are bytes per second."""
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "scope": row.scope,
        "target": row.target,
        "bytes_per_second": row.bytes_per_second,
        "streams": row.streams,
        "backoff_factor": row.backoff_factor,
        "time_zone": row.time_zone,
        "windows": [
            {
                "days": one.get("days") or list(DAYS),
                "start": one["start"],
                "end": one["end"],
                "bytes_per_second": one.get("bytes_per_second"),
                "streams": one.get("streams"),
            }
            for one in row.windows
        ],
        "now": {"bytes_per_second": now.bytes_per_second, "streams": now.streams},
        "usage": {"streams": usage.streams, "granted": round(usage.granted), "used": round(usage.used)},
        **stamps(row.created_at, row.updated_at),
    }
