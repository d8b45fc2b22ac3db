# SPDX-License-Identifier: Apache-2.0
"""What the commands of migrations, transfers and deployments share: platforms, runs, cancel, delete."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands.caller import Caller
from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Platform
from coriolis.domain.errors import Invalid, InvalidState, NotFound, Unavailable
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.rpc import messages
from coriolis.store import actions, endpoints, executions, outbox, sessions
from coriolis.store import purge as purge_rows
from coriolis.store.engine import Database
from coriolis.store.rows import Action, Endpoint, Execution, ExecutionInstance

Json = Any
Platforms = tuple[Platform, Platform]  # source, destination

CHUNK = 100  # jobs removed in one transaction
# Columns of a job of which nothing has run yet.
NOTHING_DONE: Mapping[str, Json] = {
    "fence": 0,
    "message": None,
    "percent": 0,
    "bytes_done": 0,
    "bytes_total": 0,
    "transfer_result": None,
    "updated_at": None,
    "deleted_at": None,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """An execution to be started. ``type``: wire name. ``positions``: of the job's machines; None means all.
    ``waits``: it is not to begin before somebody says so (``release``)."""

    type: str
    recipe: str
    platforms: Platforms
    positions: Sequence[int] | None = None
    shutdown_instances: bool = False
    auto_deploy: bool = False
    changes: Mapping[str, Json] | None = None
    waits: bool = False
    minions: bool = False  # it uses machines of the job's minion pools, if it has any
    request_id: str | None = None
    trust_id: str | None = None
    id: str | None = None  # None: a new one


def start(conn: Connection, job: Action, run: Run, now: dt.datetime) -> Execution:
    """Stores an execution of the job and lets a conductor know. The caller holds the job."""
    state = _first_state(job, run)
    if job.kind != actions.MIGRATION:
        fence = actions.hold(conn, job.replica_of, by=1).fence
    else:
        fence = 0
    row = _execution(job, run, executions.next_number(conn, job.id), fence, state, now)
    positions = range(len(job.instances)) if run.positions is None else run.positions
    executions.insert(conn, row, [_machine(row, position, job.instances[position]) for position in positions])
    if row.number > 1 or job.last_execution_status != _begun(job, run):
        status = {"last_execution_status": _begun(job, run), "message": None, "updated_at": now}
        actions.update(conn, [{"b_id": job.id, **status}])
    if state is not ExecutionState.UNEXECUTED:
        wake(conn, [row.id], now)
    return row


def _first_state(job: Action, run: Run) -> ExecutionState:
    if run.waits:
        return ExecutionState.UNEXECUTED
    return ExecutionState.AWAITING_MINIONS if run.minions and job.minion_pools else ExecutionState.PENDING


def _begun(job: Action, run: Run) -> str:
    """What the job shows of an execution that is accepted. Consoles follow what is RUNNING; PENDING is, by the
    contract, a deployment that waits. (A migration, which the contract does not know, tells the two apart.)"""
    if _first_state(job, run) is ExecutionState.AWAITING_MINIONS:
        return ExecutionState.AWAITING_MINIONS.value
    accepted = ExecutionState.PENDING if job.kind == actions.MIGRATION or run.waits else ExecutionState.RUNNING
    return accepted.value


def release(conn: Connection, waiting: Sequence[Execution], now: dt.datetime) -> None:
    """Lets these executions begin."""
    state = ExecutionState.PENDING.value
    executions.update(conn, [{"b_id": run.id, "state": state, "updated_at": now} for run in waiting])
    executions.turn_instances(conn, [run.id for run in waiting], state, None, None)
    status = {"last_execution_status": ExecutionState.RUNNING.value, "updated_at": now}
    actions.update(conn, [{"b_id": run.action_id, **status} for run in waiting])
    wake(conn, [run.id for run in waiting], now)


def end_waiting(
    conn: Connection, waiting: Sequence[Execution], state: ExecutionState, message: str, now: dt.datetime
) -> None:
    """Ends executions that have never begun."""
    ended = {"message": message, "updated_at": now}
    executions.update(conn, [{"b_id": run.id, "state": state.value, "finished_at": now, **ended} for run in waiting])
    executions.turn_instances(conn, [run.id for run in waiting], state.value, message, now)
    actions.update(conn, [{"b_id": run.action_id, "last_execution_status": state.value, **ended} for run in waiting])


def wake(conn: Connection, execution_ids: Sequence[str], now: dt.datetime) -> None:
    lines: list[outbox.Line] = [
        (messages.CONDUCTOR, None, "wake", {"what": "advance", "execution_id": one}) for one in execution_ids
    ]
    outbox.put(conn, lines, now)


def cancel(conn: Connection, job: Action, run: Execution | None, *, force: bool, now: dt.datetime) -> None:
    """Asks for the end of an execution; one that waits ends at once.

    :raises InvalidState: it is over already, or is being cancelled and ``force`` is not given
    """
    held = executions.hold_runs(conn, [run.id])[run.id] if run else None
    if held is None or held.state in FINAL_EXECUTION_STATES:
        state = held.state if held else job.last_execution_status
        raise InvalidState(f"The {job.kind} is {state} already; there is nothing to cancel.")
    if held.state in (ExecutionState.UNEXECUTED, ExecutionState.AWAITING_MINIONS):
        end_waiting(conn, [held], ExecutionState.CANCELED, "Cancelled before it began.", now)
        return
    if held.cancel_requested and not force:
        raise InvalidState(f"The {job.kind} is being cancelled. Use force to end it without waiting.")
    state = ExecutionState.CANCELLING.value
    change = {
        "b_id": held.id,
        "state": state,
        "cancel_requested": True,
        "cancel_force": force or held.cancel_force,
        "cancel_pending": True,
        "updated_at": now,
    }
    executions.update(conn, [change])
    actions.update(conn, [{"b_id": job.id, "last_execution_status": state, "updated_at": now}])
    wake(conn, [held.id], now)


def left_over(conn: Connection, job: Action, last: Execution) -> list[int]:
    """The positions of the machines that a retry of the job has to run: those that none of its executions completed.

    :raises InvalidState: the last execution is not over, or nothing is left over
    """
    if last.state not in FINAL_EXECUTION_STATES:
        raise InvalidState(f"The {job.kind} is {last.state}. Retry it when it is over.")
    done = executions.completed_positions(conn, job.id)
    left = [position for position in range(len(job.instances)) if position not in done]
    if not left:
        raise InvalidState(f"Every instance of the {job.kind} was completed; there is nothing to retry.")
    return left


def purge(db: Database, *, older_than_days: int) -> int:
    """Removes all jobs that ended more than so many days ago; gives how many."""
    before = db.utcnow() - dt.timedelta(days=older_than_days)
    total = 0
    while gone := purge_chunk(db, before, limit=CHUNK):
        total += gone
    return total


def purge_chunk(db: Database, before: dt.datetime, *, limit: int) -> int:
    """Removes at most ``limit`` jobs that ended before ``before``; gives how many."""

    def use(conn: Connection) -> int:
        old = actions.finished_before(conn, before, limit)
        purge_rows.actions(conn, old)
        return len(old)

    return db.write(use)


# ---- parts -----------------------------------------------------------------------------------------------------


def check_instances(instances: Sequence[str]) -> None:
    """:raises Invalid: there are none, or one is named twice"""
    if not instances:
        raise Invalid("Name at least one instance.", field="instances")
    doubled = sorted({name for name in instances if instances.count(name) > 1})
    if doubled:
        raise Invalid(f"The instance '{doubled[0]}' is named twice.", field="instances")


def check_scripts(job: Action, where: str) -> None:
    """:raises Invalid: the job would have to run scripts in its guests. ``where``: what in the request is at fault"""
    if any(job.user_scripts.values()) and not job.skip_os_morphing:
        raise Invalid(
            f"{where}: this release does not run user scripts in the guest: leave them out, or set skip_os_morphing to "
            "true to have them stored and not run",
            field=where,
        )


def endpoint_of(conn: Connection, caller: Caller, endpoint_id: str, side: str) -> Endpoint:
    """:raises Invalid: the caller has no such endpoint"""
    try:
        return endpoints.get(conn, endpoint_id, caller.scope)
    except NotFound as error:
        raise Invalid(error.message, field=f"{side}_endpoint_id") from error


def check_different(origin: Endpoint, destination: Endpoint) -> None:
    """:raises Invalid: both are one"""
    same_secret = origin.secret_ref is not None and origin.secret_ref == destination.secret_ref
    if origin.id == destination.id or same_secret:
        raise Invalid("Origin and destination must be different endpoints.", field="destination_endpoint_id")


def platforms(conn: Connection, origin: Endpoint, destination: Endpoint) -> Platforms:
    """What live workers can do with both ends now. :raises Unavailable: there is none for one of them"""
    served = sessions.providers(conn)
    for one in (origin, destination):
        if one.type not in served:
            raise Unavailable(
                f"No live worker serves the platform '{one.type}'. Start one, or use one of: {', '.join(served)}.",
                field="type",
            )
    known = set(Capability)
    source, target = (
        Platform(one.type, frozenset(Capability(name) for name in served[one.type] if name in known))
        for one in (origin, destination)
    )
    return source, target


def platforms_of(conn: Connection, job: Action, known: Execution | None = None) -> Platforms:
    """As ``platforms``, for the endpoints of a job. With ``known``, an execution of it, a platform that no worker
    serves now is taken to be as it was then: the old site may be gone when its replicas are needed."""
    ends = endpoints.find(conn, [job.origin_endpoint_id, job.destination_endpoint_id], None)
    origin, destination = ends[job.origin_endpoint_id], ends[job.destination_endpoint_id]
    if known is None or {origin.type, destination.type} <= sessions.providers(conn).keys():
        return platforms(conn, origin, destination)
    return stored_platforms(known)


def stored_platforms(run: Execution) -> Platforms:
    """What the platforms could do when the execution was accepted."""
    source, destination = (_platform(run.capabilities[side]) for side in ("source", "destination"))
    return source, destination


def _platform(stored: Sequence[str]) -> Platform:
    provider, *capabilities = stored
    return Platform(provider, frozenset(Capability(name) for name in capabilities))


def _execution(job: Action, run: Run, number: int, fence: int, state: ExecutionState, now: dt.datetime) -> Execution:
    source, destination = run.platforms
    return Execution(
        id=run.id or str(uuid.uuid4()),
        action_id=job.id,
        project_id=job.project_id,
        number=number,
        type=run.type,
        recipe=run.recipe,
        capabilities={
            "source": [source.provider, *sorted(source.capabilities)],
            "destination": [destination.provider, *sorted(destination.capabilities)],
        },
        shutdown_instances=run.shutdown_instances,
        auto_deploy=run.auto_deploy,
        fence=fence,
        trust_id=run.trust_id,
        changes=dict(run.changes) if run.changes is not None else None,
        state=state.value,
        cancel_requested=False,
        cancel_force=False,
        cancel_pending=False,
        version=0,
        message=None,
        percent=0,
        bytes_done=0,
        bytes_total=0,
        request_id=run.request_id or job.request_id,
        created_at=now,
        started_at=None,
        finished_at=None,
        updated_at=None,
        deleted_at=None,
    )


def _machine(run: Execution, position: int, name: str) -> ExecutionInstance:
    return ExecutionInstance(
        execution_id=run.id,
        position=position,
        instance=name,
        state=run.state,
        version=0,
        message=None,
        percent=0,
        bytes_done=0,
        bytes_total=0,
        result=None,
        started_at=None,
        finished_at=None,
    )
