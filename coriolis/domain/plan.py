# SPDX-License-Identifier: Apache-2.0
"""The planner: ``decide(snapshot, fact) -> decision``, a pure function of one instance's graph.

A fact of an attempt that does not own its task (another epoch, or a task that does not run) is refused with
``Stale``, so that doubled and late messages change nothing. Cost: proportional to the instance's tasks.
"""

from __future__ import annotations

import datetime as dt

from coriolis.domain import expand, outputs, retry
from coriolis.domain.errors import Invalid, Stale
from coriolis.domain.facts import (
    AttemptFact,
    CancelAsked,
    Completed,
    Decision,
    Fact,
    Failed,
    Looked,
    Returned,
    SessionLost,
    Snapshot,
    Stopped,
)
from coriolis.domain.model import ErrorClass, ExecutionState, Role, Task, TaskState
from coriolis.domain.settle import SWEEP, Board, is_doomed, is_over, settle
from coriolis.domain.states import FINAL_EXECUTION_STATES, ExecutionFact, TaskFact

__all__ = ["decide"]


def decide(snapshot: Snapshot, fact: Fact) -> Decision:
    """What the fact brings about.

    :raises Stale: the fact comes from an attempt that does not own its task
    """
    board = Board(snapshot, fact.at)
    match fact:
        case SessionLost():
            for task in snapshot.tasks:
                if task.state is TaskState.RUNNING and task.session_id == fact.session_id:
                    _session_lost(board, task)
        case CancelAsked():
            _cancel(board, fact)
        case Looked():
            pass
        case _:
            _attempt_ended(board, fact)
    settle(board)
    return board.decision()


def _attempt_ended(board: Board, fact: AttemptFact) -> None:
    task = board.tasks.get(fact.task_id)
    if task is None or task.state is not TaskState.RUNNING or task.epoch != fact.epoch:
        raise Stale(f"The attempt {fact.epoch} no longer owns the task {fact.task_id}.")
    if isinstance(fact, Stopped | Returned) and fact.cut_off:
        board.in_doubt.add(task.id)
    match fact:
        case Completed():
            _completed(board, task, fact)
        case Failed():
            _failed(board, task, fact.error)
        case Stopped():
            _stopped(board, task)
        case Returned() if task.role is Role.WORK and is_doomed(board):
            board.move(task, TaskFact.STOPPED)
        case Returned():
            board.move(task, TaskFact.RETURNED, session_id=None, not_before=None)


def _completed(board: Board, task: Task, fact: Completed) -> None:
    left = board.snapshot.loose if task.params.get(SWEEP) else board.snapshot.held
    if task.role is not Role.WORK and task.maker in left:
        message = "The worker said that all is removed, but the ledger still holds effects."
        _failed(board, task, ErrorClass(code=retry.EFFECTS_LEFT, message=message, retryable=True))
        return
    try:
        named = outputs.named(task, fact.outputs)
        placeholders = [each for each in board.snapshot.tasks if expand.over(each, fact.outputs) and not is_over(each)]
        new, changed = expand.expand(placeholders, board.snapshot.tasks, fact.outputs) if placeholders else ([], [])
    except Invalid as error:
        _failed(board, task, ErrorClass(code=retry.BAD_OUTPUT, message=error.message))
        return
    board.outputs.update(named)
    for placeholder in placeholders:
        board.move(placeholder, TaskFact.REPLACED)
    for each in (*new, *changed):
        board.put(each)
    board.move(task, TaskFact.COMPLETED, not_before=None, error=None)


def _failed(board: Board, task: Task, error: ErrorClass) -> None:
    if retry.in_doubt(error):
        board.in_doubt.add(task.id)
    if task.role is Role.WORK and is_doomed(board):
        board.move(task, TaskFact.STOPPED, error=error)
        return
    seconds = retry.after_failure(task, error)
    if seconds is None:
        _give_up(board, task, error)
        return
    board.tell("WARNING", f"{task.name}: {error.message} It is tried again in {seconds:.0f} s.", task)
    board.move(
        task,
        TaskFact.RETRY,
        session_id=None,
        attempts=task.attempts + 1,
        not_before=board.at + dt.timedelta(seconds=seconds),
        error=error,
    )


def _give_up(board: Board, task: Task, error: ErrorClass) -> None:
    what = "" if task.role is Role.WORK else " What it should have removed is left behind."
    board.tell("ERROR", f"{task.name}: {error.message}{what}", task)
    board.move(task, TaskFact.GAVE_UP, attempts=task.attempts + 1, not_before=None, error=error)


def _stopped(board: Board, task: Task) -> None:
    if task.role is Role.WORK and is_doomed(board):
        board.move(task, TaskFact.STOPPED)
    else:
        message = "The attempt stopped without being told to."
        _failed(board, task, ErrorClass(code=retry.STOPPED, message=message, retryable=True))


def _session_lost(board: Board, task: Task) -> None:
    board.in_doubt.add(task.id)
    if task.role is Role.WORK and is_doomed(board):
        board.move(task, TaskFact.STOPPED, lost_sessions=task.lost_sessions + 1)
    elif retry.after_lost_session(task):
        board.tell("WARNING", f"{task.name}: its worker was lost; another one goes on with it.", task)
        board.move(task, TaskFact.SESSION_LOST, session_id=None, lost_sessions=task.lost_sessions + 1, not_before=None)
    else:
        error = retry.worker_lost(task)
        board.tell("ERROR", f"{task.name}: {error.message}", task)
        board.move(task, TaskFact.GAVE_UP, lost_sessions=task.lost_sessions + 1, error=error)


def _cancel(board: Board, fact: CancelAsked) -> None:
    """Comes too late for an instance whose work is over: it ends as it would have."""
    if board.state in FINAL_EXECUTION_STATES:
        return
    work = [task for task in board.snapshot.tasks if task.role is Role.WORK]
    if board.state is not ExecutionState.CANCELLING and work and all(is_over(task) for task in work):
        return
    board.turn(ExecutionFact.CANCEL_ASKED)
    if fact.force:
        for task in work:
            if task.state is TaskState.RUNNING:
                board.in_doubt.add(task.id)
                board.move(task, TaskFact.REVOKED, epoch=task.epoch + 1)
