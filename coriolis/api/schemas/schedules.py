# SPDX-License-Identifier: Apache-2.0
"""Bodies about schedules. They have no envelope."""

from __future__ import annotations

from typing import Any

from coriolis.api.schemas.answers import FLAG, ID, STAMPS, TEXT_OR_NULL, TIME_OR_NULL, many, one, record
from coriolis.domain.calendar import RANGES

Schema = dict[str, Any]

_CALENDAR: Schema = {
    "type": "object",
    "properties": {
        name: {"type": ["integer", "null"], "minimum": first, "maximum": last} for name, (first, last) in RANGES.items()
    },
    "additionalProperties": False,
    "description": "UTC; a field that is left out fits always, and all have to fit. dow 0 is Monday",
}
_FLAG: Schema = {"type": ["boolean", "null"]}
_FIELDS: dict[str, Schema] = {
    "schedule": _CALENDAR,
    "enabled": _FLAG,
    "expiration_date": {"type": ["string", "null"], "maxLength": 64, "description": "RFC 3339, in the future"},
    "shutdown_instance": _FLAG,
    "auto_deploy": _FLAG,
}

CREATE: Schema = {
    "type": "object",
    "required": ["schedule"],
    "properties": _FIELDS,
    "additionalProperties": False,
}

# The contract drops unknown and unchangeable keys of an update silently.
UPDATE: Schema = {"type": "object", "properties": _FIELDS}

_SHOWN_CALENDAR: Schema = {
    "type": "object",
    "properties": {name: {"type": "integer"} for name in RANGES},
    "additionalProperties": False,
}
_SCHEDULE = record(
    {
        "id": ID,
        "transfer_id": ID,
        "schedule": _SHOWN_CALENDAR,
        "expiration_date": TIME_OR_NULL,
        "enabled": FLAG,
        "shutdown_instance": FLAG,
        "auto_deploy": FLAG,
        "trust_id": {"type": "null", "description": "Trusts are not shown"},
        "next_fire_at": TIME_OR_NULL,
        "last_fired_at": TIME_OR_NULL,
        "message": TEXT_OR_NULL,
        **STAMPS,
    }
)
ONE_SCHEDULE = one("schedule", _SCHEDULE)
SCHEDULES = many("schedules", _SCHEDULE)
