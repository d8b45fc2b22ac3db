# SPDX-License-Identifier: Apache-2.0
"""Transfers, their executions and their deployments, on a real store with workers that the test plays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from coriolis.commands import deployments, executions, transfers
from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands.caller import Caller
from coriolis.commands.deployments import NewDeployment
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.transfers import NewTransfer
from coriolis.conductor import ledger
from coriolis.domain.effects import key_of
from coriolis.domain.errors import Conflict, Invalid, InvalidState, NotFound
from coriolis.domain.journal_name import name_of
from coriolis.domain.model import EffectState
from coriolis.rpc.messages import Assign, Effect, EffectWrite, Error
from coriolis.store import actions, journals, replicas
from coriolis.store import executions as runs
from coriolis.store.rows import Action, Execution, Replica
from tests.unit.conductor.rig import CALLER, GIVES, Rig, well

OTHER = Caller(user_id="u2", project_id="other")
DISKS = ("disk-0", "disk-1")


class Desk:
    """Plays a worker of a platform that can do everything, and keeps what the assignments said."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.seen: dict[str, Assign] = {}
        self.failing: set[str] = set()  # kinds, or names
        self.failing_items: set[str] = set()

    def __call__(self, assign: Assign) -> Mapping[str, Any]:
        self.seen[assign.name] = assign
        if {assign.kind, assign.name} & self.failing or (assign.kind == "copy" and assign.item in self.failing_items):
            return {"outcome": "failed", "error": Error(code="provider.invalid", message="It does not work.")}
        does = {
            "volumes": self._volumes,
            "snapshot": self._snapshot,
            "take_up": _take_up,
            "delete_kept": self._remove_all,
            "delete_snapshot": self._remove_all,
            "undo_volumes": self._remove_all,
            "tidy_source": self._tidy_source,
        }.get(assign.kind)
        if does is not None:
            return {"outcome": "completed", "outputs": does(assign)}
        if assign.kind in ("copy", "clone"):
            return {"outcome": "completed", "outputs": {"digest": {"digest": f"of {assign.item}", "size": 1}}}
        return well(assign)

    def _volumes(self, assign: Assign) -> dict[str, Any]:
        known = {one["disk_id"]: one for one in assign.inputs.get("volumes@replica", ())}
        for disk in DISKS:
            if disk not in known:
                key = key_of(assign.attempt.task_id, disk, assign.attempt.epoch)
                known[disk] = {"disk_id": disk, "ref": f"vol/{key}"}
                self._write(assign, Effect(key=key, kind="volume", name=f"volume/{disk}", **_live(known[disk])))
        return {"volumes": list(known.values())}

    def _snapshot(self, assign: Assign) -> dict[str, Any]:
        key = key_of(assign.attempt.task_id, "snapshot", assign.attempt.epoch)
        snapshot = {"ref": f"snap/{key}", "instance_id": assign.instance, "disks": []}
        self._write(assign, Effect(key=key, kind="snapshot", name="snapshot", **_live(snapshot)))
        return {"snapshot": snapshot}

    def _tidy_source(self, assign: Assign) -> dict[str, Any]:
        newest = assign.inputs["snapshot"]["ref"]
        for effect in assign.effects:
            if effect.ref["ref"] != newest:
                self._gone(assign, effect)
        return {}

    def _remove_all(self, assign: Assign) -> dict[str, Any]:
        for effect in assign.effects:
            self._gone(assign, effect)
        return {}

    def _gone(self, assign: Assign, effect: Effect) -> None:
        fields = {"key": effect.key, "kind": effect.kind, "name": effect.name, "ref": effect.ref}
        self._write(assign, Effect(**fields, state=EffectState.GONE.value, owner=effect.owner))

    def _write(self, assign: Assign, effect: Effect) -> None:
        owner = effect.owner or assign.params.get("maker")
        acks = ledger.write(self.rig.db, [EffectWrite(attempt=assign.attempt, effect=effect, owner=owner)])
        assert acks[0].accepted

    def run(self) -> None:
        self.seen.clear()
        self.rig.run(self)


def _live(record: dict[str, Any]) -> dict[str, Any]:
    return {"state": EffectState.LIVE.value, "ref": {"ref": record["ref"], "record": record}}


def _take_up(assign: Assign) -> dict[str, Any]:
    held = assign.inputs
    digests = held.get("digest@replica", {})
    return {"vm": held["vm@replica"], "layout": {}, "volumes": held["volumes@replica"], "digest": digests}


@pytest.fixture
def desk(rig: Rig) -> Desk:
    rig.worker(kind="full")
    return Desk(rig)


@pytest.fixture
def transfer(rig: Rig, desk: Desk) -> Action:
    return make(rig, "vm-1")


def make(rig: Rig, *instances: str, **more: Any) -> Action:
    ends = [
        endpoint_commands.create(rig.db, CALLER, NewEndpoint(name=side, type="full", sealed=side)).id
        for side in ("from", "to")
    ]
    spec = NewTransfer(origin=ends[0], destination=ends[1], instances=instances, **more)
    return transfers.create(rig.db, CALLER, spec)


def execute(rig: Rig, row: Action, **more: Any) -> Execution:
    return executions.create(rig.db, CALLER, row.id, **more)


def deploy(rig: Rig, row: Action, **more: Any) -> Action:
    return deployments.create(rig.db, CALLER, NewDeployment(transfer_id=row.id, **more))


def state_of(rig: Rig, run: Execution) -> str:
    return rig.db.read(runs.get, run.id).state


def replica_of(rig: Rig, row: Action) -> Replica:
    (found,) = rig.db.read(replicas.of_transfer, row.id)
    return found


def left(rig: Rig, row: Action) -> dict[str, int]:
    """How many things of each kind the ledger holds of a transfer."""
    kinds = ("volume", "snapshot")
    kept = rig.db.read(replicas.kept, {(row.id, n): kinds for n in range(len(row.instances))})
    everything = [effect for effects in kept.values() for effect in effects]
    return {kind: sum(effect.kind == kind for effect in everything) for kind in kinds}


def test_an_execution_leaves_a_replica_and_the_next_one_begins_with_it(rig: Rig, desk: Desk, transfer: Action) -> None:
    assert transfer.last_execution_status == "UNEXECUTED"
    first = execute(rig, transfer)
    desk.run()
    assert state_of(rig, first) == "COMPLETED"
    one = replica_of(rig, transfer)
    assert one.complete
    assert [volume["disk_id"] for volume in one.volumes or ()] == list(DISKS)
    assert one.digest == {disk: {"digest": f"of {disk}", "size": 1} for disk in DISKS}
    assert one.execution_id == first.id
    assert "snapshot@replica" not in desk.seen["snapshot.1"].inputs
    before = {name: assign.fence for name, assign in desk.seen.items()}

    second = execute(rig, transfer)
    desk.run()
    assert (second.number, state_of(rig, second)) == (2, "COMPLETED")
    assert desk.seen["snapshot.1"].inputs["snapshot@replica"] == one.snapshot
    assert desk.seen["copy.1/disk-0"].inputs["volumes@replica"] == one.volumes
    assert desk.seen["copy.1/disk-0"].fence > before["copy.1/disk-0"]
    assert desk.seen["copy.1/disk-0"].replica == transfer.id
    assert replica_of(rig, transfer).volumes == one.volumes
    assert replica_of(rig, transfer).snapshot != one.snapshot
    assert left(rig, transfer) == {"volume": 2, "snapshot": 1}


def test_what_was_begun_and_not_finished_cannot_be_deployed(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    desk.failing_items = {"disk-1"}
    failed = execute(rig, transfer)
    desk.run()
    assert state_of(rig, failed) == "ERROR"
    one = replica_of(rig, transfer)
    assert not one.complete
    assert one.volumes is not None
    assert left(rig, transfer) == {"volume": 2, "snapshot": 1}, "the base of the last good execution stays"
    with pytest.raises(InvalidState, match="did not complete"):
        deploy(rig, transfer)
    deploy(rig, transfer, force=True)
    desk.failing_items = set()
    desk.run()
    execute(rig, transfer)
    desk.run()
    assert replica_of(rig, transfer).complete


def test_a_failure_before_any_byte_leaves_the_replica_as_it_was(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    before = replica_of(rig, transfer)
    desk.failing = {"check_source"}
    execute(rig, transfer)
    desk.run()
    after = replica_of(rig, transfer)
    assert (after.complete, after.digest, after.snapshot) == (True, before.digest, before.snapshot)


def test_volumes_of_a_first_execution_that_fails_stay_for_the_next(rig: Rig, desk: Desk, transfer: Action) -> None:
    desk.failing_items = {"disk-1"}
    execute(rig, transfer)
    desk.run()
    one = replica_of(rig, transfer)
    assert one.volumes is not None
    assert not one.complete
    assert left(rig, transfer) == {"volume": 2, "snapshot": 0}
    desk.failing_items = set()
    execute(rig, transfer)
    desk.run()
    assert replica_of(rig, transfer).volumes == one.volumes


def test_only_one_thing_at_a_time(rig: Rig, desk: Desk, transfer: Action) -> None:
    run = execute(rig, transfer)
    for wish in (
        lambda: execute(rig, transfer),
        lambda: transfers.delete_disks(rig.db, CALLER, transfer.id),
        lambda: transfers.update(rig.db, CALLER, transfer.id, {"notes": "new"}),
        lambda: transfers.delete(rig.db, CALLER, transfer.id),
        lambda: deploy(rig, transfer),
        lambda: executions.delete(rig.db, CALLER, transfer.id, run.id),
    ):
        with pytest.raises(InvalidState, match="PENDING"):
            wish()
    desk.run()
    deployment = deploy(rig, transfer)
    with pytest.raises(InvalidState, match="deployment"):
        execute(rig, transfer)
    desk.run()
    assert rig.db.read(actions.get, deployment.id, None, "deployment").last_execution_status == "COMPLETED"


def test_a_deployment_on_clones_leaves_the_replica(rig: Rig, desk: Desk, transfer: Action) -> None:
    with pytest.raises(InvalidState, match="execute it first"):
        deploy(rig, transfer)
    with pytest.raises(InvalidState, match="vm-1"):
        deploy(rig, transfer, force=True)
    execute(rig, transfer)
    desk.run()
    before = replica_of(rig, transfer)
    made = deploy(rig, transfer)
    desk.run()
    row = rig.db.read(actions.get, made.id, None, "deployment")
    assert (row.last_execution_status, row.transfer_id) == ("COMPLETED", transfer.id)
    assert row.transfer_result == {"vm-1": GIVES["finalize"]["transfer_result"]}
    assert desk.seen["clone/disk-0"].inputs["digest@replica"] == before.digest
    assert replica_of(rig, transfer) == before
    assert transfers_result(rig, transfer) is None


def transfers_result(rig: Rig, row: Action) -> Any:
    return rig.db.read(actions.get, row.id, None, "transfer").transfer_result


def test_in_place_the_disks_become_the_machines_own(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    deploy(rig, transfer, clone_disks=False)
    desk.run()
    one = replica_of(rig, transfer)
    assert (one.volumes, one.complete) == (None, False)
    assert left(rig, transfer)["volume"] == 0
    transfers.delete(rig.db, CALLER, transfer.id, disks=True)
    desk.run()
    assert "delete_volumes" not in desk.seen or not desk.seen["delete_volumes"].effects
    assert left(rig, transfer) == {"volume": 0, "snapshot": 0}


def test_a_failed_deployment_in_place_keeps_the_replica(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    before = replica_of(rig, transfer)
    desk.failing = {"deploy"}
    deploy(rig, transfer, clone_disks=False)
    desk.run()
    assert replica_of(rig, transfer) == before
    assert left(rig, transfer) == {"volume": 2, "snapshot": 1}


def test_disks_on_which_a_machine_may_have_run_are_copied_anew(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    before = replica_of(rig, transfer)
    disk = (before.volumes or [])[0]
    name = name_of(before.instance, disk["disk_id"], disk["ref"])
    now = rig.db.utcnow()
    rig.db.write(lambda conn: journals.take_over(conn, transfer.id, name, "copy", now))
    desk.failing = {"finalize"}
    failed = deploy(rig, transfer, clone_disks=False)
    desk.run()
    one = replica_of(rig, transfer)
    assert (one.volumes, one.complete, one.digest) == (before.volumes, False, None)
    assert left(rig, transfer) == {"volume": 2, "snapshot": 1}
    assert rig.db.read(journals.get, transfer.id, name) is None
    with pytest.raises(InvalidState, match="started on them"):
        deploy(rig, transfer, clone_disks=False)
    with pytest.raises(InvalidState, match="started on them"):
        deployments.retry(rig.db, CALLER, failed.id)
    desk.failing = set()
    execute(rig, transfer)
    desk.run()
    assert replica_of(rig, transfer).complete
    assert desk.seen["copy.1/disk-0"].inputs["era@replica"] == 1
    deploy(rig, transfer, clone_disks=False)
    desk.run()
    assert desk.seen["verify/disk-0"].inputs["era@replica"] == 1
    assert left(rig, transfer)["volume"] == 0


def test_delete_disks_leaves_nothing(rig: Rig, desk: Desk, transfer: Action) -> None:
    with pytest.raises(InvalidState, match="no disks"):
        transfers.delete_disks(rig.db, CALLER, transfer.id)
    for _ in range(2):
        execute(rig, transfer)
        desk.run()
    run = transfers.delete_disks(rig.db, CALLER, transfer.id)
    assert run.type == "transfer_disks_delete"
    desk.run()
    assert state_of(rig, run) == "COMPLETED"
    assert left(rig, transfer) == {"volume": 0, "snapshot": 0}
    one = replica_of(rig, transfer)
    assert (one.volumes, one.complete, one.snapshot) == (None, False, None)
    with pytest.raises(InvalidState, match="no disks"):
        transfers.delete_disks(rig.db, CALLER, transfer.id)
    execute(rig, transfer)
    desk.run()
    assert "volumes@replica" not in desk.seen["copy.1/disk-0"].inputs
    assert replica_of(rig, transfer).complete


def test_disks_can_be_deleted_when_the_source_is_gone(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    desk.failing = {"delete_snapshots"}
    run = transfers.delete_disks(rig.db, CALLER, transfer.id)
    desk.run()
    assert state_of(rig, run) == "ERROR"
    assert left(rig, transfer) == {"volume": 0, "snapshot": 1}
    assert replica_of(rig, transfer).volumes is None


def test_a_deleted_transfer_leaves_no_mark_on_the_source(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer)
    desk.run()
    transfers.delete(rig.db, CALLER, transfer.id)
    with pytest.raises(NotFound):
        rig.db.read(actions.get, transfer.id, None, "transfer")
    desk.run()
    assert left(rig, transfer) == {"volume": 2, "snapshot": 0}


def test_an_update_holds_when_its_execution_has_succeeded(rig: Rig, desk: Desk, transfer: Action) -> None:
    given = {"destination_environment": {"pool": "fast"}, "notes": "new", "user_scripts": {"global": {"linux": []}}}
    run = transfers.update(rig.db, CALLER, transfer.id, given)
    assert run.type == "transfer_update"
    with pytest.raises(Conflict):
        transfers.update(rig.db, CALLER, transfer.id, given)
    row = rig.db.read(actions.get, transfer.id, None, "transfer")
    assert (row.notes, row.destination_environment) == (None, {})
    assert row.user_scripts["global"] == {"linux": []}
    desk.run()
    assert desk.seen["plan"].destination_environment == {"pool": "fast"}
    row = rig.db.read(actions.get, transfer.id, None, "transfer")
    assert (row.notes, row.destination_environment) == ("new", {"pool": "fast"})


def test_an_update_that_fails_changes_nothing(rig: Rig, desk: Desk, transfer: Action) -> None:
    desk.failing = {"plan"}
    transfers.update(rig.db, CALLER, transfer.id, {"notes": "new"})
    desk.run()
    assert rig.db.read(actions.get, transfer.id, None, "transfer").notes is None


def test_an_automatic_deployment_begins_when_its_execution_has_ended(rig: Rig, desk: Desk, transfer: Action) -> None:
    run = execute(rig, transfer, auto_deploy=True)
    (waiting,) = rig.db.read(actions.waiting, [run.id])
    deployment = rig.db.read(actions.find, [waiting.action_id])[waiting.action_id]
    assert (deployment.last_execution_status, deployment.deployer_id) == ("PENDING", run.id)
    desk.run()
    copied = desk.seen["copy.1/disk-0"].fence
    assert (state_of(rig, run), state_of(rig, waiting)) == ("COMPLETED", "PENDING")
    desk.run()
    assert state_of(rig, waiting) == "COMPLETED"
    assert desk.seen["clone/disk-0"].fence > copied


def test_an_automatic_deployment_ends_with_a_bad_execution(rig: Rig, desk: Desk, transfer: Action) -> None:
    run = execute(rig, transfer, auto_deploy=True)
    (waiting,) = rig.db.read(actions.waiting, [run.id])
    desk.failing = {"check_source"}
    desk.run()
    row = rig.db.read(actions.find, [waiting.action_id])[waiting.action_id]
    assert row.last_execution_status == "ERROR"
    assert "Not deployed" in (row.message or "")


def test_a_waiting_deployment_can_be_cancelled_and_deleted(rig: Rig, desk: Desk, transfer: Action) -> None:
    run = execute(rig, transfer, auto_deploy=True)
    (waiting,) = rig.db.read(actions.waiting, [run.id])
    deployments.cancel(rig.db, CALLER, waiting.action_id)
    assert state_of(rig, waiting) == "CANCELED"
    with pytest.raises(InvalidState):
        deployments.cancel(rig.db, CALLER, waiting.action_id)
    desk.run()
    assert state_of(rig, waiting) == "CANCELED"
    deployments.delete(rig.db, CALLER, waiting.action_id)
    second = execute(rig, transfer, auto_deploy=True)
    (waiting,) = rig.db.read(actions.waiting, [second.id])
    deployments.delete(rig.db, CALLER, waiting.action_id)
    desk.run()
    assert state_of(rig, second) == "COMPLETED"


def test_a_retry_runs_only_what_failed(rig: Rig, desk: Desk) -> None:
    transfer = make(rig, "good", "bad")

    def once(assign: Assign) -> Mapping[str, Any]:
        if assign.instance == "bad" and assign.kind == "inspect":
            return {"outcome": "failed", "error": Error(code="provider.invalid", message="no")}
        return desk(assign)

    run = execute(rig, transfer)
    rig.run(once)
    assert state_of(rig, run) == "ERROR"
    again = executions.retry(rig.db, CALLER, transfer.id, run.id)
    desk.run()
    assert state_of(rig, again) == "COMPLETED"
    machines = rig.db.read(runs.instances_of, [again.id])[again.id]
    assert [(one.position, one.instance) for one in machines] == [(1, "bad")]
    with pytest.raises(InvalidState, match="nothing to retry"):
        executions.retry(rig.db, CALLER, transfer.id, again.id)
    assert all(one.complete for one in rig.db.read(replicas.of_transfer, transfer.id))


def test_one_with_a_shutdown_copies_twice(rig: Rig, desk: Desk, transfer: Action) -> None:
    execute(rig, transfer, shutdown_instances=True)
    desk.run()
    assert {"copy.1/disk-0", "shutdown.2", "copy.2/disk-0"} <= desk.seen.keys()
    assert left(rig, transfer) == {"volume": 2, "snapshot": 1}
    assert replica_of(rig, transfer).complete


def test_others_see_nothing(rig: Rig, desk: Desk, transfer: Action) -> None:
    run = execute(rig, transfer)
    for use in (
        lambda: transfers.update(rig.db, OTHER, transfer.id, {}),
        lambda: transfers.delete(rig.db, OTHER, transfer.id),
        lambda: transfers.delete_disks(rig.db, OTHER, transfer.id),
        lambda: executions.create(rig.db, OTHER, transfer.id),
        lambda: executions.cancel(rig.db, OTHER, transfer.id, run.id),
        lambda: executions.retry(rig.db, OTHER, transfer.id, run.id),
        lambda: executions.delete(rig.db, OTHER, transfer.id, run.id),
        lambda: deployments.create(rig.db, OTHER, NewDeployment(transfer_id=transfer.id)),
    ):
        with pytest.raises(NotFound):
            use()


def test_bad_requests(rig: Rig, desk: Desk) -> None:
    with pytest.raises(Invalid, match="at least one"):
        make(rig)
    with pytest.raises(Invalid, match="twice"):
        make(rig, "a", "a")
