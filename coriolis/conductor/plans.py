# SPDX-License-Identifier: Apache-2.0
"""The shell around ``domain.plan``: load the graphs of some instances, decide on facts, store all of it at once.

Everything happens in the caller's transaction, with a number of statements that does not depend on how many
instances and facts there are.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.conductor import replicas, rollup
from coriolis.domain import progress
from coriolis.domain.effects import Effect, loose_from
from coriolis.domain.facts import Completed, Decision, Fact, Snapshot
from coriolis.domain.model import EffectState, ExecutionState, Task, TaskState
from coriolis.domain.plan import decide
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.rpc import messages
from coriolis.store import effects, events, executions, outbox, outputs, placing, tasks
from coriolis.store.events import NewEvent
from coriolis.store.rows import ExecutionInstance

Key = tuple[str, int]

RESULT = "transfer_result"  # the output that describes the machine made


@dataclass
class Graph:
    """One instance while it is planned for: as it was loaded, and as it shall be."""

    row: ExecutionInstance
    state: ExecutionState
    tasks: dict[str, Task]
    ledger: list[Effect]
    before: dict[str, Task] = field(default_factory=dict)
    message: str | None = None
    result: Any = None
    touched: bool = False

    @property
    def ended(self) -> bool:
        return self.state in FINAL_EXECUTION_STATES and self.state != self.row.state

    def snapshot(self, at: dt.datetime) -> Snapshot:
        loose: dict[str, dt.datetime] = {}
        for effect in self.ledger:
            settles = loose_from(effect, at)
            if settles is not None:
                loose[effect.owner] = max(settles, loose.get(effect.owner, settles))
        return Snapshot(
            state=self.state,
            tasks=tuple(self.tasks.values()),
            held=frozenset(effect.owner for effect in self.ledger if effect.state is not EffectState.GONE),
            loose=loose,
        )


class Plans:
    """The held graphs of some instances. ``take`` decides, ``save`` stores."""

    def __init__(self, conn: Connection, keys: Iterable[Key], now: dt.datetime, quarantine: dt.timedelta) -> None:
        self.conn = conn
        self.now = now
        self.quarantine = quarantine
        held = executions.hold(conn, list(keys))
        found = list(held)
        graphs = tasks.of_instances(conn, found)
        ledger = effects.of_instances(conn, found)
        self.graphs = {
            key: Graph(
                row=row,
                state=ExecutionState(row.state),
                tasks=graphs[key],
                ledger=ledger[key],
                before=dict(graphs[key]),
            )
            for key, row in held.items()
        }
        self._outputs: list[tuple[Key, str, dict[str, Any]]] = []
        self._events: list[NewEvent] = []
        self._stops: dict[str, set[str]] = {}
        self._doubts: list[str] = []

    def add(self, key: Key, new: Sequence[Task], seeds: Mapping[str, Any] | None = None) -> None:
        """A compiled graph for an instance that has none. ``seeds``: what its tasks may take of the replica; they are
        kept with the graph's first task, so that the run shows what it began with."""
        graph = self.graphs[key]
        graph.tasks = {task.id: task for task in new}
        graph.touched = True
        taken = {name: value for name, value in (seeds or {}).items() if any(name in one.takes for one in new)}
        if taken:
            self._outputs.append((key, new[0].id, taken))

    def turn(self, key: Key, state: ExecutionState, message: str | None = None) -> None:
        """Gives an instance a state that no planner's decision has brought about."""
        graph = self.graphs[key]
        graph.state, graph.message, graph.touched = state, message, True

    def tell(self, new: NewEvent) -> None:
        self._events.append(new)

    def take(self, key: Key, fact: Fact) -> Decision:
        """Decides on a fact and notes what has to be stored. The next fact sees the outcome.

        :raises Stale: the fact comes from an attempt that does not own its task; nothing is noted
        """
        graph = self.graphs[key]
        decision = decide(graph.snapshot(self.now), fact)
        graph.touched = graph.touched or decision.state is not graph.state or bool(decision.changes or decision.new)
        graph.state = decision.state
        graph.message = decision.message or graph.message
        for change in decision.changes:
            graph.tasks[change.after.id] = change.after
        for task in decision.new:
            graph.tasks[task.id] = task
        if isinstance(fact, Completed) and decision.outputs:
            self._outputs.append((key, fact.task_id, dict(decision.outputs)))
            graph.result = decision.outputs.get(RESULT, graph.result)
        self._events += [
            NewEvent(execution_id=key[0], task_id=event.task_id, level=event.level, message=event.message)
            for event in decision.events
        ]
        for session_id, task_id in decision.told_to_stop:
            self._stops.setdefault(session_id, set()).add(task_id)
        if decision.in_doubt:
            self._doubts += decision.in_doubt
            self._doubt_now(graph, decision.in_doubt)
        return decision

    def _doubt_now(self, graph: Graph, owners: frozenset[str]) -> None:
        """The ledger in memory as ``effects.doubt`` will leave it."""
        graph.ledger = [
            dataclasses.replace(effect, doubtful_until=self.now + self.quarantine)
            if effect.owner in owners and effect.state is EffectState.INTENDED and effect.doubtful_until is None
            else effect
            for effect in graph.ledger
        ]

    def save(self) -> None:
        """Stores everything that was noted.

        :raises Clash: a task has changed since it was loaded; the transaction has to be run again
        """
        conn, now = self.conn, self.now
        changes = [
            (before, graph.tasks[task_id])
            for graph in self.graphs.values()
            for task_id, before in graph.before.items()
            if graph.tasks[task_id] != before
        ]
        new = [
            task
            for graph in self.graphs.values()
            for task_id, task in graph.tasks.items()
            if task_id not in graph.before
        ]
        tasks.save(conn, changes, now)
        if new:
            positions = {(key[0], graph.row.instance): key[1] for key, graph in self.graphs.items()}
            regions = placing.regions_of_executions(conn, sorted({task.execution_id for task in new}))
            tasks.insert(conn, new, positions, regions, now)
        outputs.store(conn, self._outputs)
        effects.doubt(conn, self._doubts, now + self.quarantine, now)
        self._save_instances()
        ended = {key: graph for key, graph in self.graphs.items() if graph.ended}
        replicas.settle(conn, {key: (graph.state, tuple(graph.tasks.values())) for key, graph in ended.items()}, now)
        rollup.runs(conn, self._turned(), now)
        events.append(conn, self._events, now)
        outbox.put(conn, self._hints(changes, new), now)

    def _save_instances(self) -> None:
        executions.update_instances(
            self.conn,
            [
                {
                    "b_id": key[0],
                    "b_position": key[1],
                    "state": graph.state.value,
                    "message": events.shorten(graph.message) if graph.message else graph.row.message,
                    "percent": _percent(graph),
                    "result": graph.result if graph.result is not None else graph.row.result,
                    "started_at": graph.row.started_at or self.now,
                    "finished_at": self.now if graph.state in FINAL_EXECUTION_STATES else None,
                }
                for key, graph in self.graphs.items()
                if graph.touched
            ],
        )

    def _turned(self) -> list[str]:
        """Executions of which an instance has changed its state."""
        return sorted({key[0] for key, graph in self.graphs.items() if graph.state != graph.row.state})

    def _hints(self, changes: Sequence[tuple[Task, Task]], new: Sequence[Task]) -> list[outbox.Line]:
        """Wakes the scheduler when a task may be placed or a slot has become free, and workers that have to stop."""
        lines: list[outbox.Line] = []
        freed = any(before.state is TaskState.RUNNING for before, _ in changes)
        if freed or any(task.state is TaskState.PENDING for task in (*(after for _, after in changes), *new)):
            lines.append((messages.SCHEDULER, None, "wake", {"what": "dispatch"}))
        for session_id, stopped in sorted(self._stops.items()):
            lines.append((messages.WORKER, session_id, "cancel", {"task_ids": sorted(stopped)}))
        return lines


def _percent(graph: Graph) -> int:
    if graph.state is ExecutionState.COMPLETED:
        return 100
    if graph.state in FINAL_EXECUTION_STATES:
        return graph.row.percent
    amount = progress.Amount(graph.row.bytes_done, graph.row.bytes_total)
    return max(graph.row.percent, progress.percent_of(graph.tasks.values(), amount))
