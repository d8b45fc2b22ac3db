# SPDX-License-Identifier: Apache-2.0
"""Bodies about transfers and their executions. Unknown fields are ignored: consoles send some."""

from __future__ import annotations

from coriolis.api.schemas import answers, jobs, minion_pools, user_scripts
from coriolis.api.schemas.answers import Schema
from coriolis.api.schemas.migrations import STORAGE_MAPPINGS
from coriolis.api.schemas.tasks import TASK

SCENARIOS = ("replica", "live_migration")

_OBJECT: Schema = {"type": ["object", "null"]}
_FLAG: Schema = {"type": ["boolean", "null"]}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64}

INSTANCES: Schema = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": 1024},
    "minItems": 1,
    "maxItems": 1000,
    "uniqueItems": True,
}

_OPTIONS: dict[str, Schema] = {
    "source_environment": _OBJECT,
    "destination_environment": _OBJECT,
    "network_map": _OBJECT,
    "storage_mappings": STORAGE_MAPPINGS,
    "user_scripts": user_scripts.SCHEMA,
    "notes": {"type": ["string", "null"], "maxLength": 65535},
    "clone_disks": _FLAG,
    "skip_os_morphing": _FLAG,
    **minion_pools.USE,
}

CREATE: Schema = {
    "type": "object",
    "required": ["transfer"],
    "properties": {
        "transfer": {
            "type": "object",
            "required": ["origin_endpoint_id", "destination_endpoint_id", "instances"],
            "properties": {
                "origin_endpoint_id": _ID,
                "destination_endpoint_id": _ID,
                "instances": INSTANCES,
                "scenario": {"type": ["string", "null"], "enum": [*SCENARIOS, None]},
                **_OPTIONS,
            },
        }
    },
}

UPDATE: Schema = {
    "type": "object",
    "required": ["transfer"],
    "properties": {"transfer": {"type": "object", "properties": _OPTIONS}},
}
# What an update may not name, since another transfer would be meant.
FIXED = ("origin_endpoint_id", "destination_endpoint_id", "instances", "scenario")


def actions(*names: str) -> Schema:
    """Exactly one of these actions; cancel may say ``{"force": true}``."""
    forced: Schema = {"type": ["object", "null"], "properties": {"force": _FLAG}}
    return {
        "type": "object",
        "properties": {name: forced if name == "cancel" else _OBJECT for name in names},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


TRANSFER_ACTION = actions("delete-disks")
EXECUTION_ACTION = actions("cancel", "retry")

_EXECUTE: Schema = {
    "type": ["object", "null"],
    "properties": {"shutdown_instances": _FLAG, "auto_deploy": _FLAG},
}
# With or without the envelope, or nothing at all.
EXECUTE: Schema = {
    "type": ["object", "null"],
    "properties": {"execution": _EXECUTE, "shutdown_instances": _FLAG, "auto_deploy": _FLAG},
}

EXECUTION = answers.record(
    {
        "id": answers.ID,
        "action_id": answers.ID,
        "number": {"type": "integer", "minimum": 1},
        "type": answers.TEXT,
        "status": jobs.STATUS,
        **jobs.PROGRESS,
        "shutdown_instances": answers.FLAG,
        "auto_deploy": answers.FLAG,
        "started_at": answers.TIME_OR_NULL,
        "finished_at": answers.TIME_OR_NULL,
        "tasks": answers.several(TASK),
        **answers.STAMPS,
    }
)
EXECUTIONS = answers.many("executions", EXECUTION)
ONE_EXECUTION = answers.one("execution", EXECUTION)

INFO: Schema = answers.by_name(answers.record({"export_info": answers.OBJECT}, optional=("export_info",)))
TRANSFER = answers.record(
    {
        **jobs.FIELDS,
        **jobs.PROGRESS,
        "scenario": {"type": "string", "enum": list(SCENARIOS)},
        "executions": answers.several(EXECUTION),
        "info": INFO,
    },
    optional=("info",),
)
TRANSFERS = answers.many("transfers", TRANSFER)
ONE_TRANSFER = answers.one("transfer", TRANSFER)
