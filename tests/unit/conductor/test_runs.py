# SPDX-License-Identifier: Apache-2.0
"""Whole executions through the store."""

from __future__ import annotations

import pytest

from tests.unit.conductor.rig import Rig, badly


def test_a_definition_moves_in_four_tasks(rig: Rig) -> None:
    rig.worker()
    made = rig.create("vm-1", "vm-2")
    rig.run()
    row = rig.migration(made)
    assert (row.last_execution_status, row.percent) == ("COMPLETED", 100)
    assert row.transfer_result == {name: {"id": "new", "name": "moved"} for name in ("vm-1", "vm-2")}
    work = {name: state for name, state in rig.states(made).items() if "/" not in name}
    assert work == dict.fromkeys(("inspect", "plan", "deploy", "finalize"), "COMPLETED")


def test_disks_move_in_rounds(rig: Rig) -> None:
    rig.worker(kind="ova")
    made = rig.create("vm-1", kind="ova", replication_count=2, shutdown_instances=True)
    rig.run()
    states = rig.states(made)
    assert rig.migration(made).last_execution_status == "COMPLETED"
    for name in ("copy.1/disk-0", "copy.1/disk-1", "copy.2/disk-0", "verify.2/disk-1", "shutdown.2", "finalize"):
        assert states[name] == "COMPLETED", states
    assert states["undo/volumes"] == "UNSCHEDULED"


def test_a_bad_instance_fails_alone(rig: Rig) -> None:
    rig.worker()
    made = rig.create("good", "bad")
    rig.run(lambda assign: badly("plan")(assign) if assign.instance == "bad" else badly()(assign))
    row = rig.migration(made)
    assert row.last_execution_status == "ERROR"
    assert "1 of 2 instances failed" in (row.message or "")
    assert list(row.transfer_result or {}) == ["good"]


@pytest.mark.parametrize("kind", ["copy", "verify"])
def test_all_disks_of_all_machines_are_copied_and_verified_at_once(rig: Rig, kind: str) -> None:
    """As many as there are slots, on all workers that are there."""
    sessions = {rig.worker(kind="ova", slots=2), rig.worker(kind="ova", slots=2, host="host-2")}
    rig.create("vm-1", "vm-2", kind="ova", replication_count=1)
    rig.run(until=kind)
    held = {(one.instance, one.item) for one in rig.held}
    assert held == {(vm, disk) for vm in ("vm-1", "vm-2") for disk in ("disk-0", "disk-1")}
    assert {one.attempt.session_id for one in rig.held} == sessions
