# SPDX-License-Identifier: Apache-2.0
"""The planner, case by case."""

from __future__ import annotations

import datetime as dt

import pytest

from coriolis.domain import facts, retry
from coriolis.domain.errors import Stale
from coriolis.domain.model import ErrorClass, ExecutionState, Task, TaskState
from coriolis.domain.recipes.migrate import MIGRATE
from tests.property.plan_engine import CUT, HARD, QUARANTINE, WEAK, Engine


def engine(**options: bool) -> Engine:
    return Engine(MIGRATE, disks=2, rounds=1, shutdown=options.get("shutdown", False))


def named(one: Engine, name: str) -> Task:
    return next(task for task in one.tasks.values() if task.name == name)


def run_until(one: Engine, name: str) -> Task:
    """Everything goes well until the task of this name runs."""
    while True:
        task = one.placeable()[0]
        one.claim(task, "session")
        if task.name == name:
            return one.tasks[task.id]
        one.complete(one.tasks[task.id])


def fail(one: Engine, task: Task, error: ErrorClass) -> facts.Decision:
    return one.tell(facts.Failed(at=one.now, task_id=task.id, epoch=task.epoch, error=error))


def test_an_error_that_may_pass_is_tried_again_later_and_told() -> None:
    one = engine()
    decision = fail(one, run_until(one, "inspect"), WEAK)
    task = named(one, "inspect")
    assert task.state is TaskState.PENDING
    assert task.not_before == one.now + dt.timedelta(seconds=2)
    assert task.error == WEAK
    assert [(event.level, event.message) for event in decision.events] == [
        ("WARNING", "inspect: The platform does not answer. It is tried again in 2 s.")
    ]
    assert decision.placeable


def test_the_message_of_an_instance_names_the_task_and_the_reason() -> None:
    one = engine()
    decision = fail(one, run_until(one, "inspect"), HARD)
    assert decision.state is ExecutionState.ERROR
    assert decision.message == "inspect: The platform refuses."


def test_a_failed_copy_stops_the_other_one() -> None:
    one = engine()
    first = run_until(one, "copy.1/disk-0")
    other = next(task for task in one.placeable() if task.name == "copy.1/disk-1")
    one.claim(other, "elsewhere")
    decision = fail(one, first, HARD)
    assert decision.told_to_stop == (("elsewhere", other.id),)
    assert named(one, "copy.1/disk-1").stop_asked
    assert named(one, "cleanup/snapshot.1").state is TaskState.SCHEDULED, "the other copy still reads"


def test_a_task_that_loses_its_worker_three_times_fails() -> None:
    one = engine()
    for expected in (TaskState.PENDING, TaskState.PENDING, TaskState.ERROR):
        one.claim(named(one, "inspect"), "session")
        one.tell(facts.SessionLost(at=one.now, session_id="session"))
        assert named(one, "inspect").state is expected
    error = named(one, "inspect").error
    assert error is not None
    assert error.code == retry.WORKER_LOST


def test_a_result_without_what_it_promised_fails_the_task() -> None:
    one = engine()
    task = run_until(one, "inspect")
    one.tell(facts.Completed(at=one.now, task_id=task.id, epoch=task.epoch, outputs={}))
    error = named(one, "inspect").error
    assert error is not None
    assert error.code == retry.BAD_OUTPUT


def test_a_removal_that_left_something_is_tried_again() -> None:
    one = engine()
    fail(one, run_until(one, "deploy"), HARD)
    undo = named(one, "undo/volumes")
    while undo.state is not TaskState.PENDING:
        one.claim(one.placeable()[0], "session")
        one.complete(one.running()[0])
        undo = named(one, "undo/volumes")
    one.claim(undo, "session")
    one.tell(facts.Completed(at=one.now, task_id=undo.id, epoch=undo.epoch + 1))
    undo = named(one, "undo/volumes")
    assert undo.state is TaskState.PENDING
    assert undo.error is not None
    assert undo.error.code == retry.EFFECTS_LEFT


def test_the_source_stays_off_when_its_copy_could_not_be_stopped() -> None:
    one = engine(shutdown=True)
    task = run_until(one, "finalize")
    one.intend(task)
    fail(one, task, HARD)
    events: list[facts.Event] = []
    while named(one, "undo/finalize").state is not TaskState.ERROR:
        ready = one.placeable()
        if not ready:
            one.now += dt.timedelta(seconds=600)
            continue
        one.claim(ready[0], "session")
        running = one.running()[0]
        if running.name == "undo/finalize":
            events += fail(one, running, HARD).events
        else:
            one.complete(running)
    assert named(one, "undo/shutdown.1").state is TaskState.UNSCHEDULED
    assert "undo/shutdown.1 is not run, because undo/finalize failed." in [event.message for event in events]
    one.finish()
    assert one.state is ExecutionState.ERROR


def test_what_a_cut_off_attempt_may_have_made_is_swept_after_the_quarantine_and_before_the_end() -> None:
    one = engine()
    task = run_until(one, "volumes")
    one.intend(task)
    cut_at = one.now
    assert fail(one, task, CUT).in_doubt == {task.id}
    one.finish()
    assert one.state is ExecutionState.COMPLETED
    sweep = named(one, "sweep.1/volumes")
    assert (sweep.kind, sweep.maker) == ("undo_volumes", task.id)
    assert one.now >= cut_at + QUARANTINE
    one.check_end()


def test_a_cancel_after_the_last_step_comes_too_late() -> None:
    one = engine()
    task = run_until(one, "finalize")
    one.complete(task)
    decision = one.tell(facts.CancelAsked(at=one.now, force=True))
    assert not decision.changes
    one.finish()
    assert one.state is ExecutionState.COMPLETED


def test_a_forced_cancel_takes_the_task_away_at_once() -> None:
    one = engine()
    task = run_until(one, "volumes")
    decision = one.tell(facts.CancelAsked(at=one.now, force=True))
    assert decision.told_to_stop == (("session", task.id),)
    assert decision.in_doubt == {task.id}
    assert (named(one, "volumes").state, named(one, "volumes").epoch) == (TaskState.CANCELED, task.epoch + 1)
    with pytest.raises(Stale):
        one.tell(facts.Completed(at=one.now, task_id=task.id, epoch=task.epoch))


def test_an_attempt_that_stops_unasked_is_tried_again_and_returned_work_is_not_counted() -> None:
    one = engine()
    task = run_until(one, "inspect")
    one.tell(facts.Stopped(at=one.now, task_id=task.id, epoch=task.epoch))
    assert (named(one, "inspect").state, named(one, "inspect").attempts) == (TaskState.PENDING, 1)
    one.now += dt.timedelta(seconds=10)
    task = run_until(one, "inspect")
    one.tell(facts.Returned(at=one.now, task_id=task.id, epoch=task.epoch))
    assert (named(one, "inspect").state, named(one, "inspect").attempts) == (TaskState.PENDING, 1)
