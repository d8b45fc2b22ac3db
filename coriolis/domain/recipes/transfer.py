# SPDX-License-Identifier: Apache-2.0
"""The executions of a transfer: bring its replicas up to date, change its options, remove its disks.

What an execution makes for the replica (volumes, the last snapshot) stays in the ledger after it, owned by the task
that made it; a later execution, or the removal of the disks, finds it there (parameter ``kept``: of which kinds).
"""

from __future__ import annotations

import dataclasses

from coriolis.domain.recipe import REMOVAL_RETRY, Recipe, Removal, Step
from coriolis.domain.recipes import steps

KEPT = "kept"  # parameter: the attempt gets what the ledger holds of the machine's replica, of these kinds
PURPOSE = "purpose"  # parameter: ``providers.api.Context.purpose``

_SNAPSHOT = {KEPT: ["snapshot"]}
_VOLUME = {KEPT: ["volume"]}

REPLICATE = Recipe(
    "replicate",
    steps=(
        steps.INSPECT,
        dataclasses.replace(steps.CHECK_SOURCE, type="VALIDATE_TRANSFER_SOURCE_INPUTS"),
        dataclasses.replace(
            steps.PLAN,
            type="VALIDATE_TRANSFER_DESTINATION_INPUTS",
            takes=("vm", "volumes@replica"),
            params={PURPOSE: "replicate"},
        ),
        dataclasses.replace(
            steps.MAKE_VOLUMES,
            type="DEPLOY_TRANSFER_DISKS",
            takes=("vm", "layout", "volumes@replica", "layout@replica"),
            after=("check_source",),
            undo=dataclasses.replace(steps.UNDO_VOLUMES, unless_completed=True),
        ),
        dataclasses.replace(steps.SHUTDOWN, undo=dataclasses.replace(steps.UNDO_SHUTDOWN, waits_for=frozenset())),
        dataclasses.replace(
            steps.SNAPSHOT,
            takes=(*steps.SNAPSHOT.takes, "snapshot@replica"),
            cleanup=None,
            undo=Removal(kind="delete_snapshot", type="DELETE_INSTANCE_SNAPSHOT", capabilities=steps.SNAPSHOTS),
        ),
        dataclasses.replace(steps.COPY, takes=(*steps.COPY.takes, "volumes@replica", "digest@replica", "era@replica")),
        # From here on the new point in time is the replica's, and what the one before needed may go.
        Step(
            name="tidy_source",
            kind="tidy_source",
            type="DELETE_TRANSFER_SOURCE_RESOURCES",
            source=steps.SNAPSHOTS,
            takes=("snapshot",),
            after=("copy",),
            params=_SNAPSHOT,
        ),
        Step(
            name="tidy_destination",
            kind="tidy_destination",
            type="DELETE_TRANSFER_TARGET_RESOURCES",
            destination=steps.VOLUMES,
            takes=("volumes",),
            after=("copy",),
            params=_VOLUME,
        ),
    ),
)

UPDATE = Recipe(
    "update_transfer",
    steps=(
        steps.INSPECT,
        dataclasses.replace(steps.CHECK_SOURCE, type="UPDATE_SOURCE_TRANSFER"),
        dataclasses.replace(
            steps.PLAN,
            type="UPDATE_DESTINATION_TRANSFER",
            takes=("vm", "volumes@replica"),
            after=("check_source",),
            params={PURPOSE: "replicate"},
        ),
    ),
)

_DELETE_SNAPSHOTS = Step(
    name="delete_snapshots",
    kind="delete_kept",
    type="DELETE_TRANSFER_SOURCE_DISK_SNAPSHOTS",
    source=steps.SNAPSHOTS,
    retry=REMOVAL_RETRY,
    params=_SNAPSHOT,
)
# The two do not wait for each other: the source may be gone for good.
DELETE_DISKS = Recipe(
    "delete_disks",
    steps=(
        _DELETE_SNAPSHOTS,
        Step(
            name="delete_volumes",
            kind="delete_kept",
            type="DELETE_TRANSFER_DISKS",
            destination=steps.VOLUMES,
            retry=REMOVAL_RETRY,
            params=_VOLUME,
        ),
    ),
)
# Of a transfer that was deleted: the user's disks stay, and the source forgets us.
FORGET_SOURCE = Recipe("forget_source", steps=(_DELETE_SNAPSHOTS,))
