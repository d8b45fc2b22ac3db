# SPDX-License-Identifier: Apache-2.0
"""A migration: read the source, write the destination, make it run there.

``MIGRATE`` moves bytes in one or more rounds. ``MOVE_DEFINITION`` serves a pair of platforms without disk bytes
(both lack the block capabilities), where an instance is its definition only.
"""

from __future__ import annotations

import dataclasses

from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Platform
from coriolis.domain.recipe import COPY_RETRY, Recipe, Removal, Rounds, Step, When

INVENTORY = frozenset({Capability.INVENTORY})
PLANNING = frozenset({Capability.PLANNING})
SNAPSHOTS = frozenset({Capability.SNAPSHOTS})
VOLUMES = frozenset({Capability.VOLUMES})
COMPUTE = frozenset({Capability.COMPUTE})
READ_BLOCKS = frozenset({Capability.READ_BLOCKS})
WRITE_BLOCKS = frozenset({Capability.WRITE_BLOCKS})

DISKS = "vm.devices.disks"

_INSPECT = Step(name="inspect", kind="inspect", type="GET_INSTANCE_INFO", source=INVENTORY, gives=("vm",))
_PLAN = Step(
    name="plan",
    kind="plan",
    type="VALIDATE_MIGRATION_DESTINATION_INPUTS",
    destination=PLANNING,
    takes=("vm",),
    gives=("layout",),
)
_FINALIZE = Step(
    name="finalize",
    kind="finalize",
    type="FINALIZE_INSTANCE_DEPLOYMENT",
    destination=COMPUTE,
    takes=("vm", "deployed"),
    gives=("transfer_result",),
    makes=True,
    undo=Removal(kind="undo_finalize", type="STOP_DEPLOYED_INSTANCE", capabilities=COMPUTE),
)
_UNDO_DEPLOY = Removal(kind="undo_deploy", type="DELETE_DEPLOYED_INSTANCE", capabilities=COMPUTE)

MIGRATE = Recipe(
    "migrate",
    steps=(
        _INSPECT,
        Step(
            name="check_source",
            kind="check_source",
            type="VALIDATE_MIGRATION_SOURCE_INPUTS",
            source=INVENTORY,
            takes=("vm",),
            gives=("concerns",),
        ),
        _PLAN,
        Step(
            name="volumes",
            kind="volumes",
            type="CREATE_INSTANCE_DISKS",
            destination=VOLUMES,
            takes=("vm", "layout"),
            gives=("volumes",),
            after=("check_source",),
            makes=True,
            undo=Removal(kind="undo_volumes", type="DELETE_INSTANCE_TARGET_DISKS", capabilities=VOLUMES),
        ),
        Step(
            name="shutdown",
            kind="shutdown",
            type="SHUTDOWN_INSTANCE",
            source=COMPUTE,
            takes=("vm",),
            after=("volumes", "copy@prev"),
            rounds=Rounds.LAST,
            when=When.SHUTDOWN,
            makes=True,
            # The source may only run again once its copy certainly does not.
            undo=Removal(
                kind="undo_shutdown",
                type="START_SOURCE_INSTANCE",
                capabilities=COMPUTE,
                waits_for=frozenset({"finalize"}),
            ),
        ),
        Step(
            name="snapshot",
            kind="snapshot",
            type="CREATE_INSTANCE_SNAPSHOT",
            source=SNAPSHOTS,
            takes=("vm", "snapshot@prev"),
            gives=("snapshot",),
            after=("check_source", "volumes", "shutdown", "copy@prev"),
            rounds=Rounds.EACH,
            makes=True,
            cleanup=Removal(kind="delete_snapshot", type="DELETE_INSTANCE_SNAPSHOT", capabilities=SNAPSHOTS),
        ),
        Step(
            name="copy",
            kind="copy",
            type="REPLICATE_DISKS",
            source=READ_BLOCKS,
            destination=WRITE_BLOCKS,
            # The earlier snapshot is the base of the increment, and must live until it is read.
            takes=("vm", "snapshot", "snapshot@prev", "volumes", "digest@prev"),
            gives=("digest",),
            each=DISKS,
            rounds=Rounds.EACH,
            retry=COPY_RETRY,
        ),
        Step(
            name="verify",
            kind="verify",
            type="VERIFY_DISKS",
            destination=WRITE_BLOCKS,
            takes=("vm", "volumes", "digest"),
            gives=("verified",),
            each=DISKS,
            rounds=Rounds.LAST,
            retry=COPY_RETRY,
        ),
        Step(
            name="deploy",
            kind="deploy",
            type="DEPLOY_INSTANCE_RESOURCES",
            destination=COMPUTE,
            takes=("vm", "layout", "volumes"),
            gives=("deployed",),
            after=("verify",),
            makes=True,
            undo=_UNDO_DEPLOY,
        ),
        # The digests of source and target become part of the result: the certificate of the bytes.
        dataclasses.replace(_FINALIZE, takes=("vm", "deployed", "digest", "verified")),
    ),
)

MOVE_DEFINITION = Recipe(
    "move_definition",
    steps=(
        _INSPECT,
        _PLAN,
        Step(
            name="deploy",
            kind="deploy",
            type="DEPLOY_INSTANCE_RESOURCES",
            destination=COMPUTE,
            takes=("vm", "layout"),
            gives=("deployed",),
            makes=True,
            undo=_UNDO_DEPLOY,
        ),
        _FINALIZE,
    ),
)


def choose(source: Platform, destination: Platform) -> Recipe:
    """The recipe for a migration between these platforms."""
    moves_bytes = Capability.READ_BLOCKS in source.capabilities or Capability.WRITE_BLOCKS in destination.capabilities
    return MIGRATE if moves_bytes else MOVE_DEFINITION
