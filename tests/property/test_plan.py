# SPDX-License-Identifier: Apache-2.0
"""The planner, told random facts in any order, doubled and late."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coriolis.domain import facts
from coriolis.domain.errors import Stale
from coriolis.domain.model import ErrorClass, ExecutionState, Role, Task, TaskState
from coriolis.domain.recipe import Recipe
from coriolis.domain.recipes.migrate import MIGRATE
from coriolis.domain.states import FINAL_TASK_STATES
from tests.property.plan_engine import CUT, FANNED, HARD, WEAK, Engine


class Planner(RuleBasedStateMachine):
    """Random facts; at the end the world is kind, and everything has to come to an end."""

    @initialize(
        recipe=st.sampled_from([MIGRATE, FANNED]),
        disks=st.integers(0, 3),
        rounds=st.integers(1, 2),
        shutdown=st.booleans(),
    )
    def begin(self, recipe: Recipe, disks: int, rounds: int, shutdown: bool) -> None:
        self.engine = Engine(recipe, disks, rounds, shutdown)
        self.cancelled = False

    def pick(self, tasks: list[Task], data: st.DataObject) -> Task:
        return data.draw(st.sampled_from(sorted(tasks, key=lambda task: (task.index, task.name))))

    @precondition(lambda self: self.engine.placeable())
    @rule(data=st.data(), session=st.sampled_from(["one", "two"]), count=st.integers(1, 4))
    def claim(self, data: st.DataObject, session: str, count: int) -> None:
        for _ in range(count):
            if self.engine.placeable():
                self.engine.claim(self.pick(self.engine.placeable(), data), session)

    @precondition(lambda self: self.engine.running())
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        self.engine.complete(self.pick(self.engine.running(), data))

    @precondition(lambda self: self.engine.running())
    @rule(data=st.data())
    def complete_all(self, data: st.DataObject) -> None:
        while self.engine.running():
            self.engine.complete(self.pick(self.engine.running(), data))

    @precondition(lambda self: self.engine.running())
    @rule(
        data=st.data(), error=st.sampled_from([WEAK, WEAK, CUT, HARD]), made=st.sampled_from(["no", "intended", "live"])
    )
    def fail(self, data: st.DataObject, error: ErrorClass, made: str) -> None:
        task = self.pick(self.engine.running(), data)
        if task.role is Role.WORK and made != "no":
            (self.engine.intend if made == "intended" else self.engine.make)(task)
        self.engine.tell(facts.Failed(at=self.engine.now, task_id=task.id, epoch=task.epoch, error=error))

    @precondition(lambda self: self.engine.running())
    @rule(data=st.data(), kind=st.sampled_from([facts.Stopped, facts.Returned]), cut_off=st.booleans())
    def stop(self, data: st.DataObject, kind: Any, cut_off: bool) -> None:
        task = self.pick(self.engine.running(), data)
        if cut_off and task.role is Role.WORK:
            self.engine.intend(task)
        self.engine.tell(kind(at=self.engine.now, task_id=task.id, epoch=task.epoch, cut_off=cut_off))

    @rule(session=st.sampled_from(["one", "two"]), intended=st.booleans())
    def lose_session(self, session: str, intended: bool) -> None:
        for task in self.engine.running():
            if intended and task.session_id == session and task.role is Role.WORK:
                self.engine.intend(task)
        self.engine.tell(facts.SessionLost(at=self.engine.now, session_id=session))
        assert not any(task.session_id == session for task in self.engine.running())

    @precondition(lambda self: len(self.engine.told) > 2)
    @rule(force=st.booleans())
    def cancel(self, force: bool) -> None:
        work_was_over = all(t.state in FINAL_TASK_STATES for t in self.engine.tasks.values() if t.role is Role.WORK)
        before = self.engine.state
        decision = self.engine.tell(facts.CancelAsked(at=self.engine.now, force=force))
        if work_was_over and before is not ExecutionState.CANCELLING:
            assert not decision.changes
            assert self.engine.state is before
        waiting = {TaskState.SCHEDULED, TaskState.PENDING}
        work = [task for task in self.engine.tasks.values() if task.role is Role.WORK]
        assert not any(task.state in waiting for task in work) or self.engine.over
        running = [task for task in work if task.state is TaskState.RUNNING]
        assert all(task.stop_asked for task in running)
        assert not (force and running)

    @precondition(lambda self: self.engine.told)
    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        """A doubled or late message: the same words, at any later time."""
        fact = data.draw(st.sampled_from(self.engine.told))
        task = self.engine.tasks[fact.task_id]
        if task.state is TaskState.RUNNING and task.epoch == fact.epoch:
            return  # it was refused as stale or is not late at all
        before = dict(self.engine.tasks)
        with pytest.raises(Stale):
            self.engine.tell(dataclasses.replace(fact, at=self.engine.now))
        assert self.engine.tasks == before

    @rule(seconds=st.integers(1, 400))
    def wait(self, seconds: int) -> None:
        self.engine.now += dt.timedelta(seconds=seconds)
        self.engine.tell(facts.Looked(at=self.engine.now))

    @invariant()
    def names_are_unique(self) -> None:
        if hasattr(self, "engine"):
            names = collections.Counter(task.name for task in self.engine.tasks.values())
            assert max(names.values()) == 1

    @invariant()
    def rest_is_rest(self) -> None:
        """Looking again changes nothing: every decision brings the board to rest."""
        if hasattr(self, "engine"):
            assert not self.engine.tell(facts.Looked(at=self.engine.now)).changes

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.finish()
            self.engine.check_end()


Planner.TestCase.settings = settings(stateful_step_count=40)
TestPlanner = Planner.TestCase


@pytest.mark.parametrize("recipe", [MIGRATE, FANNED], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("force", [False, True])
def test_a_cancel_at_every_stage_ends_with_nothing_left(recipe: Recipe, force: bool) -> None:
    """One run per number of completed tasks; one further task is running when the cancel comes."""
    stage, reached = 0, True
    while reached:
        engine = Engine(recipe, disks=2, rounds=2, shutdown=True)
        for _ in range(stage):
            ready = engine.placeable()
            if ready:
                engine.claim(ready[0], "one")
                engine.complete(engine.tasks[ready[0].id])
        reached = not engine.over
        if engine.placeable():
            task = engine.placeable()[0]
            engine.claim(task, "one")
            engine.intend(engine.tasks[task.id])
        work_left = any(t.state not in FINAL_TASK_STATES for t in engine.tasks.values() if t.role is Role.WORK)
        engine.tell(facts.CancelAsked(at=engine.now, force=force))
        engine.finish()
        engine.check_end()
        assert engine.state is (ExecutionState.CANCELED if work_left else ExecutionState.COMPLETED)
        stage += 1
    assert stage > 10


@pytest.mark.parametrize("recipe", [MIGRATE, FANNED], ids=lambda recipe: recipe.name)
def test_a_hard_failure_of_any_work_task_undoes_everything(recipe: Recipe) -> None:
    victims: list[str] = []
    while True:
        engine = Engine(recipe, disks=2, rounds=1, shutdown=True)
        failed = False
        for _ in range(500):
            ready = engine.placeable()
            if not ready or engine.over:
                break
            engine.claim(ready[0], "one")
            task = engine.tasks[ready[0].id]
            if not failed and task.role is Role.WORK and task.name not in victims:
                victims.append(task.name)
                engine.intend(task)
                engine.tell(facts.Failed(at=engine.now, task_id=task.id, epoch=task.epoch, error=HARD))
                failed = True
            else:
                engine.complete(task)
        engine.finish()
        engine.check_end()
        if not failed:
            assert engine.state is ExecutionState.COMPLETED
            break
        assert engine.state is ExecutionState.ERROR
    assert len(victims) >= 7
