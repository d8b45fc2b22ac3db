# SPDX-License-Identifier: Apache-2.0
"""Scripts that a user wants to run in the guests, and their one normal form."""

from __future__ import annotations

from typing import Any

from coriolis.domain.errors import Invalid

Schema = dict[str, Any]

OS_TYPES = ("bsd", "linux", "osx", "solaris", "windows")
DEFAULT_PHASE = "osmorphing_post_os_mount"
PHASES = ("osmorphing_pre_os_mount", DEFAULT_PHASE, "replica_first_boot")

_SCRIPTS: Schema = {
    "type": ["string", "null", "array"],
    "items": {
        "type": "object",
        "required": ["payload"],
        "properties": {"payload": {"type": "string"}, "phase": {"type": "string", "enum": list(PHASES)}},
        "additionalProperties": False,
    },
    "maxItems": 100,
}

SCHEMA: Schema = {
    "type": ["object", "null"],
    "properties": {
        "global": {
            "type": ["object", "null"],
            "properties": dict.fromkeys(OS_TYPES, _SCRIPTS),
            "additionalProperties": False,
        },
        "instances": {"type": ["object", "null"], "additionalProperties": _SCRIPTS},
    },
    "additionalProperties": False,
}


def normalise(scripts: dict[str, Any] | None, field: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    """The list form of scripts that fit ``SCHEMA``: a string becomes one script of the default phase, null is left
    out, and line ends become LF where a Linux shell or an unknown guest reads them.

    :raises Invalid: a blank script
    """
    given = scripts or {}
    result: dict[str, dict[str, list[dict[str, str]]]] = {}
    for group in ("global", "instances"):
        result[group] = {}
        for name, value in (given.get(group) or {}).items():
            plain_ends = group == "instances" or name == "linux"
            listed = _listed(value, plain_ends, f"{field}.{group}.{name}")
            if listed:
                result[group][name] = listed
    return result


def _listed(value: Any, plain_ends: bool, field: str) -> list[dict[str, str]]:
    entries = [{"payload": value}] if isinstance(value, str) else value or []
    for entry in entries:
        if not entry["payload"].strip():
            raise Invalid(f"{field}: a script is blank; leave it out or send null", field=field)
    return [
        {
            "phase": entry.get("phase", DEFAULT_PHASE),
            "payload": _unix(entry["payload"]) if plain_ends else entry["payload"],
        }
        for entry in entries
    ]


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n\r", "\n")
