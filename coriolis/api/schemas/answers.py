# SPDX-License-Identifier: Apache-2.0
"""Pieces of the schemas of answers. A record has all its keys, always, and no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
FLAG: Schema = {"type": "boolean"}
FLAG_OR_NULL: Schema = {"type": ["boolean", "null"]}
ANYTHING: Schema = {}
OBJECT: Schema = {"type": "object"}
OBJECT_OR_NULL: Schema = {"type": ["object", "null"]}
NULL: Schema = {"type": "null"}
ID: Schema = {"type": "string", "format": "uuid"}
ID_OR_NULL: Schema = {"type": ["string", "null"], "format": "uuid"}
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$"
TIME: Schema = {"type": "string", "pattern": _TIME, "description": "UTC, without a zone"}
TIME_OR_NULL: Schema = {**TIME, "type": ["string", "null"]}

# What every object of the contract has.
STAMPS: dict[str, Schema] = {
    "created_at": TIME,
    "updated_at": TIME_OR_NULL,
    "deleted_at": TIME_OR_NULL,
    "deleted": {"type": "string", "description": '"0": it is there'},
}


def record(fields: Mapping[str, Schema], *, optional: Collection[str] = ()) -> Schema:
    """An object with exactly these keys; those in ``optional`` may be missing."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def several(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def by_name(item: Schema) -> Schema:
    """An object whose keys are names that users or platforms choose."""
    return {"type": "object", "additionalProperties": item}


def one(name: str, item: Schema) -> Schema:
    """The envelope of one object."""
    return record({name: item})


def many(name: str, item: Schema) -> Schema:
    """The envelope of a list."""
    return record({name: several(item)})
