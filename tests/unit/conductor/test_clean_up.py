# SPDX-License-Identifier: Apache-2.0
"""Undo and cleanup through the ledger, and what a zombie may still make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coriolis.conductor import ledger
from coriolis.domain.effects import key_of
from coriolis.rpc.messages import Assign, Effect, EffectWrite
from coriolis.store import effects
from tests.unit.conductor.rig import LEASE, QUARANTINE, Rig, badly, well


def write(rig: Rig, assign: Assign, effect: Effect) -> bool:
    owner = assign.params.get("maker")
    (ack,) = ledger.write(rig.db, [EffectWrite(attempt=assign.attempt, effect=effect, owner=owner)])
    return ack.accepted


def make(rig: Rig, assign: Assign, *, live: bool = True) -> Effect:
    """What an attempt of a maker writes around its creation."""
    key = key_of(assign.attempt.task_id, "thing", assign.attempt.epoch)
    assert write(rig, assign, Effect(key=key, kind="volume", name="thing", state="intended"))
    made = Effect(key=key, kind="volume", name="thing", state="live", ref={"id": key[:8]})
    if live:
        assert write(rig, assign, made)
    return made


MAKERS = ("volumes", "snapshot", "deploy")


def worker(rig: Rig, fails: tuple[str, ...] = ()) -> Any:
    """Makes an effect for each maker, removes what it is told to remove; notes both."""
    seen: dict[str, list[Any]] = {"made": [], "removed": []}

    def behave(assign: Assign) -> Mapping[str, Any]:
        if assign.kind in MAKERS:
            make(rig, assign)
            seen["made"].append(assign.name)
        if assign.name.startswith(("undo/", "cleanup/", "sweep")):
            assert assign.effects
            for effect in assign.effects:
                gone = Effect(key=effect.key, kind=effect.kind, name=effect.name, state="gone", ref=effect.ref)
                assert write(rig, assign, gone)
            seen["removed"].append(assign.name)
        return badly(*fails)(assign)

    return behave, seen


def left(rig: Rig, migration: Any) -> list[str]:
    run = rig.execution(migration)
    lines = rig.db.read(effects.of_instances, [(run.id, 0)])[(run.id, 0)]
    return [line.name for line in lines if line.state != "gone"]


def test_snapshots_go_after_success_and_volumes_stay(rig: Rig) -> None:
    rig.worker(kind="ova")
    made = rig.create(kind="ova", replication_count=2)
    behave, seen = worker(rig)
    rig.run(behave)
    assert rig.migration(made).last_execution_status == "COMPLETED"
    assert sorted(seen["removed"]) == ["cleanup/snapshot.1", "cleanup/snapshot.2"]
    assert len(left(rig, made)) == 2  # volumes, deployed machine


def test_a_failure_is_undone_in_reverse_order(rig: Rig) -> None:
    rig.worker(kind="ova")
    made = rig.create(kind="ova", replication_count=1)
    behave, seen = worker(rig, fails=("finalize",))
    rig.run(behave)
    assert rig.migration(made).last_execution_status == "ERROR"
    assert left(rig, made) == []
    undone = [name for name in seen["removed"] if name.startswith("undo/")]
    assert undone == ["undo/deploy", "undo/volumes"]


def test_what_a_lost_worker_may_still_make_is_swept(rig: Rig) -> None:
    rig.worker(kind="ova", host="first")
    made = rig.create(kind="ova", replication_count=1)
    rig.run(until="volumes")
    (old,) = rig.held
    make(rig, old, live=False)  # intended, then silence: the request may be on its way
    rig.clock.forward(LEASE + 1)
    rig.reap()
    rig.sessions.clear()
    rig.worker(kind="ova", host="second")
    behave, seen = worker(rig)
    rig.run(behave)
    assert rig.migration(made).last_execution_status == "COMPLETED"
    assert [name for name in seen["removed"] if name.startswith("sweep")] == ["sweep.1/volumes"]
    run = rig.execution(made)
    assert run.finished_at is not None
    swept = [
        line
        for line in rig.db.read(effects.of_instances, [(run.id, 0)])[(run.id, 0)]
        if line.doubtful_until is not None
    ]
    (line,) = swept
    assert line.removed_at is not None
    assert line.removed_at >= line.doubtful_until
    assert line.doubtful_until - rig.clock.now < QUARANTINE
    assert len(left(rig, made)) == 2


def test_late_and_doubled_writes_of_effects_change_nothing(rig: Rig) -> None:
    rig.worker(kind="ova")
    rig.create(kind="ova", replication_count=1)
    rig.run(until="volumes")
    (running,) = rig.held
    effect = make(rig, running)
    assert write(rig, running, Effect(key=effect.key, kind="volume", name="thing", state="intended"))
    task_id = running.attempt.task_id
    assert rig.db.read(effects.of_tasks, [task_id])[task_id][0].state == "live"
    assert write(rig, running, Effect(key=effect.key, kind="volume", name="thing", state="gone"))
    assert write(rig, running, effect)
    assert rig.db.read(effects.of_tasks, [task_id])[task_id][0].state == "gone"


def test_a_retry_learns_what_there_is(rig: Rig) -> None:
    rig.worker(kind="ova")
    rig.create(kind="ova", replication_count=1)
    rig.run(until="volumes")
    (running,) = rig.held
    effect = make(rig, running)
    assert rig.end(running, **badly("volumes", retryable=True)(running)).accepted
    rig.run(until="volumes")
    (again,) = rig.held
    assert [(one.key, one.state, one.ref, one.doubtful) for one in again.effects] == [
        (effect.key, "live", effect.ref, False)
    ]
    assert rig.end(again, **well(again)).accepted
