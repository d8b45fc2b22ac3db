# SPDX-License-Identifier: Apache-2.0
"""A migration: read the source, write the destination, make it run there.

``MIGRATE`` moves bytes in one or more rounds. ``MOVE_DEFINITION`` serves a pair of platforms without disk bytes
(both lack the block capabilities), where an instance is its definition only.
"""

from __future__ import annotations

import dataclasses

from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Platform
from coriolis.domain.recipe import Recipe
from coriolis.domain.recipes import steps

MIGRATE = Recipe(
    "migrate",
    steps=(
        steps.INSPECT,
        steps.CHECK_SOURCE,
        steps.PLAN,
        dataclasses.replace(steps.MAKE_VOLUMES, after=("check_source",)),
        steps.SHUTDOWN,
        steps.SNAPSHOT,
        steps.COPY,
        steps.VERIFY,
        steps.DEPLOY,
        steps.FINALIZE,
    ),
)

MOVE_DEFINITION = Recipe(
    "move_definition",
    steps=(
        steps.INSPECT,
        steps.PLAN,
        dataclasses.replace(steps.DEPLOY, takes=("vm", "layout"), after=()),
        dataclasses.replace(steps.FINALIZE, takes=("vm", "deployed")),
    ),
)


def choose(source: Platform, destination: Platform) -> Recipe:
    """The recipe for a migration between these platforms."""
    moves_bytes = Capability.READ_BLOCKS in source.capabilities or Capability.WRITE_BLOCKS in destination.capabilities
    return MIGRATE if moves_bytes else MOVE_DEFINITION
