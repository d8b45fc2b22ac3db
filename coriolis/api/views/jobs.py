# SPDX-License-Identifier: Apache-2.0
"""What migrations, transfers and deployments look like on the wire: the contract's base action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coriolis.api.views.timestamps import stamps, text
from coriolis.store.rows import Action, Replica

Json = Any


def job(row: Action) -> dict[str, Json]:
    """The fields that all three have."""
    destination = {
        **row.destination_environment,
        "network_map": row.network_map,
        "storage_mappings": row.storage_mappings,
    }
    return {
        "id": row.id,
        "base_id": row.id,
        "type": row.kind,
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
        "skip_os_morphing": row.skip_os_morphing,
        "clone_disks": row.clone_disks,
        "last_execution_status": row.last_execution_status,
        "message": row.message,
        "percent": row.percent,
        "bytes_done": row.bytes_done,
        "bytes_total": row.bytes_total,
        "transfer_result": row.transfer_result,
        "reservation_id": None,
        "origin_minion_pool_id": row.origin_minion_pool_id,
        "destination_minion_pool_id": row.destination_minion_pool_id,
        "instance_osmorphing_minion_pool_mappings": row.instance_osmorphing_minion_pool_mappings or {},
        **stamps(row.created_at, row.updated_at),
        "deleted_at": text(row.deleted_at),
        "deleted": row.id if row.deleted_at else "0",
    }


def info(instances: Sequence[str], replicas: Mapping[str, Replica]) -> dict[str, Json]:
    """What is known of each machine, by its name: of all of them or of none, since consoles cannot show a mixture."""
    known = {name: replicas[name].vm for name in instances if name in replicas and replicas[name].vm is not None}
    whole = len(known) == len(instances)
    return {name: {"export_info": known[name]} if whole else {} for name in instances}
