# SPDX-License-Identifier: Apache-2.0
"""Schedules on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.timestamps import stamps, text
from coriolis.store.standing_rows import Schedule

Json = Any


def schedule(row: Schedule) -> dict[str, Json]:
    return {
        "id": row.id,
        "transfer_id": row.transfer_id,
        "schedule": row.calendar,
        "expiration_date": text(row.expiration_date),
        "enabled": row.enabled,
        "shutdown_instance": row.shutdown_instance,
        "auto_deploy": row.auto_deploy,
        "trust_id": None,
        "next_fire_at": text(row.next_fire_at),
        "last_fired_at": text(row.last_fired_at),
        "message": row.message,
        **stamps(row.created_at, row.updated_at),
    }
