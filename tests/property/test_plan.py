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

from coriolis.domain import facts, outputs, plan, retry
from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Options, Platform, compile_instance
from coriolis.domain.effects import Effect, adopted, key_of, loose_from
from coriolis.domain.errors import Stale
from coriolis.domain.model import EffectState, ErrorClass, ExecutionState, Role, Task, TaskState
from coriolis.domain.recipe import Recipe, Removal, Rounds, Step
from coriolis.domain.recipes.migrate import MIGRATE
from coriolis.domain.states import FINAL_EXECUTION_STATES, FINAL_TASK_STATES

ANY = frozenset({Capability.INVENTORY})
START = dt.datetime(2026, 1, 1)
QUARANTINE = dt.timedelta(seconds=60)
WEAK = ErrorClass(code="provider.unavailable", message="The platform does not answer.", retryable=True)
HARD = ErrorClass(code="provider.invalid", message="The platform refuses.")
CUT = ErrorClass(code=retry.DIED, message="The process was killed.", retryable=True)

REMOVE = Removal(kind="remove", type="REMOVE", capabilities=ANY)
# Makers that fan out, with undo and with cleanup, and a consumer of all items: what ours does not have.
FANNED = Recipe(
    "fanned",
    (
        Step(name="inspect", kind="w", type="W", source=ANY, gives=("vm",)),
        Step(name="disk", kind="w", type="W", source=ANY, takes=("vm",), gives=("disk",), each="vm.devices.disks",
             makes=True, undo=REMOVE),
        Step(name="lease", kind="w", type="W", source=ANY, takes=("disk", "lease@prev"), gives=("lease",),
             each="vm.devices.disks", makes=True, cleanup=REMOVE, rounds=Rounds.EACH),
        Step(name="join", kind="w", type="W", source=ANY, takes=("disk", "lease"), gives=("joined",), makes=True,
             undo=REMOVE),
        Step(name="end", kind="w", type="W", source=ANY, takes=("joined",), gives=("end",)),
    ),
)  # fmt: skip


class Engine:
    """The least store and the least worker: enough to tell the planner the truth."""

    def __init__(self, recipe: Recipe, disks: int, rounds: int, shutdown: bool) -> None:
        everything = Platform("null", frozenset(Capability))
        rows = compile_instance(
            recipe,
            execution_id="e",
            instance="vm",
            source=everything,
            destination=everything,
            options=Options(rounds=rounds, shutdown=shutdown),
        )
        self.disks = [{"id": f"disk-{number}"} for number in range(disks)]
        self.tasks = {row.id: row for row in rows}
        self.state = ExecutionState.RUNNING
        self.now = START
        self.effects: dict[str, Effect] = {}
        self.stored: dict[str, Any] = {}
        self.told: list[Any] = []
        self.started: list[str] = []  # names, in the order of their first claim

    @property
    def over(self) -> bool:
        return self.state in FINAL_EXECUTION_STATES

    def running(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.state is TaskState.RUNNING]

    def placeable(self) -> list[Task]:
        pending = [task for task in self.tasks.values() if task.state is TaskState.PENDING]
        return [task for task in pending if task.not_before is None or task.not_before <= self.now]

    def tell(self, fact: facts.Fact) -> facts.Decision:
        if isinstance(fact, facts.AttemptFact):
            self.told.append(fact)
        loose = {}
        for effect in self.effects.values():
            since = loose_from(effect, self.now)
            if since is not None:
                loose[effect.owner] = max(since, loose.get(effect.owner, since))
        held = frozenset(each.owner for each in self.effects.values() if each.state is not EffectState.GONE)
        before = facts.Snapshot(state=self.state, tasks=tuple(self.tasks.values()), held=held, loose=loose)
        decision = plan.decide(before, fact)
        for change in decision.changes:
            assert self.tasks[change.before.id] == change.before
            self.tasks[change.after.id] = change.after
        for task in decision.new:
            assert task.id not in self.tasks
            self.tasks[task.id] = task
        for change in decision.changes:
            self.check_change(change)
        for owner in decision.in_doubt:
            for effect in self.effects.values():
                if effect.owner == owner and effect.state is EffectState.INTENDED:
                    self.effects[effect.key] = dataclasses.replace(effect, doubtful_until=self.now + QUARANTINE)
        assert not set(decision.outputs) & set(self.stored), "an output is given once"
        self.stored.update(decision.outputs)
        self.state = decision.state
        assert (decision.message is not None) <= self.over
        return decision

    def check_change(self, change: facts.Change) -> None:
        task = change.after
        if task.state is not TaskState.PENDING or change.before.state is not TaskState.SCHEDULED:
            return
        parents = [self.tasks[parent].state for parent in task.parents]
        if task.role is Role.WORK:
            assert set(parents) <= {TaskState.COMPLETED}, "work never runs before its parents"
        else:
            assert set(parents) <= FINAL_TASK_STATES

    def claim(self, task: Task, session: str) -> None:
        claimed = dataclasses.replace(
            task, state=TaskState.RUNNING, epoch=task.epoch + 1, session_id=session, not_before=None
        )
        self.tasks[task.id] = claimed
        self.started.append(task.name)
        if task.role is Role.WORK:
            outputs.inputs(claimed, self.stored)  # raises when one is missing
            self.check_nothing_is_undone()
        else:
            outputs.available(claimed, self.stored)
            if task.role is Role.UNDO:
                work = [each for each in self.tasks.values() if each.role is Role.WORK]
                assert all(each.state in FINAL_TASK_STATES for each in work), "undone before the work is over"

    def check_nothing_is_undone(self) -> None:
        assert not any(each.role is Role.UNDO and each.epoch for each in self.tasks.values())

    def intend(self, task: Task) -> None:
        makes = any(each.maker == task.id for each in self.tasks.values())
        if makes and adopted([each for each in self.effects.values() if each.owner == task.id], "thing") is None:
            key = key_of(task.id, "thing", task.epoch)
            self.effects[key] = Effect(key=key, owner=task.id, kind="thing", name="thing", epoch=task.epoch)

    def make(self, task: Task) -> None:
        self.intend(task)
        found = adopted([each for each in self.effects.values() if each.owner == task.id], "thing")
        if found is not None:
            self.effects[found.key] = dataclasses.replace(found, state=EffectState.LIVE, ref="r", doubtful_until=None)

    def remove(self, task: Task) -> None:
        sweep = bool(task.params.get("sweep"))
        for effect in list(self.effects.values()):
            if effect.owner == task.maker and not (sweep and effect.state is EffectState.LIVE):
                self.effects[effect.key] = dataclasses.replace(effect, state=EffectState.GONE, removed_at=self.now)

    def complete(self, task: Task) -> None:
        given = {outputs.local_name(task, name): f"value of {name}" for name in task.gives}
        if "vm" in given:
            given["vm"] = {"devices": {"disks": self.disks}}
        if task.role is Role.WORK:
            self.make(task)
        else:
            self.remove(task)
        self.tell(facts.Completed(at=self.now, task_id=task.id, epoch=task.epoch, outputs=given))

    def finish(self) -> None:
        """From here on everything goes well. Ends, or fails the test."""
        for _ in range(2000):
            if self.over:
                return
            for task in self.running():
                if task.stop_asked:
                    self.tell(facts.Stopped(at=self.now, task_id=task.id, epoch=task.epoch))
                else:
                    self.complete(task)
                break
            else:
                ready = self.placeable()
                if ready:
                    self.claim(ready[0], "last")
                else:
                    later = [task.not_before for task in self.tasks.values() if task.state is TaskState.PENDING]
                    assert later, f"nothing can go on: {[(t.name, t.state) for t in self.tasks.values()]}"
                    self.now = min(moment for moment in later if moment is not None)
        raise AssertionError("does not end")

    def check_end(self) -> None:
        assert all(task.state in FINAL_TASK_STATES for task in self.tasks.values())
        errors = [task for task in self.tasks.values() if task.state is TaskState.ERROR]
        if not [task for task in errors if task.role is not Role.WORK]:
            assert all(loose_from(effect, self.now) is None for effect in self.effects.values())
            left = {self.tasks[each.owner].name for each in self.effects.values() if each.state is EffectState.LIVE}
            if self.state is ExecutionState.COMPLETED:
                assert not errors
                kept = {t.name for t in self.tasks.values() if t.role is Role.WORK and not t.each}
                undone = {self.tasks[t.maker].name for t in self.tasks.values() if t.role is Role.UNDO and not t.each}
                assert left == kept & undone
                cleaned = {t.maker for t in self.tasks.values() if t.role is Role.CLEANUP}
                assert all(self.tasks[each].state in FINAL_TASK_STATES for each in cleaned)
            else:
                assert not left, "something is left behind"
        if errors:
            assert self.state is ExecutionState.ERROR
        self.check_undo_order()

    def check_undo_order(self) -> None:
        undone = [name.removeprefix("undo/") for name in self.started if name.startswith("undo/")]
        first = [name for position, name in enumerate(undone) if name not in undone[:position]]
        by_name = {task.name: task for task in self.tasks.values()}
        for position, earlier in enumerate(first):
            for later in first[position + 1 :]:
                assert not self.descends(by_name[later], by_name[earlier]) or later == "shutdown"

    def descends(self, task: Task, from_: Task) -> bool:
        return any(each == from_.id or self.descends(self.tasks[each], from_) for each in task.parents)


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
