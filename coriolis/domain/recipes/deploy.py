# SPDX-License-Identifier: Apache-2.0
"""A deployment: make the replicas of a transfer run. On clones the transfer goes on as before; in place, the disks of
the replica become the new machine's own."""

from __future__ import annotations

import dataclasses

from coriolis.domain.recipe import COPY_RETRY, Recipe, Rounds, Step
from coriolis.domain.recipes import steps
from coriolis.domain.recipes.transfer import PURPOSE

_TAKE_UP = Step(
    name="take_up",
    kind="take_up",
    type="VALIDATE_DEPLOYMENT_INPUTS",
    destination=steps.PLANNING,
    takes=("vm@replica", "volumes@replica", "digest@replica"),
    gives=("vm", "layout"),
    params={PURPOSE: "deploy"},
)

DEPLOY_CLONES = Recipe(
    "deploy_clones",
    steps=(
        _TAKE_UP,
        dataclasses.replace(
            steps.MAKE_VOLUMES,
            type="CREATE_TRANSFER_DISK_CLONES",
            takes=(*steps.MAKE_VOLUMES.takes, "volumes@replica"),
            params={"clone": True},
        ),
        Step(
            name="clone",
            kind="clone",
            type="CLONE_TRANSFER_DISKS",
            destination=steps.WRITE_BLOCKS,
            takes=("vm", "volumes", "volumes@replica", "digest@replica"),
            gives=("digest",),
            each=steps.DISKS,
            retry=COPY_RETRY,
        ),
        dataclasses.replace(steps.VERIFY, rounds=Rounds.ONCE),
        steps.DEPLOY,
        steps.FINALIZE,
    ),
)

DEPLOY_IN_PLACE = Recipe(
    "deploy_in_place",
    steps=(
        # The volumes are there: they need no room.
        dataclasses.replace(
            _TAKE_UP, gives=("vm", "layout", "volumes", "digest"), params={**_TAKE_UP.params, "in_place": True}
        ),
        dataclasses.replace(steps.VERIFY, takes=(*steps.VERIFY.takes, "era@replica"), rounds=Rounds.ONCE),
        steps.DEPLOY,
        steps.FINALIZE,
    ),
)
