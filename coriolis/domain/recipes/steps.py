# SPDX-License-Identifier: Apache-2.0
"""Steps that several recipes share. A recipe that needs one a little different replaces its fields."""

from __future__ import annotations

from coriolis.domain.capabilities import Capability
from coriolis.domain.recipe import COPY_RETRY, Removal, Rounds, Step, When

INVENTORY = frozenset({Capability.INVENTORY})
PLANNING = frozenset({Capability.PLANNING})
SNAPSHOTS = frozenset({Capability.SNAPSHOTS})
VOLUMES = frozenset({Capability.VOLUMES})
COMPUTE = frozenset({Capability.COMPUTE})
READ_BLOCKS = frozenset({Capability.READ_BLOCKS})
WRITE_BLOCKS = frozenset({Capability.WRITE_BLOCKS})

DISKS = "vm.devices.disks"

UNDO_VOLUMES = Removal(kind="undo_volumes", type="DELETE_INSTANCE_TARGET_DISKS", capabilities=VOLUMES)
UNDO_DEPLOY = Removal(kind="undo_deploy", type="DELETE_DEPLOYED_INSTANCE", capabilities=COMPUTE)
# The source may only run again once its copy certainly does not.
UNDO_SHUTDOWN = Removal(
    kind="undo_shutdown",
    type="START_SOURCE_INSTANCE",
    capabilities=COMPUTE,
    waits_for=frozenset({"finalize"}),
)

INSPECT = Step(name="inspect", kind="inspect", type="GET_INSTANCE_INFO", source=INVENTORY, gives=("vm",))
CHECK_SOURCE = Step(
    name="check_source",
    kind="check_source",
    type="VALIDATE_MIGRATION_SOURCE_INPUTS",
    source=INVENTORY,
    takes=("vm",),
    gives=("concerns",),
)
PLAN = Step(
    name="plan",
    kind="plan",
    type="VALIDATE_MIGRATION_DESTINATION_INPUTS",
    destination=PLANNING,
    takes=("vm",),
    gives=("layout",),
)
MAKE_VOLUMES = Step(
    name="volumes",
    kind="volumes",
    type="CREATE_INSTANCE_DISKS",
    destination=VOLUMES,
    takes=("vm", "layout"),
    gives=("volumes",),
    makes=True,
    undo=UNDO_VOLUMES,
)
SHUTDOWN = Step(
    name="shutdown",
    kind="shutdown",
    type="SHUTDOWN_INSTANCE",
    source=COMPUTE,
    takes=("vm",),
    after=("volumes", "copy@prev"),
    rounds=Rounds.LAST,
    when=When.SHUTDOWN,
    makes=True,
    undo=UNDO_SHUTDOWN,
)
SNAPSHOT = Step(
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
)
COPY = Step(
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
)
VERIFY = Step(
    name="verify",
    kind="verify",
    type="VERIFY_DISKS",
    destination=WRITE_BLOCKS,
    takes=("vm", "volumes", "digest"),
    gives=("verified",),
    each=DISKS,
    rounds=Rounds.LAST,
    retry=COPY_RETRY,
)
DEPLOY = Step(
    name="deploy",
    kind="deploy",
    type="DEPLOY_INSTANCE_RESOURCES",
    destination=COMPUTE,
    takes=("vm", "layout", "volumes"),
    gives=("deployed",),
    after=("verify",),
    makes=True,
    undo=UNDO_DEPLOY,
)
# The digests of source and target become part of the result: the certificate of the bytes.
FINALIZE = Step(
    name="finalize",
    kind="finalize",
    type="FINALIZE_INSTANCE_DEPLOYMENT",
    destination=COMPUTE,
    takes=("vm", "deployed", "digest", "verified"),
    gives=("transfer_result",),
    makes=True,
    undo=Removal(kind="undo_finalize", type="STOP_DEPLOYED_INSTANCE", capabilities=COMPUTE),
)
