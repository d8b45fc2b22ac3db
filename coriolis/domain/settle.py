# SPDX-License-Identifier: Apache-2.0
"""What follows by itself once the tasks of an instance have changed.

In this order: work that became possible or pointless, cleanups whose last reader is over, undos when the instance
failed or is cancelled, sweeps, and the instance's own end. One pass over the tasks in the order of their index is
enough, since the compiler numbers parents before children in every role.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

from coriolis.domain import machine
from coriolis.domain.compile import UNLESS_COMPLETED, task_id
from coriolis.domain.facts import Change, Decision, Event, Snapshot
from coriolis.domain.model import ExecutionState, Role, Task, TaskState
from coriolis.domain.states import EXECUTION, FINAL_EXECUTION_STATES, FINAL_TASK_STATES, TASK, ExecutionFact, TaskFact

SWEEP = "sweep"  # parameter of a task that removes what an attempt may have made after it was given up

_BAD_END = frozenset({TaskState.ERROR, TaskState.CANCELED})


class Board:
    """The tasks of a snapshot while a decision is made. Every change of a state goes through the table."""

    def __init__(self, snapshot: Snapshot, at: dt.datetime) -> None:
        self.snapshot = snapshot
        self.at = at
        self.state = snapshot.state
        self.message: str | None = None
        self.tasks: dict[str, Task] = {task.id: task for task in snapshot.tasks}
        self.before = dict(self.tasks)
        self.events: list[Event] = []
        self.outputs: dict[str, Any] = {}
        self.in_doubt: set[str] = set()

    def role(self, role: Role) -> list[Task]:
        return sorted((task for task in self.tasks.values() if task.role is role), key=lambda task: task.index)

    def move(self, task: Task, fact: TaskFact, **fields: Any) -> None:
        """:raises InvalidState: the table of tasks does not allow it"""
        self.put(dataclasses.replace(task, state=machine.apply(TASK, task.state, fact), stop_asked=False, **fields))

    def put(self, task: Task) -> None:
        self.tasks[task.id] = task

    def tell(self, level: str, message: str, task: Task | None = None) -> None:
        self.events.append(Event(level=level, message=message, task_id=task.id if task else None))

    def turn(self, fact: ExecutionFact) -> None:
        """:raises InvalidState: the table of executions does not allow it"""
        self.state = machine.apply(EXECUTION, self.state, fact)

    def decision(self) -> Decision:
        changes = [
            Change(before, self.tasks[key]) for key, before in self.before.items() if self.tasks[key] is not before
        ]
        return Decision(
            state=self.state,
            changes=tuple(change for change in changes if change.before != change.after),
            new=tuple(task for key, task in self.tasks.items() if key not in self.before),
            outputs=self.outputs,
            events=tuple(self.events),
            message=self.message,
            in_doubt=frozenset(self.in_doubt),
        )


def is_over(task: Task) -> bool:
    return task.state in FINAL_TASK_STATES


def is_doomed(board: Board) -> bool:
    """True when the instance can no longer end well: cancelled, or a work task ended badly."""
    return board.state is ExecutionState.CANCELLING or any(
        task.role is Role.WORK and task.state in _BAD_END for task in board.tasks.values()
    )


def settle(board: Board) -> None:
    """Brings the board to rest. Does nothing to an instance that has ended, or that is not compiled yet."""
    if board.state in FINAL_EXECUTION_STATES or board.state is ExecutionState.PENDING:
        return
    doomed = is_doomed(board)
    for task in board.role(Role.WORK):
        _settle_work(board, task, doomed)
    for task in board.role(Role.CLEANUP):
        if task.state is TaskState.SCHEDULED and _over(board, task.parents):
            _remove_or_skip(board, task)
    if all(is_over(task) for task in board.tasks.values() if task.role is Role.WORK):
        for task in board.role(Role.UNDO):
            _settle_undo(board, task, doomed)
    if _over(board, board.tasks) and not _sweep(board):
        _finish(board)


def _settle_work(board: Board, task: Task, doomed: bool) -> None:
    if doomed:
        if task.state in (TaskState.SCHEDULED, TaskState.PENDING):
            board.move(task, TaskFact.NOT_NEEDED, not_before=None)
        elif task.state is TaskState.RUNNING and not task.stop_asked:
            board.put(dataclasses.replace(task, stop_asked=True))
    elif task.state is TaskState.SCHEDULED and not task.each and _all_completed(board, task.parents):
        board.move(task, TaskFact.PARENTS_DONE)


def _settle_undo(board: Board, task: Task, doomed: bool) -> None:
    """An undo waits for what was built on its maker to be undone, and is given up when that failed: to start the
    source while its copy still runs, or to delete volumes under a machine, would only make it worse."""
    if task.state is not TaskState.SCHEDULED:
        return
    if not doomed or _stays(board, task):
        board.move(task, TaskFact.NOT_NEEDED)
    elif _over(board, task.parents):
        stuck = [board.tasks[parent] for parent in task.parents if _undo_failed(board.tasks[parent])]
        if not stuck:
            _remove_or_skip(board, task)
            return
        if _is_needed(board, task):
            board.tell("ERROR", f"{task.name} is not run, because {min(each.name for each in stuck)} failed.", task)
        board.move(task, TaskFact.NOT_NEEDED)


def _stays(board: Board, undo: Task) -> bool:
    maker = board.tasks.get(undo.maker or "")
    return bool(undo.params.get(UNLESS_COMPLETED)) and maker is not None and maker.state is TaskState.COMPLETED


def _undo_failed(task: Task) -> bool:
    return task.role is Role.UNDO and task.state is TaskState.ERROR


def _is_needed(board: Board, removal: Task) -> bool:
    maker = board.tasks.get(removal.maker or "")
    return maker is not None and maker.epoch > 0 and maker.id in board.snapshot.held


def _remove_or_skip(board: Board, task: Task) -> None:
    board.move(task, TaskFact.PARENTS_DONE if _is_needed(board, task) else TaskFact.NOT_NEEDED)


def _over(board: Board, ids: Iterable[str]) -> bool:
    return all(is_over(board.tasks[each]) for each in ids)


def _all_completed(board: Board, ids: Iterable[str]) -> bool:
    return all(board.tasks[each].state is TaskState.COMPLETED for each in ids)


def _sweep(board: Board) -> bool:
    """Adds a task for each maker of loose effects. False when there is nothing (more) to do about them."""
    added = False
    for maker_id, settles_at in board.snapshot.loose.items():
        removals = [task for task in board.tasks.values() if task.maker == maker_id]
        first = next((task for task in removals if not task.params.get(SWEEP)), None)
        sweeps = [task for task in removals if task.params.get(SWEEP)]
        if first is None or any(task.state is TaskState.ERROR for task in sweeps):
            continue
        name = f"sweep.{len(sweeps) + 1}/{board.tasks[maker_id].name}"
        board.put(
            dataclasses.replace(
                first,
                id=task_id(first.execution_id, first.instance, name),
                name=name,
                index=max(task.index for task in board.tasks.values()) + 1,
                role=Role.CLEANUP,
                state=TaskState.PENDING,
                parents=frozenset(),
                params={**first.params, SWEEP: True},
                epoch=0,
                session_id=None,
                stop_asked=False,
                attempts=0,
                lost_sessions=0,
                not_before=settles_at if settles_at > board.at else None,
                error=None,
            )
        )
        added = True
    return added


def _finish(board: Board) -> None:
    failed = [task for task in board.tasks.values() if task.state is TaskState.ERROR]
    if failed:
        failed.sort(key=lambda task: (task.role is not Role.WORK, task.index))
        worst = failed[0]
        board.message = f"{worst.name}: {worst.error.message if worst.error else 'failed'}"
        board.turn(ExecutionFact.FAILED)
    elif board.state is ExecutionState.CANCELLING:
        board.message = "Cancelled."
        board.turn(ExecutionFact.CANCELED)
    else:
        board.turn(ExecutionFact.COMPLETED)
