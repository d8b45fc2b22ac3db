# SPDX-License-Identifier: Apache-2.0
"""All recipes by name, as rows of executions name them."""

from __future__ import annotations

from coriolis.domain.recipe import Recipe
from coriolis.domain.recipes.deploy import DEPLOY_CLONES, DEPLOY_IN_PLACE
from coriolis.domain.recipes.migrate import MIGRATE, MOVE_DEFINITION
from coriolis.domain.recipes.minion_pool import DELETE_MINIONS, POWER_OFF_MINIONS, READY_MINIONS
from coriolis.domain.recipes.transfer import DELETE_DISKS, FORGET_SOURCE, REPLICATE, UPDATE

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        MIGRATE,
        MOVE_DEFINITION,
        REPLICATE,
        UPDATE,
        DELETE_DISKS,
        FORGET_SOURCE,
        DEPLOY_CLONES,
        DEPLOY_IN_PLACE,
        READY_MINIONS,
        POWER_OFF_MINIONS,
        DELETE_MINIONS,
    )
}
