# SPDX-License-Identifier: Apache-2.0
"""Queries on tasks: the graph as the planner sees it, and as the wire shows it. Placing is in ``placing``."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Update, and_, bindparam, case, func, or_, select, tuple_
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.domain.model import Role, Task, TaskState
from coriolis.domain.states import FINAL_TASK_STATES
from coriolis.store import fence, paging, rows
from coriolis.store.engine import Clash
from coriolis.store.tables import task
from coriolis.store.task_rows import changing, from_row, needs_key, spec_text

Key = tuple[str, int]  # (execution id, position): one instance

ORDER = paging.Order(
    keys={"index": task.c.index, "id": task.c.id, "created_at": task.c.created_at},
    default=("index",),
    default_direction=paging.ASCENDING,
)

_FINAL = [state.value for state in FINAL_TASK_STATES]

# What may change after a task was stored, other than by a claim.
_MUTABLE = (
    "state",
    "not_before",
    "epoch",
    "session_id",
    "stop_asked",
    "attempts",
    "lost_sessions",
    "error_code",
    "error_message",
    "error_retryable",
    "finished_at",
    "updated_at",
)


# ---- for the planner -------------------------------------------------------------------------------------------


def insert(
    conn: Connection,
    new: Sequence[Task],
    positions: Mapping[tuple[str, str], int],
    regions: Mapping[str, Sequence[str]],
    now: dt.datetime,
) -> None:
    """Stores compiled or expanded tasks. ``positions`` is by (execution, instance), ``regions`` by execution."""
    if not new:
        return
    conn.execute(
        sql_insert(task),
        [
            {
                "id": one.id,
                "execution_id": one.execution_id,
                "position": positions[(one.execution_id, one.instance)],
                "instance": one.instance,
                "name": one.name,
                "kind": one.kind,
                "type": one.type,
                "index": one.index,
                "side": one.side.value,
                "role": one.role.value,
                "maker": one.maker,
                "item": one.item,
                "placeholder": one.each is not None,
                "needs_key": needs_key(one.needs, tuple(regions[one.execution_id])),
                "event_seq": 0,
                "created_at": now,
                "spec": spec_text(one),
                "parents": sorted(one.parents),
                **changing(one, now),
            }
            for one in new
        ],
    )


def locate(conn: Connection, task_ids: Iterable[str]) -> dict[str, Key]:
    """Which instance each of these tasks belongs to. Unknown ids are left out."""
    found = conn.execute(_LOCATE, {"ids": list(task_ids)})
    return {row.id: (row.execution_id, row.position) for row in found}


_LOCATE = select(task.c.id, task.c.execution_id, task.c.position).where(task.c.id.in_(bindparam("ids", expanding=True)))
_GRAPHS = (
    select(task)
    .where(tuple_(task.c.execution_id, task.c.position).in_(bindparam("keys", expanding=True)))
    .order_by(task.c.index)
)


def of_instances(conn: Connection, keys: Sequence[Key]) -> dict[Key, dict[str, Task]]:
    """The graphs of these instances, tasks by id. The caller holds the instances (``executions.hold``)."""
    found: dict[Key, dict[str, Task]] = {key: {} for key in keys}
    if keys:
        for row in conn.execute(_GRAPHS, {"keys": list(keys)}):
            found[(row.execution_id, row.position)][row.id] = from_row(row)
    return found


@functools.lru_cache(maxsize=8)
def _save(names: tuple[str, ...], guard: Callable[[], ColumnElement[bool]]) -> Update:
    return sql_update(task).where(guard()).values({name: bindparam(name) for name in names})


def save(conn: Connection, changes: Sequence[tuple[Task, Task]], now: dt.datetime) -> None:
    """Stores decided changes, (as it was decided on, as it shall be). At most two statements.

    :raises Clash: a row is not any more what it was (a claim came between): decide again
    """
    plain, redrawn = [], []
    for before, after in sorted(changes, key=lambda pair: pair[0].id):
        values = {
            "b_id": before.id,
            "b_state": before.state.value,
            "b_epoch": before.epoch,
            "b_session": before.session_id,
            **changing(after, now),
        }
        if (before.parents, before.takes) == (after.parents, after.takes):
            plain.append(values)
        else:
            redrawn.append({**values, "spec": spec_text(after), "parents": sorted(after.parents)})
    for names, parameters in ((_MUTABLE, plain), ((*_MUTABLE, "spec", "parents"), redrawn)):
        if parameters:
            result = conn.execute(_save(names, fence.as_decided), parameters)
            if result.rowcount != len(parameters):
                raise Clash(f"{len(parameters) - result.rowcount} of {len(parameters)} tasks changed meanwhile")


def without_owner(conn: Connection) -> dict[Key, set[str]]:
    """The instances that have RUNNING tasks of dead sessions, with the ids of those sessions."""
    query = (
        select(task.c.execution_id, task.c.position, task.c.session_id)
        .where(task.c.state == TaskState.RUNNING.value, ~fence.is_live(task.c.session_id))
        .distinct()
    )
    found: dict[Key, set[str]] = {}
    for row in conn.execute(query):
        found.setdefault((row.execution_id, row.position), set()).add(row.session_id)
    return found


@dataclass(frozen=True)
class Running:
    """An attempt, as the store knows it."""

    id: str
    epoch: int
    execution_id: str
    position: int
    stop_asked: bool
    event_seq: int
    synced_at: dt.datetime


def running_in(conn: Connection, session_id: str) -> dict[str, Running]:
    """The tasks that run in a session, by id."""
    columns = (
        task.c.id,
        task.c.epoch,
        task.c.execution_id,
        task.c.position,
        task.c.stop_asked,
        task.c.event_seq,
        task.c.synced_at,
    )
    query = select(*columns).where(task.c.session_id == session_id, task.c.state == TaskState.RUNNING.value)
    return {row.id: Running(*row) for row in conn.execute(query)}


def event_seqs(conn: Connection, task_ids: Sequence[str]) -> dict[str, int]:
    """The highest event number taken in of each task's current epoch."""
    query = select(task.c.id, task.c.event_seq).where(task.c.id.in_(list(task_ids)))
    return {row.id: row.event_seq for row in conn.execute(query)}


def note_event_seqs(conn: Connection, highest: Mapping[str, int]) -> None:
    """Remembers the highest event numbers taken in."""
    if highest:
        statement = sql_update(task).where(task.c.id == bindparam("b_id")).values(event_seq=bindparam("b_seq"))
        conn.execute(statement, [{"b_id": task_id, "b_seq": seq} for task_id, seq in sorted(highest.items())])


def by_id(conn: Connection, task_ids: Sequence[str]) -> dict[str, tuple[Task, int]]:
    """The planner's tasks of these ids, with their positions. One statement."""
    query = select(task).where(task.c.id.in_(list(task_ids)))
    return {row.id: (from_row(row), row.position) for row in conn.execute(query)}


def steps_of(conn: Connection, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
    """(completed, all) work tasks of each instance; replaced placeholders do not count. One statement."""
    done = func.sum(case((task.c.state == TaskState.COMPLETED.value, 1), else_=0))
    query = (
        select(task.c.execution_id, task.c.position, done, func.count())
        .where(
            tuple_(task.c.execution_id, task.c.position).in_(list(keys)),
            task.c.role == Role.WORK.value,
            or_(task.c.state.not_in(_FINAL), task.c.started_at.is_not(None)),
        )
        .group_by(task.c.execution_id, task.c.position)
    )
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in conn.execute(query)}


# ---- for the wire ----------------------------------------------------------------------------------------------

_SHOWN = (
    task.c.id,
    task.c.execution_id,
    task.c.position,
    task.c.instance,
    task.c.name,
    task.c.kind,
    task.c.type,
    task.c.index,
    task.c.role,
    task.c.item,
    task.c.state,
    task.c.parents,
    task.c.stop_asked,
    task.c.host,
    task.c.session_id,
    task.c.epoch,
    task.c.attempts,
    task.c.lost_sessions,
    task.c.not_before,
    task.c.error_code,
    task.c.error_message,
    task.c.created_at,
    task.c.started_at,
    task.c.finished_at,
    task.c.updated_at,
)
_NOT_YET = (TaskState.SCHEDULED.value, TaskState.UNSCHEDULED.value)


def _visible(query: Select[Any]) -> Select[Any]:
    """Undo and cleanup tasks are shown once they are to run, placeholders until they are replaced."""
    work = and_(
        task.c.role == Role.WORK.value,
        or_(task.c.placeholder.is_(False), task.c.state != TaskState.UNSCHEDULED.value),
    )
    return query.where(or_(work, task.c.state.not_in(_NOT_YET)))


_OF_EXECUTIONS = _visible(select(*_SHOWN).where(task.c.execution_id.in_(bindparam("ids", expanding=True)))).order_by(
    task.c.execution_id, task.c.index, task.c.id
)


def _shown(row: rows.AnyRow) -> rows.Task:
    state = row.state
    if state == TaskState.RUNNING and row.stop_asked:
        state = "CANCELLING"
    return rows.Task(
        id=row.id,
        execution_id=row.execution_id,
        position=row.position,
        instance=row.instance,
        name=row.name,
        kind=row.kind,
        task_type=row.type,
        index=row.index,
        role=row.role,
        item=row.item,
        status=state,
        depends_on=row.parents,
        host=row.host,
        session_id=row.session_id,
        epoch=row.epoch,
        attempts=row.attempts,
        lost_sessions=row.lost_sessions,
        not_before=row.not_before,
        error_code=row.error_code,
        exception_details=row.error_message,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        updated_at=row.updated_at,
    )


def page(conn: Connection, execution_id: str, wanted: paging.Page, *, everything: bool = False) -> list[rows.Task]:
    """The tasks of an execution, by index; ``everything`` shows undo and cleanup tasks that do not run, too."""
    query = select(*_SHOWN).where(task.c.execution_id == execution_id)
    if not everything:
        query = _visible(query)
    return [_shown(row) for row in paging.fetch(conn, query, wanted, ORDER)]


def of_executions(conn: Connection, execution_ids: Sequence[str]) -> dict[str, list[rows.Task]]:
    """The visible tasks of several executions, by index. One statement."""
    found: dict[str, list[rows.Task]] = {execution_id: [] for execution_id in execution_ids}
    if execution_ids:
        for row in conn.execute(_OF_EXECUTIONS, {"ids": list(execution_ids)}):
            found[row.execution_id].append(_shown(row))
    return found


def get(conn: Connection, execution_id: str, task_id: str) -> rows.Task:
    """One task of an execution, visible or not.

    :raises NotFound: the execution has no such task
    """
    query = select(*_SHOWN).where(task.c.id == task_id, task.c.execution_id == execution_id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound(f"There is no task {task_id} in this execution.")
    return _shown(row)


def counts(conn: Connection) -> dict[str, int]:
    """How many tasks there are in each state that is not final."""
    open_states = [state.value for state in TaskState if state not in FINAL_TASK_STATES]
    query = select(task.c.state, func.count()).where(task.c.state.in_(open_states)).group_by(task.c.state)
    return {row[0]: int(row[1]) for row in conn.execute(query)}
