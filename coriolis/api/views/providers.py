# SPDX-License-Identifier: Apache-2.0
"""Providers and their schemas on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coriolis.domain.capabilities import (
    WIRE_CONNECTION,
    WIRE_DESTINATION,
    WIRE_DESTINATION_MINIONS,
    WIRE_SOURCE,
    WIRE_SOURCE_MINIONS,
    Capability,
    wire_types,
)

Json = Any

# wire number -> (key of the answer, part of the provider)
SCHEMA_KEYS: dict[int, tuple[str, str]] = {
    WIRE_CONNECTION: ("connection_info_schema", "connection"),
    WIRE_DESTINATION: ("destination_environment_schema", "destination"),
    WIRE_SOURCE: ("source_environment_schema", "source"),
    WIRE_SOURCE_MINIONS: ("source_minion_pool_environment_schema", "source_minion_pool"),
    WIRE_DESTINATION_MINIONS: ("destination_minion_pool_environment_schema", "destination_minion_pool"),
}


def providers(found: Mapping[str, Iterable[Capability]]) -> dict[str, Json]:
    return {name: {"types": wire_types(have)} for name, have in found.items()}
