# SPDX-License-Identifier: Apache-2.0
"""Create, update and delete transfers, and remove their disks."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import jobs, minion_pools, orders
from coriolis.commands.caller import Caller
from coriolis.domain.compile import Options, prepare
from coriolis.domain.errors import Conflict, InvalidState
from coriolis.domain.mappings import merged
from coriolis.domain.model import ExecutionState
from coriolis.domain.recipes.deploy import DEPLOY_CLONES
from coriolis.domain.recipes.transfer import DELETE_DISKS, FORGET_SOURCE, REPLICATE, UPDATE
from coriolis.store import actions, endpoints, executions, idempotency, replicas, schedules
from coriolis.store.engine import Database
from coriolis.store.rows import Action, Endpoint, Execution

Json = Any

REPLICA, LIVE_MIGRATION = "replica", "live_migration"
SCENARIOS = (REPLICA, LIVE_MIGRATION)
UPDATE_TYPE, DELETE_TYPE = "transfer_update", "transfer_disks_delete"

# What an update may name; user_scripts and notes hold at once, the others when their execution has succeeded.
CHANGEABLE = frozenset(
    {
        "source_environment",
        "destination_environment",
        "network_map",
        "storage_mappings",
        "user_scripts",
        "notes",
        "clone_disks",
        "skip_os_morphing",
        "origin_minion_pool_id",
        "destination_minion_pool_id",
        "instance_osmorphing_minion_pool_mappings",
    }
)
_AT_ONCE = ("user_scripts",)


@dataclass(frozen=True, kw_only=True)
class NewTransfer(orders.Order):
    """A transfer as the user wants it; ``origin`` and ``destination`` are endpoint ids."""

    origin: str
    destination: str
    scenario: str = REPLICA
    clone_disks: bool = True


def create(
    db: Database,
    caller: Caller,
    spec: NewTransfer,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Action:
    """Stores the transfer; it runs when somebody executes it. The same key again gives the same transfer.

    :raises Invalid: no instances, doubled ones, origin and destination are one, an unknown endpoint
    :raises Unsupported: a provider lacks a capability that its executions need
    :raises Unavailable: no worker serves one of the platforms at the moment
    :raises Conflict: the key was used with another request
    """
    jobs.check_instances(spec.instances)
    made = str(uuid.uuid4())

    def use(conn: Connection) -> Action:
        now = db.utcnow()
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, now)
        if known is not None:
            return actions.get(conn, known, caller.scope, actions.TRANSFER)
        origin = jobs.endpoint_of(conn, caller, spec.origin, "origin")
        destination = jobs.endpoint_of(conn, caller, spec.destination, "destination")
        jobs.check_different(origin, destination)
        platforms = jobs.platforms(conn, origin, destination)
        for recipe in (REPLICATE, DEPLOY_CLONES):
            prepare(recipe, *platforms, Options())
        row = orders.row(
            spec,
            made,
            caller,
            origin,
            destination,
            now,
            kind=actions.TRANSFER,
            scenario=spec.scenario,
            shutdown_instances=False,
            replication_count=1,
            clone_disks=spec.clone_disks,
            last_execution_status=ExecutionState.UNEXECUTED.value,
        )
        minion_pools.check_use(conn, caller, row)
        actions.insert(conn, row)
        return row

    return db.write(use)


def update(db: Database, caller: Caller, transfer_id: str, given: Mapping[str, Json]) -> Execution:
    """Starts an execution that checks the new values (fields of ``CHANGEABLE``) with both platforms. They hold when
    it has succeeded; scripts at once.

    :raises NotFound: no such transfer in the caller's project
    :raises Conflict: it is being updated by somebody else
    :raises InvalidState: it, or one of its deployments, is running
    """

    def use(conn: Connection) -> Execution:
        row = idle(conn, caller, transfer_id, "update")
        now = db.utcnow()
        new = merged(dataclasses.asdict(row), {name: value for name, value in given.items() if name in CHANGEABLE})
        minion_pools.check_use(conn, caller, dataclasses.replace(row, **new))
        at_once = {name: new.pop(name) for name in _AT_ONCE if name in new}
        if at_once:
            actions.update(conn, [{"b_id": row.id, **at_once, "updated_at": now}])
        run = jobs.Run(
            type=UPDATE_TYPE,
            recipe=UPDATE.name,
            platforms=jobs.platforms_of(conn, row),
            changes=new,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        return jobs.start(conn, row, run, now)

    return db.write(use)


def delete_disks(db: Database, caller: Caller, transfer_id: str) -> Execution:
    """Starts an execution that removes what the transfer has on the destination, and its marks on the source.

    :raises NotFound: no such transfer in the caller's project
    :raises InvalidState: it is running, or has nothing
    """

    def use(conn: Connection) -> Execution:
        row = idle(conn, caller, transfer_id, "delete the disks of")
        positions = _holding(conn, row, ("volume", "snapshot"))
        if not positions:
            raise InvalidState("The transfer has no disks: none of its executions has made any that is still there.")
        run = jobs.Run(
            type=DELETE_TYPE,
            recipe=DELETE_DISKS.name,
            platforms=jobs.platforms_of(conn, row, executions.latest(conn, [row.id]).get(row.id)),
            positions=positions,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        return jobs.start(conn, row, run, db.utcnow())

    return db.write(use)


def delete(db: Database, caller: Caller, transfer_id: str, *, disks: bool = False) -> None:
    """Deletes a transfer that is not running. Its disks on the destination stay, unless ``disks``; its marks on the
    source are removed in any case, by an execution that nobody sees. Its schedules go with it.

    :raises NotFound: no such transfer in the caller's project
    :raises InvalidState: it, or one of its deployments, is running
    """

    def use(conn: Connection) -> None:
        row = idle(conn, caller, transfer_id, "delete")
        now = db.utcnow()
        last = executions.latest(conn, [row.id]).get(row.id)
        actions.update(conn, [{"b_id": row.id, "deleted_at": now, "updated_at": now}])
        executions.forget_all(conn, row.id, now)
        schedules.delete_of(conn, [row.id])
        kinds = ("volume", "snapshot") if disks else ("snapshot",)
        positions = _holding(conn, row, kinds)
        if last is None or not positions:
            return
        run = jobs.Run(
            type=DELETE_TYPE,
            recipe=DELETE_DISKS.name if disks else FORGET_SOURCE.name,
            platforms=jobs.stored_platforms(last),
            positions=positions,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        jobs.start(conn, row, run, now)

    db.write(use)


def idle(conn: Connection, caller: Caller, transfer_id: str, wish: str) -> Action:
    """The transfer, held until the end of the transaction, when nothing of it is running. ``wish``: what the caller
    wants to do with it, in words.

    :raises NotFound: no such transfer in the caller's project
    :raises Conflict: it is being updated by somebody else
    :raises InvalidState: it, or one of its deployments, is running
    """
    row = actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)
    actions.hold(conn, row.id)
    for run in actions.open_runs(conn, row.id):
        message = f"You cannot {wish} the transfer: its {run.type} {run.id} is {run.state}."
        if run.type == UPDATE_TYPE and wish == "update":
            raise Conflict(f"{message} Look at what it changes, and send yours again when it is over.")
        raise InvalidState(f"{message} Wait until it is over, or cancel it.")
    return actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)


def _holding(conn: Connection, row: Action, kinds: tuple[str, ...]) -> list[int]:
    """The positions of the machines of which the ledger holds something, or the replica says so."""
    kept = replicas.kept(conn, {(row.id, position): kinds for position in range(len(row.instances))})
    found = {position for (_, position), effects in kept.items() if effects}
    if "volume" in kinds:
        found |= {one.position for one in replicas.of_transfer(conn, row.id) if one.volumes}
    return sorted(found)


def endpoints_of(conn: Connection, row: Action) -> tuple[Endpoint, Endpoint]:
    """Origin and destination."""
    found = endpoints.find(conn, [row.origin_endpoint_id, row.destination_endpoint_id], None)
    return found[row.origin_endpoint_id], found[row.destination_endpoint_id]
