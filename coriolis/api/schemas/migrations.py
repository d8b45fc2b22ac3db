# SPDX-License-Identifier: Apache-2.0
"""Bodies about migrations: the form with endpoint ids, and the inline form of the first release."""

from __future__ import annotations

from typing import Any

from coriolis.api.schemas import answers, jobs, minion_pools, user_scripts
from coriolis.api.schemas.endpoints import CONNECTION_INFO
from coriolis.api.schemas.rehearsals import or_dry_run
from coriolis.api.schemas.tasks import TASK

Schema = dict[str, Any]

_OBJECT: Schema = {"type": ["object", "null"]}
_FLAG: Schema = {"type": ["boolean", "null"]}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 64}

STORAGE_MAPPINGS: Schema = {
    "type": ["object", "null"],
    "properties": {
        "default": {"type": ["string", "null"], "maxLength": 1024},
        "backend_mappings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source", "destination"],
                "properties": {"source": {"type": "string"}, "destination": {"type": "string"}},
                "additionalProperties": False,
            },
        },
        "disk_mappings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["disk_id", "destination"],
                "properties": {"disk_id": {"type": "string"}, "destination": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}

# What both forms take.
_JOB: dict[str, Schema] = {
    "instances": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 1024},
        "minItems": 1,
        "maxItems": 1000,
        "uniqueItems": True,
    },
    "source_environment": _OBJECT,
    "destination_environment": _OBJECT,
    "network_map": _OBJECT,
    "storage_mappings": STORAGE_MAPPINGS,
    "user_scripts": user_scripts.SCHEMA,
    "notes": {"type": ["string", "null"], "maxLength": 65535},
    "shutdown_instances": _FLAG,
    "skip_os_morphing": _FLAG,
    "replication_count": {"type": ["integer", "null"], "minimum": 1, "maximum": 10},
    **minion_pools.USE,
}

# Fields of a third form, made from a replica, which is a deployment of a transfer now: empty values are taken, others
# refused with the reason.
OF_A_REPLICA: dict[str, str] = {
    "clone_disks": "disks are never cloned by a migration; POST /deployments can",
    "force": "it belongs to POST /deployments",
    "replica_id": "what is made of a replica is a deployment: POST /deployments with the transfer_id",
}

_BY_ENDPOINTS: Schema = {
    "type": "object",
    "required": ["origin_endpoint_id", "destination_endpoint_id", "instances"],
    "properties": {
        "origin_endpoint_id": _ID,
        "destination_endpoint_id": _ID,
        **_JOB,
        **{name: {} for name in OF_A_REPLICA},
    },
    "additionalProperties": False,
}


def _inline_side(environments: tuple[str, ...]) -> Schema:
    return {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"type": "string", "minLength": 1, "maxLength": 64},
            "connection_info": CONNECTION_INFO,
            "secret_ref": {"type": "string", "minLength": 1, "maxLength": 1024},
            **dict.fromkeys(environments, _OBJECT),
        },
        "additionalProperties": False,
    }


_INLINE: Schema = {
    "type": "object",
    "required": ["origin", "destination", "instances"],
    "properties": {
        "origin": _inline_side(("source_environment",)),
        "destination": _inline_side(("target_environment",)),
        **_JOB,
        **{name: {} for name in OF_A_REPLICA},
    },
    "additionalProperties": False,
}

CREATE: Schema = {
    "type": "object",
    "required": ["migration"],
    "properties": {
        "migration": {
            "type": "object",
            "if": {"anyOf": [{"required": ["origin"]}, {"required": ["destination"]}]},
            "then": _INLINE,
            "else": _BY_ENDPOINTS,
        }
    },
    "additionalProperties": False,
}

ACTION: Schema = {
    "type": "object",
    "properties": {
        "cancel": {
            "type": ["object", "null"],
            "properties": {"force": _FLAG},
            "additionalProperties": False,
        },
        "retry": _OBJECT,
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}

_FIELDS: dict[str, Schema] = {
    **jobs.FIELDS,
    **jobs.PROGRESS,
    "shutdown_instances": answers.FLAG,
    "replication_count": {"type": "integer", "minimum": 1, "maximum": 10},
    "replica_id": answers.ID_OR_NULL,
    "replica_scenario_type": answers.TEXT_OR_NULL,
}
MIGRATION = answers.record(_FIELDS)
MIGRATIONS = answers.many("migrations", MIGRATION)
_SHOWN = answers.record({**_FIELDS, "execution_id": answers.ID, "tasks": answers.several(TASK)})
ONE_MIGRATION = answers.one("migration", _SHOWN)
MADE_OR_REHEARSED = or_dry_run("migration", _SHOWN)
