# SPDX-License-Identifier: Apache-2.0
"""Bodies and answers about bandwidth budgets. Rates are bytes per second."""

from __future__ import annotations

from typing import Any

from coriolis.api.schemas.answers import COUNT, COUNT_OR_NULL, FLAG, ID, STAMPS, TEXT, many, one, record, several
from coriolis.domain.bandwidth import DAYS, Scope

Schema = dict[str, Any]

_RATE: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 10**15}
_STREAMS: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 10**6}
_TIME_OF_DAY: Schema = {"type": "string", "pattern": r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"}
_DAYS: Schema = {"type": "array", "items": {"type": "string", "enum": list(DAYS)}, "maxItems": len(DAYS)}
_WINDOW: Schema = {
    "type": "object",
    "required": ["start", "end"],
    "properties": {
        "days": _DAYS,
        "start": _TIME_OF_DAY,
        "end": _TIME_OF_DAY,
        "bytes_per_second": _RATE,
        "streams": _STREAMS,
    },
    "additionalProperties": False,
}
_TARGET: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 255},
    "maxProperties": 4,
}
_CHANGEABLE: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": {"type": ["string", "null"], "maxLength": 1024},
    "enabled": {"type": "boolean"},
    "target": _TARGET,
    "bytes_per_second": _RATE,
    "streams": _STREAMS,
    "backoff_factor": {"type": ["number", "null"], "minimum": 1.5, "maximum": 100},
    "time_zone": {"type": "string", "minLength": 1, "maxLength": 64},
    "windows": {"type": "array", "items": _WINDOW, "maxItems": 100},
}


def _body(required: list[str], properties: dict[str, Schema]) -> Schema:
    inner = {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
    return {
        "type": "object",
        "required": ["bandwidth_budget"],
        "properties": {"bandwidth_budget": inner},
        "additionalProperties": False,
    }


CREATE = _body(["name", "scope", "target"], {"scope": {"type": "string", "enum": list(Scope)}, **_CHANGEABLE})
UPDATE = _body([], _CHANGEABLE)

_FIGURE: Schema = {"type": "number", "minimum": 0}
BUDGET: Schema = record(
    {
        "id": ID,
        "name": TEXT,
        "description": TEXT,
        "enabled": FLAG,
        "scope": {"type": "string", "enum": list(Scope)},
        "target": _TARGET,
        "bytes_per_second": COUNT_OR_NULL,
        "streams": COUNT_OR_NULL,
        "backoff_factor": {"type": ["number", "null"]},
        "time_zone": TEXT,
        "windows": several(
            record(
                {
                    "days": _DAYS,
                    "start": TEXT,
                    "end": TEXT,
                    "bytes_per_second": COUNT_OR_NULL,
                    "streams": COUNT_OR_NULL,
                }
            )
        ),
        "now": record({"bytes_per_second": COUNT_OR_NULL, "streams": COUNT_OR_NULL}),
        "usage": record({"streams": COUNT, "granted": _FIGURE, "used": _FIGURE}),
        **STAMPS,
    }
)
BUDGETS = many("bandwidth_budgets", BUDGET)
ONE_BUDGET = one("bandwidth_budget", BUDGET)
