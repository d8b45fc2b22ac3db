# SPDX-License-Identifier: Apache-2.0
"""Bodies about minion pools. Unknown keys are ignored: consoles send some."""

from __future__ import annotations

from coriolis.api.schemas import answers
from coriolis.api.schemas.answers import Schema
from coriolis.api.schemas.tasks import EVENT, PROGRESS_UPDATE
from coriolis.domain.minions import MachineStatus, PoolStatus, Retention

OS_TYPES = ("bsd", "linux", "osx", "solaris", "windows")
PLATFORMS = ("source", "destination")
RETENTIONS = tuple(one.value for one in Retention)

_MANY: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": 1000}
_CHANGEABLE: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "notes": {"type": ["string", "null"], "maxLength": 65535},
    "os_type": {"type": "string", "enum": list(OS_TYPES)},
    "environment_options": {"type": ["object", "null"]},
    "minimum_minions": _MANY,
    "maximum_minions": _MANY,
    "minion_max_idle_time": {"type": ["integer", "null"], "minimum": 1, "maximum": 31_536_000},
    "minion_retention_strategy": {"type": ["string", "null"], "enum": [*RETENTIONS, None]},
}

# Of jobs that use pools. An empty text means none.
USE: dict[str, Schema] = {
    "origin_minion_pool_id": {"type": ["string", "null"], "maxLength": 64},
    "destination_minion_pool_id": {"type": ["string", "null"], "maxLength": 64},
    "instance_osmorphing_minion_pool_mappings": {
        "type": ["object", "null"],
        "additionalProperties": {"type": ["string", "null"], "maxLength": 64},
    },
}

CREATE: Schema = {
    "type": "object",
    "required": ["minion_pool"],
    "properties": {
        "minion_pool": {
            "type": "object",
            "required": ["name", "endpoint_id", "os_type", "platform", "environment_options"],
            "properties": {
                **_CHANGEABLE,
                "endpoint_id": {"type": "string", "minLength": 1, "maxLength": 64},
                "platform": {"type": "string", "enum": list(PLATFORMS)},
                "skip_allocation": {"type": ["boolean", "null"]},
            },
        }
    },
}
UPDATE: Schema = {
    "type": "object",
    "required": ["minion_pool"],
    "properties": {"minion_pool": {"type": "object", "properties": _CHANGEABLE}},
}
FIXED = ("endpoint_id", "platform")  # an update may not name them

ACTION: Schema = {
    "type": "object",
    "properties": {
        "allocate": {"type": ["object", "null"]},
        "refresh": {"type": ["object", "null"]},
        "deallocate": {"type": ["object", "null"], "properties": {"force": {"type": ["boolean", "null"]}}},
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}

_MACHINE = answers.record(
    {
        "id": answers.ID,
        "user_id": answers.TEXT,
        "project_id": answers.TEXT,
        "pool_id": answers.ID,
        "allocation_status": {"type": "string", "enum": [one.value for one in MachineStatus]},
        "allocated_action": answers.ID_OR_NULL,
        "power_status": {"type": "string", "enum": ["POWERED_ON", "POWERED_OFF", "UNINITIALIZED"]},
        "last_used_at": answers.TIME_OR_NULL,
        "connection_info": answers.OBJECT_OR_NULL,
        "backup_writer_connection_info": answers.NULL,
        "provider_properties": answers.OBJECT_OR_NULL,
        **answers.STAMPS,
    }
)
_LISTED: dict[str, Schema] = {
    "id": answers.ID,
    "project_id": answers.TEXT,
    "name": answers.TEXT,
    "notes": answers.TEXT_OR_NULL,
    "endpoint_id": answers.ID,
    "platform": {"type": "string", "enum": list(PLATFORMS)},
    "os_type": {"type": "string", "enum": list(OS_TYPES)},
    "environment_options": answers.OBJECT,
    "status": {"type": "string", "enum": [one.value for one in PoolStatus]},
    "shared_resources": answers.OBJECT,
    "minimum_minions": answers.COUNT,
    "maximum_minions": answers.COUNT,
    "minion_max_idle_time": answers.COUNT,
    "minion_retention_strategy": {"type": "string", "enum": list(RETENTIONS)},
    "maintenance_trust_id": answers.NULL,
    "minion_machines": answers.several(_MACHINE),
    **answers.STAMPS,
}
_POOL = answers.record(
    {
        **_LISTED,
        "user_id": answers.TEXT,
        "events": answers.several(EVENT),
        "progress_updates": answers.several(PROGRESS_UPDATE),
    }
)
POOLS = answers.many("minion_pools", answers.record(_LISTED))
ONE_POOL = answers.one("minion_pool", _POOL)
