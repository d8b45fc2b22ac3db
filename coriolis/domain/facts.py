# SPDX-License-Identifier: Apache-2.0
"""What the planner is told and what it answers.

A snapshot is one instance's graph in one execution; a fact is something that happened to it, with its time; a
decision is what has to be stored in the transaction that takes in the fact.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from coriolis.domain.model import ErrorClass, ExecutionState, Json, Task


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All tasks of one instance, as they are in the store now.

    ``state``: the instance's own. ``held``: ids of the tasks whose effects are not all gone. ``loose``: ids of the
    tasks that have effects nobody wants and which may still exist (see ``effects.loose_from``), each with the time
    from which on a removal settles them.
    """

    state: ExecutionState
    tasks: tuple[Task, ...]
    held: frozenset[str] = frozenset()
    loose: Mapping[str, dt.datetime] = field(default_factory=dict)


# ---- facts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Completed:
    """An attempt ended well. ``outputs`` are the worker's, by the recipe's names."""

    at: dt.datetime
    task_id: str
    epoch: int
    outputs: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed:
    at: dt.datetime
    task_id: str
    epoch: int
    error: ErrorClass


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """An attempt ended because it was told to. ``cut_off``: its process had to be killed."""

    at: dt.datetime
    task_id: str
    epoch: int
    cut_off: bool = False


@dataclass(frozen=True, kw_only=True)
class Returned:
    """A draining worker gives its task back. ``cut_off``: its process had to be killed."""

    at: dt.datetime
    task_id: str
    epoch: int
    cut_off: bool = False


@dataclass(frozen=True, kw_only=True)
class SessionLost:
    """The session is dead, and all that it ran is free."""

    at: dt.datetime
    session_id: str


@dataclass(frozen=True, kw_only=True)
class CancelAsked:
    """``force``: do not wait for the workers."""

    at: dt.datetime
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Nothing happened; decide whether something is due."""

    at: dt.datetime


AttemptFact = Completed | Failed | Stopped | Returned
Fact = AttemptFact | SessionLost | CancelAsked | Looked


# ---- decision --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A task as it was read and as it is to be stored. What may differ: state, epoch, session_id, stop_asked, attempts,
    lost_sessions, not_before, error, parents and takes."""

    before: Task
    after: Task


@dataclass(frozen=True, kw_only=True)
class Event:
    """For the user's history. ``level``: INFO, WARNING, ERROR."""

    level: str
    message: str
    task_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """To be stored in one transaction, or not at all.

    ``state``: the instance's state after it, ``message`` why it ended so. ``new``: tasks to insert. ``outputs``: by
    stored name, given by the task of the fact. ``in_doubt``: ids of tasks whose attempt ended in such a way that it
    may still be making the effects that the ledger holds as intended (see ``effects``).
    """

    state: ExecutionState
    changes: tuple[Change, ...] = ()
    new: tuple[Task, ...] = ()
    outputs: Mapping[str, Json] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    message: str | None = None
    in_doubt: frozenset[str] = frozenset()

    @property
    def placeable(self) -> bool:
        """True when a task became PENDING: the scheduler has something to do."""
        pending = [change.after.state for change in self.changes] + [task.state for task in self.new]
        return "PENDING" in pending

    @property
    def told_to_stop(self) -> tuple[tuple[str, str], ...]:
        """(session id, task id) of running attempts that have to end, by stop flag or revocation."""
        return tuple(
            (change.before.session_id, change.before.id)
            for change in self.changes
            if change.before.session_id is not None
            and change.before.state == "RUNNING"
            and (change.after.epoch != change.before.epoch or change.after.stop_asked)
        )
