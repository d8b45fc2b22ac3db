# SPDX-License-Identifier: Apache-2.0
"""Assembles what a worker gets for an attempt. A task is sent only the outputs that it names."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.domain import effects as rules
from coriolis.domain import outputs as naming
from coriolis.domain.errors import Invalid
from coriolis.domain.model import EffectState, Role, Side, Task
from coriolis.domain.recipes.transfer import KEPT
from coriolis.domain.settle import SWEEP
from coriolis.rpc.messages import Assign, Attempt, Effect, Endpoint
from coriolis.store import actions, checkpoints, effects, endpoints, executions, outputs, replicas, sessions, trusts
from coriolis.store import rows as stored

LOG = logging.getLogger(__name__)

COPY = "copy"  # the kind of task that may read its source through another worker


@dataclass(frozen=True)
class Background:
    """What tasks of some executions share: executions, jobs and endpoints by id."""

    runs: Mapping[str, stored.Execution]
    jobs: Mapping[str, stored.Action]
    accounts: Mapping[str, stored.Endpoint]
    trusts: Mapping[str, str] = dataclasses.field(default_factory=dict)  # trust.id to Keystone's

    def job(self, execution_id: str) -> stored.Action:
        return self.jobs[self.runs[execution_id].action_id]

    def trust(self, execution_id: str) -> str | None:
        """Keystone's id of the one under which the execution's workers act."""
        return self.trusts.get(self.runs[execution_id].trust_id or "")


def background(conn: Connection, execution_ids: Iterable[str]) -> Background:
    """Three statements for any number of executions, four with trusts."""
    runs = executions.find(conn, sorted(set(execution_ids)))
    jobs = actions.find(conn, sorted({run.action_id for run in runs.values()}))
    ends = {job.origin_endpoint_id for job in jobs.values()} | {job.destination_endpoint_id for job in jobs.values()}
    given = {run.trust_id for run in runs.values() if run.trust_id is not None}
    return Background(
        runs,
        jobs,
        endpoints.find(conn, sorted(ends), None) if ends else {},
        trusts.keystone_ids(conn, sorted(given)) if given else {},
    )


def assemble(
    conn: Connection,
    running: Mapping[str, tuple[Task, int]],
    now: dt.datetime,
    shared: Background | None = None,
) -> list[Assign]:
    """The messages for these RUNNING tasks (with their positions), in this order. At most seven statements, four
    with ``shared`` known."""
    if not running:
        return []
    if shared is None:
        shared = background(conn, {task.execution_id for task, _ in running.values()})
    wanted: dict[tuple[str, int], set[str]] = {}
    for task, position in running.values():
        wanted.setdefault((task.execution_id, position), set()).update(task.takes)
    given = outputs.fetch(conn, wanted)
    # A first attempt has no past.
    past = {task.maker or task.id for task, _ in running.values() if task.maker or task.epoch > 1}
    ledger = effects.of_tasks(conn, sorted(past))
    again = [task.id for task, _ in running.values() if task.epoch > 1]
    saved = checkpoints.of_tasks(conn, again)
    kept = _kept(conn, running, shared)
    apart = _apart(conn, [task for task, _ in running.values()], shared)
    return [
        _assign(
            task,
            shared,
            inputs=_inputs(task, given[(task.execution_id, position)]),
            effects=(
                *(_wire(effect) for effect in _due(task, ledger.get(task.maker or task.id, []), now)),
                *(dataclasses.replace(_wire(effect), owner=effect.owner) for effect in kept.get(task.id, ())),
            ),
            checkpoint=saved.get(task.id),
            apart=task.id in apart,
        )
        for task, position in running.values()
    ]


def _kept(
    conn: Connection, running: Mapping[str, tuple[Task, int]], shared: Background
) -> dict[str, list[rules.Effect]]:
    """For tasks that ask for it (``KEPT``): what earlier executions have made for the same replica."""
    asking = [(task, position) for task, position in running.values() if task.params.get(KEPT)]
    wanted: dict[replicas.Key, set[str]] = {}
    for task, position in asking:
        wanted.setdefault((shared.job(task.execution_id).replica_of, position), set()).update(task.params[KEPT])
    found = replicas.kept(conn, {key: sorted(kinds) for key, kinds in wanted.items()})
    return {
        task.id: [
            effect
            for effect in found[(shared.job(task.execution_id).replica_of, position)]
            if effect.kind in task.params[KEPT] and effect.owner not in (task.id, task.maker)
        ]
        for task, position in asking
    }


def _apart(conn: Connection, running: Iterable[Task], shared: Background) -> set[str]:
    """The copies among these tasks whose worker is not in a region of their source. A statement only where the two
    endpoints of a copy are in different regions."""
    far: dict[str, tuple[str, set[str]]] = {}
    for task in running:
        if task.kind != COPY or task.session_id is None:
            continue
        job = shared.job(task.execution_id)
        source, destination = (
            set(shared.accounts[end].mapped_regions) for end in (job.origin_endpoint_id, job.destination_endpoint_id)
        )
        if source and destination and not source & destination:
            far[task.id] = task.session_id, source
    where = sessions.regions_of(conn, sorted({session_id for session_id, _ in far.values()})) if far else {}
    return {
        task_id
        for task_id, (session_id, source) in far.items()
        if where.get(session_id) and not source & set(where[session_id])
    }


def _assign(task: Task, shared: Background, **more: Any) -> Assign:
    assert task.session_id is not None
    run, job, accounts = shared.runs[task.execution_id], shared.job(task.execution_id), shared.accounts
    if run.changes:
        job = dataclasses.replace(job, **run.changes)
    trust = shared.trust(run.id)
    source = task.side in (Side.SOURCE, Side.BOTH)
    destination = task.side in (Side.DESTINATION, Side.BOTH)
    return Assign(
        attempt=Attempt(task_id=task.id, epoch=task.epoch, session_id=task.session_id),
        execution_id=run.id,
        project_id=run.project_id,
        instance=task.instance,
        kind=task.kind,
        name=task.name,
        item=task.item,
        order=task.index,
        params={**task.params, "maker": task.maker} if task.maker else task.params,
        source=account(accounts[job.origin_endpoint_id], trust) if source else None,
        destination=account(accounts[job.destination_endpoint_id], trust) if destination else None,
        source_environment=job.source_environment,
        destination_environment=job.destination_environment,
        network_map=job.network_map,
        storage_mappings=job.storage_mappings,
        request_id=run.request_id,
        replica=None if job.kind == actions.MIGRATION else job.replica_of,
        fence=run.fence,
        **more,
    )


def _inputs(task: Task, given: Mapping[str, Any]) -> dict[str, Any]:
    """An undo or a cleanup may come before its maker's inputs are complete. A correct graph gives a work task all
    that it takes; if it did not, the worker would fail the task, whereas failing here would leave it for ever."""
    if task.role is not Role.WORK:
        return naming.available(task, given)
    try:
        return naming.inputs(task, given)
    except Invalid as error:
        LOG.error("Task %s is sent without its inputs: %s", task.id, error.message)
        return {}


def _due(task: Task, ledger: Iterable[rules.Effect], now: dt.datetime) -> list[rules.Effect]:
    """What there may be of the task, or of its maker; for a sweep, only what nobody wants."""
    if task.params.get(SWEEP):
        return [effect for effect in ledger if rules.loose_from(effect, now) is not None]
    return [effect for effect in ledger if effect.state is not EffectState.GONE]


def _wire(effect: rules.Effect) -> Effect:
    return Effect(
        key=effect.key,
        kind=effect.kind,
        name=effect.name,
        state=effect.state.value,
        ref=effect.ref,
        doubtful=effect.doubtful_until is not None,
    )


def account(row: stored.Endpoint, trust: str | None) -> Endpoint:
    """An endpoint as the worker of a job gets it; ``trust``: Keystone's id of the job's."""
    return Endpoint(type=row.type, sealed=row.sealed, secret_ref=row.secret_ref, trust=trust)
