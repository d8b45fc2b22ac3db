# SPDX-License-Identifier: Apache-2.0
"""The least store and the least worker around the planner: enough to tell it the truth, in any order."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from coriolis.domain import facts, outputs, plan, retry
from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Options, Platform, compile_instance
from coriolis.domain.effects import Effect, adopted, key_of, loose_from
from coriolis.domain.model import EffectState, ErrorClass, ExecutionState, Role, Task, TaskState
from coriolis.domain.recipe import Recipe, Removal, Rounds, Step
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
