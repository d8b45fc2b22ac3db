# SPDX-License-Identifier: Apache-2.0
"""No attempt that has lost its task can write anything."""

from __future__ import annotations

import dataclasses

import pytest

from coriolis.conductor import ingest, ledger
from coriolis.domain.errors import Invalid
from coriolis.rpc.messages import Assign, AttemptReport, Effect, EffectWrite, Event, Progress, Result
from coriolis.store import checkpoints, effects, events, progress
from coriolis.store.paging import Page
from tests.unit.conductor.rig import LEASE, QUARANTINE, Rig, badly, well


def started(rig: Rig, kind: str = "inspect") -> Assign:
    """A running attempt of a task of this kind."""
    rig.run(until=kind)
    return rig.held[0]


def report(assign: Assign, **more: object) -> AttemptReport:
    return AttemptReport(task_id=assign.attempt.task_id, epoch=assign.attempt.epoch, **more)  # type: ignore[arg-type]


def effect_of(assign: Assign, state: str, key: str = "k1", ref: object = None) -> EffectWrite:
    return EffectWrite(attempt=assign.attempt, effect=Effect(key=key, kind="volume", name="v", state=state, ref=ref))


@pytest.fixture
def lost(rig: Rig) -> tuple[Assign, Assign]:
    """(an attempt whose session died, the attempt that has taken over)."""
    rig.worker(host="first")
    rig.create()
    old = started(rig)
    rig.clock.forward(LEASE + 1)
    assert rig.reap() == [old.attempt.session_id]
    rig.sessions.clear()
    rig.worker(host="second")
    (new,) = rig.dispatch()
    assert new.attempt.task_id == old.attempt.task_id
    assert new.attempt.epoch == old.attempt.epoch + 1
    return old, new


def test_a_result_of_a_zombie_is_refused(rig: Rig, lost: tuple[Assign, Assign]) -> None:
    old, new = lost
    assert not rig.end(old).accepted
    assert rig.end(new).accepted


def test_a_zombie_under_a_live_session_is_refused(rig: Rig, lost: tuple[Assign, Assign]) -> None:
    old, new = lost
    pretender = dataclasses.replace(old, attempt=dataclasses.replace(old.attempt, session_id=new.attempt.session_id))
    assert not rig.end(pretender).accepted
    thief = dataclasses.replace(new, attempt=dataclasses.replace(new.attempt, session_id=old.attempt.session_id))
    assert not rig.end(thief).accepted


def test_an_effect_of_a_zombie_is_refused(rig: Rig, lost: tuple[Assign, Assign]) -> None:
    old, new = lost
    refused, taken = ledger.write(rig.db, [effect_of(old, "intended", "k1"), effect_of(new, "intended", "k2")])
    assert (refused.accepted, taken.accepted) == (False, True)
    assert [line.key for line in rig.db.read(effects.of_tasks, [new.attempt.task_id])[new.attempt.task_id]] == ["k2"]


def test_a_dead_session_stays_dead(rig: Rig, lost: tuple[Assign, Assign]) -> None:
    old, _ = lost
    reply = rig.sync(old.attempt.session_id, report(old, progress=(Progress(item="i", done=1, total=2),)))
    assert not reply.accepted
    assert rig.db.read(progress.of_tasks, [old.attempt.task_id])[old.attempt.task_id] == []


def test_reports_of_another_epoch_are_dropped_and_revoked(rig: Rig, lost: tuple[Assign, Assign]) -> None:
    old, new = lost
    task_id = new.attempt.task_id
    stale = report(
        old,
        progress=(Progress(item="i", done=9, total=9),),
        checkpoint={"at": 9},
        events=(Event(seq=1, level="INFO", message="m"),),
    )
    reply = rig.sync(new.attempt.session_id, stale)
    assert reply.accepted
    assert reply.revoke == (task_id,)
    assert rig.db.read(progress.of_tasks, [task_id])[task_id] == []
    assert rig.db.read(checkpoints.of_tasks, [task_id]) == {}


def test_a_result_may_come_twice(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    attempt = started(rig)
    assert rig.end(attempt).accepted
    assert rig.end(attempt).accepted
    assert rig.states(made)["inspect"] == "COMPLETED"
    assert rig.states(made)["plan"] == "PENDING"


def test_the_same_result_twice_in_one_batch(rig: Rig) -> None:
    rig.worker()
    rig.create()
    attempt = started(rig)
    result = Result(attempt=attempt.attempt, **well(attempt))
    acks = ingest.results(rig.db, [result, result], quarantine=QUARANTINE)
    assert [ack.accepted for ack in acks] == [True, True]


def test_a_forced_cancel_revokes_at_once(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    attempt = started(rig)
    rig.cancel(made, force=True)
    assert not rig.end(attempt).accepted
    reply = rig.sync(attempt.attempt.session_id, report(attempt))
    assert reply.revoke == (attempt.attempt.task_id,)
    assert rig.migration(made).last_execution_status == "CANCELED"


def test_events_that_come_again_are_dropped(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    attempt = started(rig)
    first = Event(seq=1, level="INFO", message="one")
    rig.sync(attempt.attempt.session_id, report(attempt, events=(first,)))
    rig.sync(attempt.attempt.session_id, report(attempt, events=(first, Event(seq=2, level="INFO", message="two"))))
    rig.end(attempt, **well(attempt), report=report(attempt, events=(Event(seq=2, level="INFO", message="two"),)))
    told = rig.db.read(events.page, rig.execution(made).id, Page())
    assert [one.message for one in told] == ["one", "two"]


def test_an_unknown_task_is_stale(rig: Rig) -> None:
    rig.worker()
    rig.create()
    attempt = started(rig)
    stranger = dataclasses.replace(attempt, attempt=dataclasses.replace(attempt.attempt, task_id="nobody"))
    assert not rig.end(stranger).accepted


def test_an_unknown_outcome_is_refused(rig: Rig) -> None:
    rig.worker()
    rig.create()
    with pytest.raises(Invalid, match="outcome"):
        rig.end(started(rig), outcome="perhaps")


def test_an_output_that_is_too_large_fails_the_task(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    assert rig.end(started(rig), outcome="completed", outputs={"vm": "x" * 70000}).accepted
    assert rig.migration(made).last_execution_status == "ERROR"
    assert "65536" in (rig.migration(made).message or "")


def test_a_retryable_failure_waits_and_runs_again(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    attempt = started(rig)
    assert rig.end(attempt, **badly("inspect", retryable=True)(attempt)).accepted
    assert rig.dispatch() == []
    rig.clock.forward(5)
    rig.sync(attempt.attempt.session_id)
    (again,) = rig.dispatch()
    assert again.attempt.epoch == 2
    assert rig.tasks(made)["inspect"].attempts == 1
