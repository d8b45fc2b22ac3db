# SPDX-License-Identifier: Apache-2.0
"""Migrations on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.timestamps import stamps
from coriolis.store.rows import Action

Json = Any


def migration(row: Action) -> dict[str, Json]:
    """One line of a list; ``tasks`` are added by whoever shows a single one."""
    destination = {
        **row.destination_environment,
        "network_map": row.network_map,
        "storage_mappings": row.storage_mappings,
    }
    return {
        "id": row.id,
        "base_id": row.id,
        "type": "migration",
        "user_id": row.user_id,
        "project_id": row.project_id,
        "origin_endpoint_id": row.origin_endpoint_id,
        "destination_endpoint_id": row.destination_endpoint_id,
        "instances": list(row.instances),
        "clustered": len(row.instances) > 1,
        "source_environment": row.source_environment,
        "destination_environment": destination,
        "network_map": row.network_map,
        "storage_mappings": row.storage_mappings,
        "user_scripts": row.user_scripts,
        "notes": row.notes,
        "shutdown_instances": row.shutdown_instances,
        "replication_count": row.replication_count,
        "skip_os_morphing": row.skip_os_morphing,
        "clone_disks": row.clone_disks,
        "last_execution_status": row.last_execution_status,
        "message": row.message,
        "percent": row.percent,
        "bytes_done": row.bytes_done,
        "bytes_total": row.bytes_total,
        "transfer_result": row.transfer_result,
        "reservation_id": None,
        "replica_id": None,
        "replica_scenario_type": None,
        "origin_minion_pool_id": None,
        "destination_minion_pool_id": None,
        "instance_osmorphing_minion_pool_mappings": {},
        **stamps(row.created_at, row.updated_at),
    }
