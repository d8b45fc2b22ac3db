# SPDX-License-Identifier: Apache-2.0
"""From an accepted execution to the graph of each of its machines. Conductors store it, and the API shows what will be
stored: ids and order are derived, so both are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands.jobs import stored_platforms
from coriolis.domain.compile import Options, compile_instance
from coriolis.domain.errors import CoriolisError
from coriolis.domain.model import Role, Task
from coriolis.domain.recipe import REPLICA, base_name
from coriolis.domain.recipes.book import RECIPES
from coriolis.store import actions, executions, replicas, rows
from coriolis.store.rows import Action, Execution, Replica

Key = tuple[str, int]

_SHOWN_AT_ONCE = 100  # machines of an execution whose tasks are shown before they are stored


def compiled(run: Execution, job: Action, instance: str, given: Mapping[str, Any] | None = None) -> list[Task]:
    """The graph of one instance. What the platforms can do was written down when the job was accepted; ``given``: what
    the replica holds (``seeds``).

    :raises CoriolisError: the job does not compile
    """
    source, destination = stored_platforms(run)
    return compile_instance(
        RECIPES[run.recipe],
        execution_id=run.id,
        instance=instance,
        source=source,
        destination=destination,
        options=Options(
            rounds=_rounds(job, run),
            shutdown=run.shutdown_instances,
            seeds=frozenset(base_name(name) for name in given or ()),
        ),
    )


def seeds(conn: Connection, transfers: Mapping[Key, str]) -> dict[Key, dict[str, Any]]:
    """What the replica of each machine holds, by the names of the recipes. ``transfers``: by machine of a run."""
    wanted = {key: (transfer_id, key[1]) for key, transfer_id in transfers.items()}
    found = replicas.find(conn, sorted(set(wanted.values())))
    return {key: _seeds(found[place]) for key, place in wanted.items() if place in found}


def preview(conn: Connection, job: Action, run: Execution) -> list[rows.Task]:
    """The tasks of an execution of which no graph is stored yet, as they will be; none when there are very many."""
    machines = executions.instances_of(conn, [run.id])[run.id]
    if len(machines) > _SHOWN_AT_ONCE:
        return []
    given = seeds(conn, {(run.id, one.position): job.replica_of for one in machines})
    found: list[rows.Task] = []
    for one in machines:
        try:
            graph = compiled(run, job, one.instance, given.get((run.id, one.position)))
        except CoriolisError:
            continue  # the conductor will say so
        found += [_shown(task, run, one.position) for task in graph if task.role is Role.WORK]
    return sorted(found, key=lambda task: (task.index, task.id))


def _seeds(one: Replica) -> dict[str, Any]:
    """Only of a complete replica the digests tell what the volumes hold."""
    held = {
        "volumes": one.volumes,
        "layout": one.layout,
        "vm": one.vm,
        "snapshot": one.snapshot,
        "era": one.era or None,
    }
    if one.complete:
        held["digest"] = one.digest
    return {f"{name}{REPLICA}": value for name, value in held.items() if value is not None}


def _rounds(job: Action, run: Execution) -> int:
    """How often an execution replicates. One that shuts the source down does it once before, so that little is left
    to be copied while the source is off."""
    if job.kind == actions.TRANSFER:
        return 2 if run.shutdown_instances else 1
    return job.replication_count


def _shown(task: Task, run: Execution, position: int) -> rows.Task:
    return rows.Task(
        id=task.id,
        execution_id=run.id,
        position=position,
        instance=task.instance,
        name=task.name,
        kind=task.kind,
        task_type=task.type,
        index=task.index,
        role=task.role.value,
        item=task.item,
        status=task.state.value,
        depends_on=sorted(task.parents),
        host=None,
        session_id=None,
        epoch=0,
        attempts=0,
        lost_sessions=0,
        not_before=None,
        error_code=None,
        exception_details=None,
        created_at=run.created_at,
        started_at=None,
        finished_at=None,
        updated_at=None,
    )
