# SPDX-License-Identifier: Apache-2.0
"""Source and destination environments: the provider's options of one migration or listing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.api import validation
from coriolis.domain.errors import Invalid

Json = Any


def without_nulls(value: Json) -> Json:
    """The same data without keys whose value is null: null means "not said", and consoles cannot show it."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def check(environment: dict[str, Json], schema: dict[str, Json] | None, platform: str, field: str) -> None:
    """:raises Invalid: it does not fit the provider's schema, or the provider has no such side"""
    if schema is None:
        if environment:
            raise Invalid(f"{field}: the provider {platform} takes no options here: leave it empty", field=field)
        return
    validation.check_provider_data(schema, environment, field)


def for_listing(given: dict[str, Json], schemas: Sequence[dict[str, Json] | None]) -> dict[str, Json]:
    """What a provider may see of a console's raw form: the options of these schemas only, and no nulls.

    :raises Invalid: an option has the wrong form; missing ones are fine when listing
    """
    known: dict[str, Json] = {}
    for schema in schemas:
        known.update((schema or {}).get("properties", {}))
    pruned = {key: without_nulls(value) for key, value in given.items() if key in known and value is not None}
    definitions: dict[str, Json] = {
        word: schema[word] for schema in schemas for word in ("$defs", "definitions") if schema and word in schema
    }
    validation.check_provider_data({**definitions, "type": "object", "properties": known}, pruned, "env")
    return pruned
