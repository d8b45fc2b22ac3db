# SPDX-License-Identifier: Apache-2.0
"""``coriolis-manage explain``: everything about an execution that an operator asks for, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.engine import Connection

from coriolis.domain.effects import Effect
from coriolis.domain.errors import NotFound
from coriolis.domain.model import EffectState
from coriolis.store import effects, events, executions, progress, sessions, tasks
from coriolis.store.engine import Database
from coriolis.store.paging import DESCENDING, Page
from coriolis.store.rows import Event, Execution, ExecutionInstance, Progress, Session, Task

LAST_EVENTS = 20


def explain(db: Database, some_id: str) -> str:
    """Graph, states, owners, ledger and last events of an execution, or of a migration's latest one.

    :raises NotFound: neither an execution nor a migration has this id
    """
    return db.read(_explain, some_id)


def _explain(conn: Connection, some_id: str) -> str:
    run = executions.latest(conn, [some_id]).get(some_id) or executions.find(conn, [some_id]).get(some_id)
    if run is None:
        raise NotFound(f"There is no migration or execution {some_id}.")
    machines = executions.instances_of(conn, [run.id])[run.id]
    graph = tasks.page(conn, run.id, Page(), everything=True)
    busy = [task.id for task in graph if task.status in ("RUNNING", "CANCELLING")]
    items = progress.of_tasks(conn, busy)
    owners = {one.id: one for one in sessions.live(conn, disabled=True)}
    ledger = effects.of_instances(conn, [(run.id, one.position) for one in machines])
    last = events.page(conn, run.id, Page(limit=LAST_EVENTS, sort_keys=("id",), sort_dirs=(DESCENDING,)))
    lines = [*_head(run)]
    for machine in machines:
        lines += _machine(machine)
        names = {task.id: task.name for task in graph if task.position == machine.position}
        for task in graph:
            if task.position == machine.position:
                lines += _task(task, names, owners, items.get(task.id, []))
        lines += _ledger(ledger[(run.id, machine.position)], names)
    return "\n".join([*lines, "", *_events(last, {task.id: task.name for task in graph})])


def _head(run: Execution) -> list[str]:
    cancel = " cancel requested" + (" with force" if run.cancel_force else "") if run.cancel_requested else ""
    return [
        f"Execution {run.id} (number {run.number} of {run.type} {run.action_id}, recipe {run.recipe})",
        f"  state {run.state}{cancel}, {run.percent} %, {run.bytes_done} of {run.bytes_total} bytes",
        f"  created {run.created_at}, started {run.started_at or '-'}, finished {run.finished_at or '-'}",
        *([f"  {run.message}"] if run.message else []),
    ]


def _machine(one: ExecutionInstance) -> list[str]:
    text = f"Instance {one.instance}: {one.state}, {one.percent} %, {one.bytes_done} of {one.bytes_total} bytes"
    return ["", text, *([f"  {one.message}"] if one.message else [])]


def _task(task: Task, names: dict[str, str], owners: dict[str, Session], items: Sequence[Progress]) -> list[str]:
    after = ", ".join(sorted(names.get(parent, parent) for parent in task.depends_on))
    parts = [f"  {task.status:<11} {task.name} ({task.task_type})"]
    if after:
        parts.append(f"after {after}")
    if task.epoch:
        parts.append(f"epoch {task.epoch}")
    if task.attempts or task.lost_sessions:
        parts.append(f"{task.attempts} failed attempts, {task.lost_sessions} lost workers")
    if task.session_id:
        state = "live" if task.session_id in owners else "dead"
        parts.append(f"session {task.session_id} ({state}) on {task.host}")
    if task.status == "PENDING" and task.not_before:
        parts.append(f"not before {task.not_before}")
    lines = ["; ".join(parts)]
    lines += [f"      {one.item}: {one.done} of {one.total} {one.message}".rstrip() for one in items]
    if task.exception_details:
        lines.append(f"      {task.error_code}: {task.exception_details}")
    return lines


def _ledger(lines: Iterable[Effect], names: dict[str, str]) -> list[str]:
    left = [effect for effect in lines if effect.state is not EffectState.GONE or effect.doubtful_until]
    if not left:
        return []
    return [
        "  Effects:",
        *(
            f"    {effect.state:<9} {effect.kind} {effect.name} of {names.get(effect.owner, effect.owner)}, "
            f"key {effect.key}" + (f", doubtful until {effect.doubtful_until}" if effect.doubtful_until else "")
            for effect in left
        ),
    ]


def _events(last: Sequence[Event], names: dict[str, str]) -> list[str]:
    if not last:
        return ["No events."]
    return [
        f"Last {len(last)} events:",
        *(
            f"  {one.created_at} {one.level:<7} {names.get(one.task_id or '', '')}: {one.message}"
            for one in reversed(last)
        ),
    ]
