# SPDX-License-Identifier: Apache-2.0
"""What a provider may be able to do, and the wire numbers of it.

The numbers are those of the wire contract's ``GET /providers`` (``types``); consoles key their forms on them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Capability(enum.StrEnum):
    """One part of a provider. A provider declares a set of them; a recipe step needs one."""

    INVENTORY = "inventory"
    NETWORKS = "networks"
    STORAGE = "storage"
    PLANNING = "planning"
    SNAPSHOTS = "snapshots"
    INCREMENTS = "increments"  # Snapshots can tell what changed since an earlier one
    READ_BLOCKS = "read_blocks"
    WRITE_BLOCKS = "write_blocks"
    VOLUMES = "volumes"
    COMPUTE = "compute"
    MINIONS = "minions"
    MORPHING = "morphing"
    OPTIONS = "options"  # knows which values the options of its environments can have on this platform


SOURCE_NEEDS = frozenset({Capability.INVENTORY, Capability.SNAPSHOTS, Capability.READ_BLOCKS})
DESTINATION_NEEDS = frozenset({Capability.PLANNING, Capability.VOLUMES, Capability.WRITE_BLOCKS, Capability.COMPUTE})

WIRE_DESTINATION = 4
WIRE_SOURCE = 8
WIRE_CONNECTION = 16
WIRE_SOURCE_MINIONS = 524288
WIRE_DESTINATION_MINIONS = 1048576

# (wire number, what must all be declared for it)
_WIRE_TYPES: tuple[tuple[int, frozenset[Capability]], ...] = (
    (WIRE_DESTINATION, DESTINATION_NEEDS),
    (WIRE_SOURCE, SOURCE_NEEDS),
    (WIRE_CONNECTION, frozenset()),
    (32, frozenset({Capability.INVENTORY})),
    (64, frozenset({Capability.MORPHING})),
    (128, frozenset({Capability.NETWORKS})),
    (512, DESTINATION_NEEDS),  # what a schema says of an option's values is there without any capability
    (4096, SOURCE_NEEDS),
    (16384, DESTINATION_NEEDS),
    (32768, frozenset({Capability.STORAGE})),
    (65536, SOURCE_NEEDS),  # updates are the engine's work
    (131072, SOURCE_NEEDS),
    (262144, DESTINATION_NEEDS),
    (WIRE_SOURCE_MINIONS, SOURCE_NEEDS | {Capability.MINIONS}),
    (WIRE_DESTINATION_MINIONS, DESTINATION_NEEDS | {Capability.MINIONS}),
    (2097152, frozenset({Capability.INVENTORY})),
)


def wire_types(capabilities: Iterable[Capability]) -> list[int]:
    """The sorted ``types`` of ``GET /providers`` for a provider with these capabilities."""
    have = frozenset(capabilities)
    return sorted(number for number, needs in _WIRE_TYPES if needs <= have)
