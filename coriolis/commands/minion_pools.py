# SPDX-License-Identifier: Apache-2.0
"""Create, change, delete, allocate, refresh and deallocate minion pools; give their machines to executions.

Machines are made, checked and removed by executions of the job behind the pool, whose instances are the pool's places.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import jobs
from coriolis.commands.caller import Caller
from coriolis.commands.changes import check_unchanged
from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import Invalid, InvalidState, NotFound, Unsupported
from coriolis.domain.minions import SERVING, Choice, MachineStatus, PoolStatus, Retention, choose
from coriolis.domain.model import ExecutionState
from coriolis.domain.recipe import Recipe
from coriolis.domain.recipes.minion_pool import DELETE_MINIONS, READY_MINIONS
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, executions, idempotency, minion_pools
from coriolis.store import purge as purge_rows
from coriolis.store.engine import Database
from coriolis.store.minion_rows import MinionMachine, MinionPool
from coriolis.store.rows import Action, Endpoint, Execution

Json = Any

SOURCE, DESTINATION = "source", "destination"
ALLOCATE, REFRESH, DEALLOCATE, RETIRE, PREPARE = (
    f"minion_pool_{word}_minions" for word in ("allocate", "refresh", "deallocate", "retire", "prepare")
)
TYPES = frozenset({ALLOCATE, REFRESH, DEALLOCATE, RETIRE, PREPARE})
CHANGEABLE = frozenset(
    {
        "name",
        "notes",
        "os_type",
        "environment_options",
        "minimum_minions",
        "maximum_minions",
        "minion_max_idle_time",
        "minion_retention_strategy",
    }
)


@dataclass(frozen=True, kw_only=True)
class Use:
    """The pools that a job names: of which its executions take one machine for each instance, and (by instance) in
    which guests are morphed."""

    origin: str | None = None
    destination: str | None = None
    morphing: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Json]:
        return {
            "origin_minion_pool_id": self.origin,
            "destination_minion_pool_id": self.destination,
            "instance_osmorphing_minion_pool_mappings": dict(self.morphing),
        }


@dataclass(frozen=True, kw_only=True)
class NewPool:
    """A pool as the user wants it."""

    name: str
    endpoint_id: str
    platform: str
    os_type: str
    environment_options: Mapping[str, Json] = field(default_factory=dict)
    minimum_minions: int = 1
    maximum_minions: int | None = None  # None: as many as the minimum
    minion_max_idle_time: int = 1
    minion_retention_strategy: str = Retention.DELETE.value
    notes: str | None = None
    skip_allocation: bool = False


def create(
    db: Database,
    caller: Caller,
    spec: NewPool,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> MinionPool:
    """Stores the pool and, unless ``skip_allocation``, begins to make its machines. The same key again gives the same
    pool.

    :raises Invalid: an unknown endpoint, or sizes that do not fit each other
    :raises Unsupported: the endpoint's provider makes no minions
    :raises Unavailable: no worker serves the platform at the moment
    :raises Conflict: the key was used with another request
    """
    made = str(uuid.uuid4())

    def use(conn: Connection) -> MinionPool:
        now = db.utcnow()
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, now)
        if known is not None:
            return minion_pools.get(conn, known, caller.scope)
        endpoint = _endpoint(conn, caller, spec.endpoint_id)
        row = _row(made, caller, spec, now)
        _check_sizes(row)
        actions.insert(conn, _job(row, endpoint, caller, now))
        minion_pools.insert(conn, row)
        if spec.skip_allocation:
            return row
        return _allocate(conn, row, caller, now)

    return db.write(use)


def update(
    db: Database, caller: Caller, pool_id: str, given: Mapping[str, Json], *, seen: MinionPool | None = None
) -> MinionPool:
    """Changes fields of ``CHANGEABLE`` of a pool that has no machines.

    :raises NotFound: no such pool in the caller's project
    :raises InvalidState: it is allocated
    :raises Conflict: see ``changes.check_unchanged``
    :raises Invalid: the sizes do not fit each other
    """

    def use(conn: Connection) -> MinionPool:
        row = _held(conn, caller, pool_id)
        _require(row, (PoolStatus.DEALLOCATED,), "updated")
        check_unchanged("minion pool", row, seen)
        now = db.utcnow()
        values = {name: value for name, value in given.items() if name in CHANGEABLE}
        minion_pools.update(conn, row.id, {**values, "updated_at": now})
        row = minion_pools.get(conn, row.id, None)
        _check_sizes(row)
        options = dict(row.environment_options)
        changes = {"instances": _places(row), "destination_environment": options, "notes": row.notes, "updated_at": now}
        actions.update(conn, [{"b_id": row.id, **changes}])
        return row

    return db.write(use)


def delete(db: Database, caller: Caller, pool_id: str) -> None:
    """Removes a pool that has no machines.

    :raises NotFound: no such pool in the caller's project
    :raises InvalidState: it has machines, or a transfer names it
    """

    def use(conn: Connection) -> None:
        row = _held(conn, caller, pool_id)
        _require(row, (PoolStatus.DEALLOCATED, PoolStatus.ERROR), "deleted")
        machines = minion_pools.machines(conn, [row.id])[row.id]
        if machines:
            raise InvalidState("The minion pool still has machines. Deallocate it first.")
        used_by = minion_pools.users(conn, row.id)
        if used_by:
            raise InvalidState(f"The transfer {used_by[0]} uses the minion pool. Delete the transfer first.")
        minion_pools.delete(conn, row.id)
        purge_rows.actions(conn, [row.id])

    db.write(use)


def allocate(db: Database, caller: Caller, pool_id: str) -> MinionPool:
    """Begins to make the machines of a pool. :raises InvalidState: it is not DEALLOCATED"""

    def use(conn: Connection) -> MinionPool:
        row = _held(conn, caller, pool_id)
        _require(row, (PoolStatus.DEALLOCATED,), "allocated")
        return _allocate(conn, row, caller, db.utcnow())

    return db.write(use)


def refresh(db: Database, caller: Caller, pool_id: str) -> MinionPool:
    """Begins to look at each available machine; what is ill is made anew. :raises InvalidState: it is not ALLOCATED"""

    def use(conn: Connection) -> MinionPool:
        row = _held(conn, caller, pool_id)
        _require(row, (PoolStatus.ALLOCATED,), "refreshed")
        now = db.utcnow()
        free = [m for m in minion_pools.machines(conn, [row.id])[row.id] if m.status == MachineStatus.AVAILABLE]
        if not free:
            return row
        _turn(conn, free, MachineStatus.HEALTHCHECKING, now)
        start(conn, row.id, REFRESH, READY_MINIONS, [one.position for one in free], now, caller)
        return _with_status(conn, row, PoolStatus.IN_MAINTENANCE, now, caller)

    return db.write(use)


def deallocate(db: Database, caller: Caller, pool_id: str, *, force: bool = False) -> MinionPool:
    """Begins to remove all machines. A pool without any is content at once.

    :raises InvalidState: it is neither ALLOCATED nor in ERROR, or its machines are in use, and ``force`` is not given
    """

    def use(conn: Connection) -> MinionPool:
        row = _held(conn, caller, pool_id)
        if row.status == PoolStatus.DEALLOCATED:
            return row
        if not force:
            _require(row, (PoolStatus.ALLOCATED, PoolStatus.ERROR), "deallocated")
        now = db.utcnow()
        machines = minion_pools.machines(conn, [row.id])[row.id]
        busy = [one for one in machines if one.execution_id is not None]
        if busy and not force:
            raise InvalidState(
                f"The execution {busy[0].execution_id} uses a machine of the pool. Wait for its end, or use force."
            )
        if not machines:
            return _with_status(conn, row, PoolStatus.DEALLOCATED, now)
        _stop_runs(conn, row.id, now)
        minion_pools.update_machines(
            conn,
            [one.id for one in machines],
            {"status": MachineStatus.DEALLOCATING.value, "action_id": None, "execution_id": None, "updated_at": now},
        )
        start(conn, row.id, DEALLOCATE, DELETE_MINIONS, [one.position for one in machines], now, caller)
        return _with_status(conn, row, PoolStatus.DEALLOCATING_MACHINES, now, caller)

    return db.write(use)


# ---- for executions of jobs ------------------------------------------------------------------------------------


def check_use(conn: Connection, caller: Caller, job: Action) -> None:
    """Before a job that names pools is accepted.

    :raises Invalid: an unknown pool, one of another endpoint or platform, one that is too small or not allocated
    """
    count, noun = len(job.instances), job.kind
    for name, platform, endpoint_id in (
        ("origin_minion_pool_id", SOURCE, job.origin_endpoint_id),
        ("destination_minion_pool_id", DESTINATION, job.destination_endpoint_id),
    ):
        if getattr(job, name) is not None:
            where = f"{noun}.{name}"
            pool = _usable(conn, caller, getattr(job, name), platform, endpoint_id, where)
            if pool.maximum_minions < count:
                raise Invalid(
                    f"{where}: the minion pool {pool.name} has at most {pool.maximum_minions} machines, and {count} "
                    "instances need one each.",
                    field=where,
                )
    where = f"{noun}.instance_osmorphing_minion_pool_mappings"
    for instance, pool_id in (job.instance_osmorphing_minion_pool_mappings or {}).items():
        if instance not in job.instances:
            raise Invalid(f"{where}: {instance!r} is none of the instances.", field=where)
        _usable(conn, caller, pool_id, DESTINATION, job.destination_endpoint_id, where)


def _usable(conn: Connection, caller: Caller, pool_id: str, platform: str, endpoint_id: str, field: str) -> MinionPool:
    try:
        pool = minion_pools.get(conn, pool_id, caller.scope)
    except NotFound as error:
        raise Invalid(f"{field}: {error.message}", field=field) from error
    if pool.platform != platform:
        raise Invalid(f"{field}: the minion pool {pool.name} serves a {pool.platform}, not a {platform}.", field=field)
    if pool.endpoint_id != endpoint_id:
        raise Invalid(f"{field}: the minion pool {pool.name} belongs to another endpoint.", field=field)
    if PoolStatus(pool.status) not in SERVING:
        raise Invalid(f"{field}: the minion pool {pool.name} is {pool.status}. Allocate it first.", field=field)
    return pool


def serve(conn: Connection, job: Action, run: Execution, now: dt.datetime) -> bool:
    """Reserves the machines that a waiting execution needs, if all are to be had, and begins to make them ready; they
    are ready when the pool's own execution ends. If not (False), it goes on waiting."""
    pools = minion_pools.hold(conn, job.minion_pools)
    count = len(executions.instances_of(conn, [run.id])[run.id])
    choices: dict[str, Choice] = {}
    machines = minion_pools.machines(conn, sorted(pools))
    for pool in pools.values():
        if PoolStatus(pool.status) not in SERVING:
            return False
        choice = choose([one.rule for one in machines[pool.id]], count, pool.maximum_minions)
        if choice is None:
            return False
        choices[pool.id] = choice
    for pool_id, choice in choices.items():
        mine = [one for one in machines[pool_id] if one.position in choice.existing]
        owner = {"action_id": job.id, "execution_id": run.id}
        _turn(conn, mine, MachineStatus.HEALTHCHECKING, now, owner)
        minion_pools.add_machines(conn, [_machine(pool_id, position, now, **owner) for position in choice.new])
        places = [*choice.existing, *choice.new]
        start(conn, pool_id, PREPARE, READY_MINIONS, places, now, run, trust_id=pools[pool_id].trust_id)
    return True


def start(
    conn: Connection,
    pool_id: str,
    kind: str,
    recipe: Recipe,
    positions: Sequence[int],
    now: dt.datetime,
    behalf: Caller | Execution | None = None,
    *,
    trust_id: str | None = None,
) -> Execution:
    """Starts an execution on places of the pool, on behalf of a caller or of a job's execution, under its trust or
    else under ``trust_id``, the pool's. Whoever calls holds the pool."""
    job = actions.hold(conn, pool_id)
    run = jobs.Run(
        type=kind,
        recipe=recipe.name,
        platforms=jobs.platforms_of(conn, job),
        positions=sorted(positions),
        request_id=behalf.request_id if behalf else None,
        trust_id=(behalf.trust_id if behalf else None) or trust_id,
    )
    return jobs.start(conn, job, run, now)


# ---- parts -----------------------------------------------------------------------------------------------------


def _allocate(conn: Connection, row: MinionPool, caller: Caller, now: dt.datetime) -> MinionPool:
    places = range(row.minimum_minions)
    minion_pools.add_machines(conn, [_machine(row.id, position, now) for position in places])
    start(conn, row.id, ALLOCATE, READY_MINIONS, places, now, caller)
    return _with_status(conn, row, PoolStatus.ALLOCATING_MACHINES, now, caller)


def _stop_runs(conn: Connection, pool_id: str, now: dt.datetime) -> None:
    """Cancels what runs for the pool. What it has made is removed by the undo or by the deallocation."""
    job = actions.hold(conn, pool_id)
    for run in actions.open_runs(conn, pool_id):
        if run.state not in FINAL_EXECUTION_STATES and not run.cancel_requested:
            jobs.cancel(conn, job, run, force=True, now=now)


def _held(conn: Connection, caller: Caller, pool_id: str) -> MinionPool:
    minion_pools.get(conn, pool_id, caller.scope)
    return minion_pools.hold(conn, [pool_id])[pool_id]


def _require(row: MinionPool, statuses: Collection[PoolStatus], doing: str) -> None:
    if row.status not in statuses:
        words = " or ".join(sorted(status.value for status in statuses))
        raise InvalidState(f"The minion pool is {row.status}. It can be {doing} when it is {words}.")


def _with_status(
    conn: Connection, row: MinionPool, status: PoolStatus, now: dt.datetime, caller: Caller | None = None
) -> MinionPool:
    """What the pool does by itself from now on it does under the trust of this caller, the latest one."""
    turn(conn, row.id, status, now, trust_id=caller.trust_id if caller else None)
    return minion_pools.get(conn, row.id, None)


def turn(conn: Connection, pool_id: str, status: PoolStatus, now: dt.datetime, **more: str | None) -> None:
    """A pool without machines does nothing by itself, and needs no trust."""
    values = {"status": status.value, **more, "updated_at": now}
    if status is PoolStatus.DEALLOCATED:
        values["trust_id"] = None
    minion_pools.update(conn, pool_id, values)


def _turn(
    conn: Connection,
    machines: Sequence[MinionMachine],
    status: MachineStatus,
    now: dt.datetime,
    more: Mapping[str, Any] | None = None,
) -> None:
    values = {"status": status.value, "updated_at": now, **(more or {})}
    minion_pools.update_machines(conn, [one.id for one in machines], values)


def _endpoint(conn: Connection, caller: Caller, endpoint_id: str) -> Endpoint:
    endpoint = jobs.endpoint_of(conn, caller, endpoint_id, "minion_pool")
    platform = jobs.platforms(conn, endpoint, endpoint)[0]
    if Capability.MINIONS not in platform.capabilities:
        raise Unsupported(f"The provider '{endpoint.type}' makes no minions.", field="endpoint_id")
    return endpoint


def _check_sizes(row: MinionPool) -> None:
    if row.maximum_minions < row.minimum_minions:
        raise Invalid(
            f"maximum_minions ({row.maximum_minions}) is less than minimum_minions ({row.minimum_minions}).",
            field="maximum_minions",
        )


def _places(row: MinionPool) -> list[str]:
    """The names of the machines, by place."""
    return [f"{row.name[:80]}-{row.id[:8]}-{place + 1}" for place in range(row.maximum_minions)]


def _row(made: str, caller: Caller, spec: NewPool, now: dt.datetime) -> MinionPool:
    maximum = spec.maximum_minions if spec.maximum_minions is not None else spec.minimum_minions
    return MinionPool(
        id=made,
        project_id=caller.project_id,
        user_id=caller.user_id,
        name=spec.name,
        notes=spec.notes,
        endpoint_id=spec.endpoint_id,
        platform=spec.platform,
        os_type=spec.os_type,
        environment_options=dict(spec.environment_options),
        minimum_minions=spec.minimum_minions,
        maximum_minions=maximum,
        minion_max_idle_time=spec.minion_max_idle_time,
        minion_retention_strategy=spec.minion_retention_strategy,
        status=PoolStatus.DEALLOCATED.value,
        trust_id=None,
        created_at=now,
        updated_at=None,
    )


def _machine(pool_id: str, position: int, now: dt.datetime, **owner: str) -> MinionMachine:
    return MinionMachine(
        id=str(uuid.uuid4()),
        pool_id=pool_id,
        position=position,
        status=MachineStatus.ALLOCATING.value,
        powered_on=False,
        action_id=owner.get("action_id"),
        execution_id=owner.get("execution_id"),
        made=None,
        last_used_at=None,
        created_at=now,
        updated_at=None,
    )


def _job(row: MinionPool, endpoint: Endpoint, caller: Caller, now: dt.datetime) -> Action:
    """The job whose executions make the machines: one platform stands on both sides."""
    return Action(
        id=row.id,
        kind=minion_pools.KIND,
        project_id=row.project_id,
        user_id=row.user_id,
        scenario=None,
        transfer_id=None,
        deployer_id=None,
        origin_endpoint_id=endpoint.id,
        destination_endpoint_id=endpoint.id,
        instances=_places(row),
        source_environment={},
        destination_environment=dict(row.environment_options),
        network_map={},
        storage_mappings={},
        user_scripts={},
        notes=row.notes,
        shutdown_instances=False,
        replication_count=1,
        clone_disks=False,
        skip_os_morphing=True,
        last_execution_status=ExecutionState.UNEXECUTED.value,
        request_id=caller.request_id,
        created_at=now,
        **jobs.NOTHING_DONE,
    )
