# SPDX-License-Identifier: Apache-2.0
"""Runs of minion pools: an execution's instances are places of the pool, with a machine in each.

A pool has one platform; it stands on both sides of its executions, and all steps are the destination's.
"""

from __future__ import annotations

from coriolis.domain.capabilities import Capability
from coriolis.domain.recipe import COPY_RETRY, Recipe, Removal, Step
from coriolis.domain.recipes.transfer import KEPT

_MINIONS = frozenset({Capability.MINIONS})
_KEPT = {KEPT: ["minion"]}

# Makes the machine of a place, or starts and checks the one that is there; an ill one is made anew.
READY_MINIONS = Recipe(
    "ready_minions",
    steps=(
        Step(
            name="minion",
            kind="ready_minion",
            type="ALLOCATE_MINION_MACHINE",
            destination=_MINIONS,
            gives=("transfer_result",),
            makes=True,
            undo=Removal(
                kind="undo_minion",
                type="DELETE_MINION_MACHINE",
                capabilities=_MINIONS,
                unless_completed=True,
            ),
            params=_KEPT,
        ),
    ),
)
POWER_OFF_MINIONS = Recipe(
    "power_off_minions",
    steps=(
        Step(
            name="power_off",
            kind="power_off_minion",
            type="POWER_OFF_MINION_MACHINE",
            destination=_MINIONS,
            params=_KEPT,
        ),
    ),
)
DELETE_MINIONS = Recipe(
    "delete_minions",
    steps=(
        Step(
            name="delete",
            kind="delete_kept",
            type="DELETE_MINION_MACHINE",
            destination=_MINIONS,
            retry=COPY_RETRY,
            params=_KEPT,
        ),
    ),
)
