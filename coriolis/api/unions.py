# SPDX-License-Identifier: Apache-2.0
"""One schema of several: workers of different releases may tell different ones, and each can be served by one of them.

The union takes what any of them takes: every field, required only where all require it, with every choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = Any


def union(schemas: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """``schemas``: at least one; what they do not share is taken from the first, which should be the newest."""
    result = schemas[0]
    for other in schemas[1:]:
        result = _both(result, other)
    return result


def _both(first: dict[str, Json], second: dict[str, Json]) -> dict[str, Json]:
    if first == second:
        return first
    result = dict(first)
    for word in ("properties", "$defs", "definitions"):
        if word in first or word in second:
            result[word] = _fields(first.get(word) or {}, second.get(word) or {})
    if "required" in first:
        shared = [name for name in first["required"] if name in (second.get("required") or ())]
        result["required"] = shared
    if "enum" in first:
        result["enum"] = _choices(first["enum"], second.get("enum"))
    for word in ("oneOf", "anyOf"):
        if word in first:
            result[word] = _branches(first[word], second.get(word) or [])
    return {word: value for word, value in result.items() if value is not None}


def _fields(first: dict[str, Json], second: dict[str, Json]) -> dict[str, Json]:
    result = dict(first)
    for name, field in second.items():
        result[name] = _both(first[name], field) if name in first else field
    return result


def _choices(first: list[Json], second: list[Json] | None) -> list[Json] | None:
    """None: one of them takes anything."""
    return None if second is None else [*first, *(value for value in second if value not in first)]


def _branches(first: list[Json], second: list[Json]) -> list[Json]:
    """Branch by branch, as consoles show the first one; those that only one has stay as they are."""
    paired = [_both(mine, theirs) for mine, theirs in zip(first, second, strict=False)]
    longer = first if len(first) > len(second) else second
    return [*paired, *longer[len(paired) :]]
