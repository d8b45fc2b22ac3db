# SPDX-License-Identifier: Apache-2.0
"""Bodies about endpoints."""

from __future__ import annotations

from typing import Any

from coriolis.api.schemas.answers import FLAG, ID, STAMPS, TEXT, TEXT_OR_NULL, many, one, record, several

Schema = dict[str, Any]

_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
_DESCRIPTION: Schema = {"type": ["string", "null"], "maxLength": 1024}
_REGIONS: Schema = {"type": ["array", "null"], "items": {"type": "string", "maxLength": 36}, "maxItems": 100}
# Which keys an inline object has is the provider's business; validate-connection checks it.
CONNECTION_INFO: Schema = {
    "type": "object",
    "properties": {"secret_ref": {"type": "string", "minLength": 1, "maxLength": 1024}},
}

CREATE: Schema = {
    "type": "object",
    "required": ["endpoint"],
    "properties": {
        "endpoint": {
            "type": "object",
            "required": ["name", "type", "connection_info"],
            "properties": {
                "name": _NAME,
                "type": {"type": "string", "minLength": 1, "maxLength": 64},
                "connection_info": CONNECTION_INFO,
                "description": _DESCRIPTION,
                "mapped_regions": _REGIONS,
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}

# The contract drops unknown and unchangeable keys of an update silently.
UPDATE: Schema = {
    "type": "object",
    "required": ["endpoint"],
    "properties": {
        "endpoint": {
            "type": "object",
            "properties": {
                "name": _NAME,
                "connection_info": CONNECTION_INFO,
                "description": _DESCRIPTION,
                "mapped_regions": _REGIONS,
            },
        }
    },
}

ACTION: Schema = {
    "type": "object",
    "properties": {"validate-connection": {"type": ["object", "null"]}},
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}

ENDPOINT: Schema = record(
    {
        "id": ID,
        "user_id": TEXT,
        "project_id": TEXT,
        "name": TEXT,
        "type": TEXT,
        "description": TEXT,
        "connection_info": {"type": "object", "description": "Secrets are shown as ***"},
        "mapped_regions": several(TEXT),
        **STAMPS,
    }
)
ENDPOINTS = many("endpoints", ENDPOINT)
ONE_ENDPOINT = one("endpoint", ENDPOINT)
VALIDATION = one("validate-connection", record({"valid": FLAG, "message": TEXT_OR_NULL}))
