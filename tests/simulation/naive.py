# SPDX-License-Identifier: Apache-2.0
"""The engine without its fence, or without doubt, for one purpose: to show that the simulation notices.

Without the fence, everything that asks who owns a task says yes: a claim does not look at the session, an attempt's
write goes by the task's id alone, and a result is taken as the result of whatever attempt the task has now.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from sqlalchemy import bindparam, delete, tuple_
from sqlalchemy import update as sql_update

from coriolis.conductor import plans
from coriolis.domain import effects, plan
from coriolis.domain.facts import Completed, Decision, Fact, Failed, Returned, Snapshot, Stopped
from coriolis.domain.model import TaskState
from coriolis.store import effects as effect_rows
from coriolis.store import fence, outputs, placing, sessions
from coriolis.store.tables import task, task_output
from coriolis.worker import effects as worker_effects

_renew, _store = sessions.renew, outputs.store


def _decide(snapshot: Snapshot, fact: Fact) -> Decision:
    """The planner, told that the sender of the fact runs the task."""
    if isinstance(fact, Completed | Failed | Returned | Stopped):
        believed = tuple(
            dataclasses.replace(each, state=TaskState.RUNNING, epoch=fact.epoch) if each.id == fact.task_id else each
            for each in snapshot.tasks
        )
        snapshot = dataclasses.replace(snapshot, tasks=believed)
    return plan.decide(snapshot, fact)


def _by_id(owners: Iterable[fence.Owner]) -> Any:
    return task.c.id.in_([owner.task_id for owner in owners])


def _store_over(conn: Any, given: Any) -> None:
    """Without a fence an output may come twice; the later one wins."""
    for key, task_id, values in given:
        where = (task_output.c.execution_id, task_output.c.position, task_output.c.name)
        names = [(*key, name) for name in values]
        conn.execute(delete(task_output).where(tuple_(*where).in_(names)))
        _store(conn, [(key, task_id, values)])


def _hold(conn: Any, owners: Any, now: Any) -> set[fence.Owner]:
    return set(owners)


@contextlib.contextmanager
def without_fence() -> Iterator[None]:
    """Switches the fence off until the end of the block."""
    claim = sql_update(task).where(task.c.id == bindparam("b_id"), task.c.state == TaskState.PENDING.value)
    with contextlib.ExitStack() as stack:
        for where, name, new in (
            (fence, "owns", lambda row, owner: True),
            (fence, "fenced", _by_id),
            (fence, "hold", _hold),
            (fence, "as_decided", lambda: task.c.id == bindparam("b_id")),
            (placing, "_CLAIM", claim.values(_values(placing._CLAIM))),
            (sessions, "renew", lambda conn, session_id, **_: _renew(conn, session_id, **_) or True),
            (outputs, "store", _store_over),
            (sessions, "live_among", lambda conn, session_ids: set(session_ids)),
            (plans, "decide", _decide),
        ):
            stack.enter_context(mock.patch.object(where, name, new))
        yield


@contextlib.contextmanager
def without_doubt() -> Iterator[None]:
    """Switches off the rules of ``domain.effects`` until the end of the block: the key of an effect is the same for
    all attempts of a task, and nothing is in doubt after its attempt was cut off."""
    with contextlib.ExitStack() as stack:
        for where, name, new in (
            (worker_effects, "key_of", lambda task_id, name, epoch: effects.key_of(task_id, name, 0)),
            (effect_rows, "doubt", lambda *arguments: None),
            (plans.Plans, "_doubt_now", lambda self, graph, owners: None),
        ):
            stack.enter_context(mock.patch.object(where, name, new))
        yield


def _values(statement: Any) -> dict[Any, Any]:
    return dict(statement._values)
