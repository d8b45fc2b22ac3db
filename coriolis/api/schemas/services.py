# SPDX-License-Identifier: Apache-2.0
"""Bodies about services."""

from __future__ import annotations

from typing import Any

from coriolis.api.schemas.answers import (
    FLAG,
    ID,
    NUMBER,
    OBJECT,
    STAMPS,
    TEXT,
    TIME_OR_NULL,
    by_name,
    many,
    one,
    record,
    several,
)

Schema = dict[str, Any]

_CHANGEABLE: dict[str, Schema] = {
    "enabled": {"type": ["boolean", "null"]},
    "mapped_regions": {
        "type": ["array", "null"],
        "items": {"type": "string", "maxLength": 36},
        "maxItems": 100,
    },
}
# Kept in ASCII columns.
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]+$"}

CREATE: Schema = {
    "type": "object",
    "required": ["service"],
    "properties": {
        "service": {
            "type": "object",
            "required": ["host", "binary", "topic"],
            "properties": {
                "host": {"type": "string", "minLength": 1, "maxLength": 255},
                "binary": _WORD,
                "topic": _WORD,
                **_CHANGEABLE,
            },
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}

# The contract drops unknown and unchangeable keys of an update silently.
UPDATE: Schema = {
    "type": "object",
    "required": ["service"],
    "properties": {"service": {"type": "object", "properties": _CHANGEABLE}},
}

_SERVICE = record(
    {
        "id": ID,
        "host": TEXT,
        "binary": TEXT,
        "topic": TEXT,
        "enabled": FLAG,
        "status": {"type": "string", "enum": ["UP", "DOWN", "UNKNOWN"]},
        "providers": by_name(record({"types": several(NUMBER)})),
        "specs": OBJECT,
        "mapped_regions": several(ID),
        "registered_at": TIME_OR_NULL,
        **STAMPS,
    }
)
ONE_SERVICE = one("service", _SERVICE)
SERVICES = many("services", _SERVICE)
