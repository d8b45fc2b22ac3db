# SPDX-License-Identifier: Apache-2.0
"""Bodies about regions."""

from __future__ import annotations

from typing import Any

from coriolis.api.schemas.answers import FLAG, ID, STAMPS, TEXT, many, one, record, several

Schema = dict[str, Any]

_FIELDS: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": {"type": ["string", "null"], "maxLength": 1024},
    "enabled": {"type": ["boolean", "null"]},
}

CREATE: Schema = {
    "type": "object",
    "required": ["region"],
    "properties": {
        "region": {"type": "object", "required": ["name"], "properties": _FIELDS, "additionalProperties": False}
    },
    "additionalProperties": False,
}

# The contract drops unknown and unchangeable keys of an update silently.
UPDATE: Schema = {
    "type": "object",
    "required": ["region"],
    "properties": {"region": {"type": "object", "properties": _FIELDS}},
}

_REGION = record(
    {
        "id": ID,
        "name": TEXT,
        "description": TEXT,
        "enabled": FLAG,
        "mapped_endpoints": several(ID),
        "mapped_services": several(ID),
        **STAMPS,
    }
)
ONE_REGION = one("region", _REGION)
REGIONS = many("regions", _REGION)
