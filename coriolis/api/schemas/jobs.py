# SPDX-License-Identifier: Apache-2.0
"""What the answers about migrations, transfers and deployments share."""

from __future__ import annotations

from coriolis.api.schemas.answers import (
    COUNT,
    FLAG,
    ID,
    ID_OR_NULL,
    NULL,
    OBJECT,
    OBJECT_OR_NULL,
    STAMPS,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    several,
)
from coriolis.domain.model import ExecutionState

# What an execution can be, and words of the contract that other services of this API have.
STATUSES = tuple(sorted((*(state.value for state in ExecutionState), "CANCELED_FOR_DEBUGGING", "DEADLOCKED")))
STATUS: Schema = {"type": "string", "enum": list(STATUSES)}

# Every key of the contract's base action; a noun takes what it has.
FIELDS: dict[str, Schema] = {
    "id": ID,
    "base_id": ID,
    "type": TEXT,
    "user_id": TEXT,
    "project_id": TEXT,
    "origin_endpoint_id": ID,
    "destination_endpoint_id": ID,
    "instances": {**several(TEXT), "minItems": 1},
    "clustered": FLAG,
    "source_environment": OBJECT,
    "destination_environment": OBJECT,
    "network_map": OBJECT,
    "storage_mappings": OBJECT,
    "user_scripts": OBJECT,
    "notes": TEXT_OR_NULL,
    "skip_os_morphing": FLAG,
    "clone_disks": FLAG,
    "last_execution_status": STATUS,
    "transfer_result": OBJECT_OR_NULL,
    "reservation_id": NULL,
    "origin_minion_pool_id": ID_OR_NULL,
    "destination_minion_pool_id": ID_OR_NULL,
    "instance_osmorphing_minion_pool_mappings": OBJECT,
    **STAMPS,
}

# How far the latest execution has come.
PROGRESS: dict[str, Schema] = {
    "message": TEXT_OR_NULL,
    "percent": {"type": "integer", "minimum": 0, "maximum": 100},
    "bytes_done": COUNT,
    "bytes_total": COUNT,
}
