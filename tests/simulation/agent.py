# SPDX-License-Identifier: Apache-2.0
"""The model of a worker: sessions, syncs, self-fencing, children that run attempts. It follows ``worker.agent`` and
``worker.attempt`` step by step; the ledger code of its children is the worker's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import Stale
from coriolis.domain.retry import DIED
from coriolis.rpc import messages
from coriolis.rpc.messages import (
    Ack,
    Assign,
    AttemptReport,
    EffectAck,
    EffectWrite,
    Error,
    Progress,
    Register,
    Result,
    Sync,
    SyncReply,
)
from coriolis.worker.effects import Ledger
from tests.simulation import kinds
from tests.simulation.cloud import Cloud, Unavailable
from tests.simulation.services import Site
from tests.simulation.world import Process, World

SYNC, LEASE, MARGIN = 10.0, 30.0, 5.0
CALL_TIMEOUT = 6.0
CANCEL_GRACE = 6.0
SLOTS = 3

PROVIDERS = {name: sorted(capability.value for capability in Capability) for name in ("left", "right")}


class Child(Process):
    """One attempt in a process of its own."""

    def __init__(self, agent: Agent, assign: Assign) -> None:
        super().__init__(agent.world)
        self.agent = agent
        self.assign = assign
        self.cloud = agent.cloud
        self.process = self
        self.cancelled = False
        self.abandoned = False
        self.returning = False
        self.refuse_at: str | None = None
        self.progress: dict[str, Progress] = {}
        self.checkpoint: Any = None
        self.thaws_at = agent.thaws_at
        owner = assign.params.get("maker")
        self.ledger = Ledger(assign.attempt, assign.effects, self._write_effect, owner=owner)

    @property
    def key(self) -> tuple[str, int]:
        return self.assign.attempt.task_id, self.assign.attempt.epoch

    def run(self) -> None:
        assign, world = self.assign, self.world
        outcome, outputs, error = "completed", {}, None
        try:
            self.agent.site.befall(self)
            outputs = kinds.KINDS[assign.kind](self)
        except kinds.Cancelled:
            outcome = "canceled"
        except Stale:
            return self.agent.ended(self, None)
        except kinds.Refused:
            outcome, error = "failed", Error(code="provider.invalid", message="The platform refuses.")
        except Unavailable:
            outcome = "failed"
            error = Error(code="provider.unavailable", message="The platform does not answer.", retryable=True)
        world.count(f"attempts {outcome}")
        self.agent.ended(self, self._result(outcome, outputs, error))
        return None

    def died(self) -> None:
        """Killed by its agent, or by itself: the agent says so in its stead."""
        self.kill()
        error = Error(code=DIED, message="The task's process was killed.", retryable=True)
        self.agent.ended(self, self._result("failed", {}, error))

    def _result(self, outcome: str, outputs: dict[str, Any], error: Error | None) -> Result:
        if outcome != "completed" and self.cancelled:
            outcome = "canceled"
        elif outcome != "completed" and self.returning:
            outcome = "returned"
        if outcome in ("canceled", "returned") and error is not None and error.code != DIED:
            error = None
        return Result(attempt=self.assign.attempt, outcome=outcome, outputs=outputs, error=error, report=self.report())

    def report(self) -> AttemptReport:
        task_id, epoch = self.key
        return AttemptReport(
            task_id=task_id, epoch=epoch, progress=tuple(self.progress.values()), checkpoint=self.checkpoint
        )

    # ---- kinds.Job

    def check_cancelled(self) -> None:
        if self.cancelled or self.returning:
            raise kinds.Cancelled

    def check_refused(self, disk: str) -> None:
        if self.refuse_at == disk:
            raise kinds.Refused

    def copied(self, disk: str, done: int, total: int) -> None:
        self.progress[disk] = Progress(item=disk, done=done, total=total)
        self.checkpoint = {"host": self.agent.host, "done": done}

    def must_exist(self, what: str, ref: str) -> None:
        if not self.cloud.exists(self, ref) and self.agent.site.owns(self.assign.attempt):
            self.world.blame(f"{what} {ref} vanished under {self.assign.name} of {self.assign.instance}")

    def _write_effect(self, write: EffectWrite) -> EffectAck:
        ack = self.wait(lambda done: self.agent.insist(self, write, done))
        assert isinstance(ack, EffectAck)
        return ack


class Agent(Process):
    """``fences_itself`` False: its monotonic clock does not see that time passes, so that it never fences itself."""

    def __init__(self, site: Site, world: World, cloud: Cloud, host: str, *, fences_itself: bool) -> None:
        super().__init__(world)
        self.fences_itself = fences_itself
        self.site, self.cloud, self.host = site, cloud, host
        self.session: str | None = None
        self.fence_at = 0.0
        self.draining = False
        self.children: dict[str, Child] = {}
        self.over: set[tuple[str, int]] = set()
        self.fallen: set[tuple[str, int]] = set()
        self.after(world.rng.uniform(0.0, 2.0), self._turn)
        self.after(1.0, self._watch)

    def kill(self) -> None:
        super().kill()
        for child in self.children.values():
            child.kill()
        self.site.listeners.pop(self.session, None)

    def freeze(self, seconds: float) -> None:
        super().freeze(seconds)
        for child in self.children.values():
            child.freeze(seconds)

    # ---- session

    def _turn(self) -> None:
        if self.session is None:
            self._register()
        else:
            self._sync(self.session)

    def _next_turn(self, reply: Any) -> None:
        """Soon after silence, otherwise after the usual time."""
        self.after(self.world.rng.uniform(0.5, 2.0) if reply is None else SYNC, self._turn)

    def _register(self) -> None:
        sent = self.world.now

        def registered(reply: Any) -> None:
            self._next_turn(reply)
            if reply is None or self.session is not None:
                return
            self.session, self.fence_at = reply.session_id, sent + LEASE - MARGIN
            self.site.listeners[reply.session_id] = lambda message: self._receive(message)

        request = Register(host=self.host, pid=1, providers=PROVIDERS, slots=SLOTS)
        self.site.call(self, request, CALL_TIMEOUT, registered)

    def _sync(self, session: str) -> None:
        sent, collected = self.world.now, list(self.children.values())
        request = Sync(
            session_id=session, attempts=tuple(child.report() for child in collected), draining=self.draining
        )

        def answered(reply: SyncReply | None) -> None:
            self._next_turn(reply)
            if reply is None or self.session != session:
                return
            if not reply.accepted:
                self.site.listeners.pop(session, None)
                self.session = None
                self._fall()
                return
            self.fence_at = max(self.fence_at, sent + LEASE - MARGIN)
            self._hear(messages.Cancel(task_ids=reply.cancel))
            for task_id in reply.revoke:
                self._abandon(task_id)
            for assign in reply.missing:
                self._assign(assign)
            if reply.drain and not self.draining:
                self._drain()

        self.site.call(self, request, CALL_TIMEOUT, answered)

    def _watch(self) -> None:
        if self.fenced and self.children and self.fences_itself:
            self._fall()
        self.after(1.0, self._watch)

    @property
    def fenced(self) -> bool:
        return self.session is None or self.world.now >= self.fence_at

    def _fall(self) -> None:
        """Kills all children without a word."""
        for child in self.children.values():
            child.abandoned = True
            child.kill()
            self.fallen.add(child.key)
            self.world.count("children that fell")
        self.children.clear()

    def _drain(self) -> None:
        self.draining = True
        for child in list(self.children.values()):
            child.returning = True
            self._stop(child)
        self._end_when_idle()

    def _end_when_idle(self) -> None:
        if self.children:
            self.after(1.0, self._end_when_idle)
        else:
            self.after(3.0, self.kill)
            self.world.count("workers drained")

    # ---- attempts

    def _receive(self, message: Any) -> None:
        if not self.is_cut:
            self.after(0.0, lambda: self._hear(message))

    def _hear(self, message: Any) -> None:
        if isinstance(message, Assign):
            self._assign(message)
            return
        for task_id in message.task_ids:
            child = self.children.get(task_id)
            if child is not None and not child.cancelled:
                child.cancelled = True
                self._stop(child)

    def _stop(self, child: Child) -> None:
        """The ladder: told already; killed when it does not end by itself."""
        self.after(CANCEL_GRACE, lambda: child.died() if self.children.get(child.key[0]) is child else None)

    def _assign(self, assign: Assign) -> None:
        task_id, epoch = assign.attempt.task_id, assign.attempt.epoch
        if assign.attempt.session_id != self.session or self.fenced:
            return
        if self.draining:
            self.insist(None, Result(attempt=assign.attempt, outcome="returned"), lambda ack: None)
            return
        older = self.children.get(task_id)
        if (task_id, epoch) in self.over or (older is not None and older.key[1] >= epoch):
            return
        if older is not None:
            self._abandon(task_id)
        child = Child(self, assign)
        self.children[task_id] = child
        if (task_id, epoch) in self.fallen:
            child.died()  # its process was killed when the lease ended: a new attempt has to follow
            return
        child.spawn(child.run)

    def _abandon(self, task_id: str) -> None:
        child = self.children.pop(task_id, None)
        if child is not None:
            child.abandoned = True
            child.kill()

    def ended(self, child: Child, result: Result | None) -> None:
        """Delivers the result, however long that takes. A child whose task is stale says nothing."""

        def forget(_: Any) -> None:
            if self.children.get(child.key[0]) is child:
                del self.children[child.key[0]]
                self.over.add(child.key)

        if result is None:
            forget(None)
        else:
            self.insist(child, result, forget)

    def insist(self, child: Child | None, request: Result | EffectWrite, done: Callable[[Any], None]) -> None:
        """Repeats a request until there is an answer, or the child is abandoned."""

        def answered(reply: Ack | EffectAck | None) -> None:
            if child is not None and child.abandoned:
                return
            if reply is None:
                self.after(self.world.rng.uniform(0.5, 3.0), ask)
            else:
                done(reply)

        def ask() -> None:
            if child is None or not child.abandoned:
                self.site.call(self, request, CALL_TIMEOUT, answered)

        self.after(0.0, ask)
