# SPDX-License-Identifier: Apache-2.0
"""Every state machine of the service, as data.

``machine`` walks these tables, the documents draw them, the property tests prove them: each state leads to a final
one, and nothing leads out of a final one. A state appears on the wire by the name it has here.
"""

from __future__ import annotations

import enum

from coriolis.domain.machine import Row, Table
from coriolis.domain.model import EffectState, ExecutionState, TaskState


class SessionState(enum.StrEnum):
    """One life of a worker process. Dead is final: a worker that was declared dead registers anew."""

    LIVE = "live"
    DEAD = "dead"


class TaskFact(enum.StrEnum):
    PARENTS_DONE = "parents_done"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    RETRY = "retry"
    SESSION_LOST = "session_lost"
    RETURNED = "returned"
    GAVE_UP = "gave_up"
    STOPPED = "stopped"
    REVOKED = "revoked"
    NOT_NEEDED = "not_needed"
    REPLACED = "replaced"


class ExecutionFact(enum.StrEnum):
    SUBMITTED = "submitted"
    COMPILED = "compiled"
    CANCEL_ASKED = "cancel_asked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    AWAITS_MINIONS = "awaits_minions"
    NO_MINIONS = "no_minions"


class EffectFact(enum.StrEnum):
    MADE = "made"
    DOOMED = "doomed"
    REMOVED = "removed"


class SessionFact(enum.StrEnum):
    SYNCED = "synced"
    ENDED = "ended"
    EXPIRED = "expired"


T, F = TaskState, TaskFact
TASK = Table(
    "task",
    initial=T.SCHEDULED,
    final=frozenset({T.COMPLETED, T.ERROR, T.CANCELED, T.UNSCHEDULED}),
    rows=(
        Row(F.PARENTS_DONE, T.SCHEDULED, T.PENDING),
        Row(F.REPLACED, T.SCHEDULED, T.UNSCHEDULED),  # a placeholder, by one task per item
        Row(F.CLAIMED, T.PENDING, T.RUNNING),  # epoch + 1
        Row(F.COMPLETED, T.RUNNING, T.COMPLETED),
        Row(F.RETRY, T.RUNNING, T.PENDING),  # not_before comes from the retry policy
        Row(F.SESSION_LOST, T.RUNNING, T.PENDING),
        Row(F.RETURNED, T.RUNNING, T.PENDING),  # by a draining worker
        Row(F.GAVE_UP, T.RUNNING, T.ERROR),
        Row(F.STOPPED, T.RUNNING, T.CANCELED),
        Row(F.REVOKED, T.RUNNING, T.CANCELED),  # epoch + 1: whatever the attempt still writes is stale
        Row(F.NOT_NEEDED, T.SCHEDULED, T.UNSCHEDULED),
        Row(F.NOT_NEEDED, T.PENDING, T.UNSCHEDULED),
    ),
)

X, G = ExecutionState, ExecutionFact
EXECUTION = Table(  # of an execution, and of each instance in it
    "execution",
    initial=X.UNEXECUTED,
    final=frozenset({X.COMPLETED, X.ERROR, X.ERROR_MINIONS, X.CANCELED}),
    rows=(
        Row(G.SUBMITTED, X.UNEXECUTED, X.PENDING),
        Row(G.FAILED, X.UNEXECUTED, X.ERROR),  # what it waited for failed
        Row(G.CANCELED, X.UNEXECUTED, X.CANCELED),
        Row(G.AWAITS_MINIONS, X.UNEXECUTED, X.AWAITING_MINIONS),  # its pools have to make or check machines for it
        Row(G.SUBMITTED, X.AWAITING_MINIONS, X.PENDING),
        Row(G.NO_MINIONS, X.AWAITING_MINIONS, X.ERROR_MINIONS),
        Row(G.CANCELED, X.AWAITING_MINIONS, X.CANCELED),
        Row(G.COMPILED, X.PENDING, X.RUNNING),
        Row(G.FAILED, X.PENDING, X.ERROR),  # does not compile
        Row(G.CANCELED, X.PENDING, X.CANCELED),  # before it was compiled
        Row(G.CANCEL_ASKED, X.PENDING, X.CANCELLING),
        Row(G.CANCEL_ASKED, X.RUNNING, X.CANCELLING),
        Row(G.CANCEL_ASKED, X.CANCELLING, X.CANCELLING),  # again, perhaps with force
        Row(G.COMPLETED, X.RUNNING, X.COMPLETED),
        Row(G.COMPLETED, X.CANCELLING, X.COMPLETED),  # an execution: each instance was past its last step already
        Row(G.FAILED, X.RUNNING, X.ERROR),
        Row(G.FAILED, X.CANCELLING, X.ERROR),
        Row(G.CANCELED, X.CANCELLING, X.CANCELED),
    ),
)

E, H = EffectState, EffectFact
EFFECT = Table(  # INTENDED means "may exist": before the creation has answered, and while it is being removed
    "effect",
    initial=E.INTENDED,
    final=frozenset({E.GONE}),
    rows=(
        Row(H.MADE, E.INTENDED, E.LIVE),
        Row(H.MADE, E.LIVE, E.LIVE),  # the same write again
        Row(H.DOOMED, E.LIVE, E.INTENDED),  # its own attempt is about to remove it
        Row(H.REMOVED, E.INTENDED, E.GONE),
        Row(H.REMOVED, E.LIVE, E.GONE),
    ),
)

SESSION = Table(
    "session",
    initial=SessionState.LIVE,
    final=frozenset({SessionState.DEAD}),
    rows=(
        Row(SessionFact.SYNCED, SessionState.LIVE, SessionState.LIVE),
        Row(SessionFact.ENDED, SessionState.LIVE, SessionState.DEAD),
        Row(SessionFact.EXPIRED, SessionState.LIVE, SessionState.DEAD),
    ),
)

TABLES = (TASK, EXECUTION, EFFECT, SESSION)

FINAL_TASK_STATES: frozenset[TaskState] = frozenset(TaskState(state) for state in TASK.final)
FINAL_EXECUTION_STATES: frozenset[ExecutionState] = frozenset(ExecutionState(state) for state in EXECUTION.final)
