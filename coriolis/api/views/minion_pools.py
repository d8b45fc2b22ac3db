# SPDX-License-Identifier: Apache-2.0
"""Minion pools and their machines on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.api.views import events as event_view
from coriolis.api.views.masking import mask
from coriolis.api.views.progress_updates import progress_update
from coriolis.api.views.timestamps import stamps, text
from coriolis.store.minion_rows import MinionMachine, MinionPool
from coriolis.store.rows import Event, Progress

Json = Any


def listed(row: MinionPool, machines: Sequence[MinionMachine], schema: Json) -> dict[str, Json]:
    """A pool in a list. ``schema``: of its options, which says what is secret in them."""
    return {
        "id": row.id,
        "project_id": row.project_id,
        "name": row.name,
        "notes": row.notes,
        "endpoint_id": row.endpoint_id,
        "platform": row.platform,
        "os_type": row.os_type,
        "environment_options": mask(row.environment_options, schema),
        "status": row.status,
        "shared_resources": {},
        "minimum_minions": row.minimum_minions,
        "maximum_minions": row.maximum_minions,
        "minion_max_idle_time": row.minion_max_idle_time,
        "minion_retention_strategy": row.minion_retention_strategy,
        "maintenance_trust_id": None,
        "minion_machines": [machine(row, one) for one in machines],
        **stamps(row.created_at, row.updated_at),
    }


def shown(
    row: MinionPool,
    machines: Sequence[MinionMachine],
    events: Sequence[Event],
    first: int,
    steps: Sequence[Progress],
    schema: Json,
) -> dict[str, Json]:
    """A pool by itself, with its latest events, and how far its machines are."""
    return {
        **listed(row, machines, schema),
        "user_id": row.user_id,
        "events": event_view.events(events, first),
        "progress_updates": [progress_update(one) for one in steps],
    }


def machine(pool: MinionPool, row: MinionMachine) -> dict[str, Json]:
    made = row.made or {}
    power = "POWERED_ON" if row.powered_on else "POWERED_OFF"
    return {
        "id": row.id,
        "user_id": pool.user_id,
        "project_id": pool.project_id,
        "pool_id": pool.id,
        "allocation_status": row.status,
        "allocated_action": row.action_id,
        "power_status": power if made else "UNINITIALIZED",
        "last_used_at": text(row.last_used_at),
        "connection_info": mask(made.get("address")) if made else None,
        "backup_writer_connection_info": None,
        "provider_properties": {"ref": made["ref"], "name": made["name"], **made.get("properties", {})}
        if made
        else None,
        **stamps(row.created_at, row.updated_at),
    }
