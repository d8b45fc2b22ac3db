# SPDX-License-Identifier: Apache-2.0
"""The values that a field of an environment can have: what the schema says, and what the platform says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Json = Any


def merged(
    schema: Mapping[str, Json] | None, known: Sequence[Mapping[str, Json]], names: Collection[str] | None
) -> list[dict[str, Json]]:
    """One entry for each field with known values, in the schema's order. ``known``: the platform's own, which count
    more; ``names``: only these (None: all). Fields that are free text have no entry."""
    by_name = {entry["name"]: entry for entry in known}
    properties: Mapping[str, Json] = (schema or {}).get("properties", {})
    found = []
    for name in (*properties, *(name for name in by_name if name not in properties)):
        entry = _entry(name, properties.get(name) or {}, by_name.get(name))
        if entry is not None and (names is None or name in names):
            found.append(entry)
    return found


def _entry(name: str, field: Mapping[str, Json], told: Mapping[str, Json] | None) -> dict[str, Json] | None:
    choices = field.get("enum") or (field.get("items") or {}).get("enum")
    if told is None and choices is None:
        return None
    values = list(choices or ()) if told is None else list(told["values"])
    default = field.get("default") if told is None else told.get("config_default")
    return {"name": name, "values": values, **({} if default is None else {"config_default": default})}
