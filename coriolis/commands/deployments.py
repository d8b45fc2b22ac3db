# SPDX-License-Identifier: Apache-2.0
"""Deploy the replicas of a transfer: at once, or when an execution has ended well; cancel, retry, delete."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import jobs, minion_pools, transfers
from coriolis.commands.caller import Caller
from coriolis.domain.compile import Options, prepare
from coriolis.domain.errors import InvalidState
from coriolis.domain.model import ExecutionState
from coriolis.domain.recipe import Recipe
from coriolis.domain.recipes.deploy import DEPLOY_CLONES, DEPLOY_IN_PLACE
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, executions, idempotency, replicas
from coriolis.store.engine import Database
from coriolis.store.rows import Action, Execution

Json = Any
TYPE = "deployment"
_REPLICATION = "transfer_execution"


@dataclass(frozen=True, kw_only=True)
class NewDeployment:
    """A deployment as the user wants it; None: as the transfer has it. ``force``: also from replicas that no
    execution has completed."""

    transfer_id: str
    clone_disks: bool | None = True
    force: bool = False
    skip_os_morphing: bool | None = False
    user_scripts: Mapping[str, Json] | None = None
    morphing_pools: Mapping[str, str] = field(default_factory=dict)  # instance to pool; over those of the transfer


def create(
    db: Database,
    caller: Caller,
    spec: NewDeployment,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Action:
    """Stores the deployment with its execution; a conductor compiles it. The same key again gives the same deployment.
    Raises as ``draft``, and

    :raises NotFound: no such transfer in the caller's project
    :raises InvalidState: the transfer is running, was never executed well, or has no disks
    :raises Conflict: the key was used with another request, or the transfer is being updated
    """
    made = str(uuid.uuid4())

    def use(conn: Connection) -> Action:
        now = db.utcnow()
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, now)
        if known is not None:
            return actions.get(conn, known, caller.scope, actions.DEPLOYMENT)
        transfer = transfers.idle(conn, caller, spec.transfer_id, "deploy")
        row, platforms = draft(conn, caller, transfer, spec, made, now)
        check_replicas(conn, transfer, force=spec.force)
        actions.insert(conn, row)
        run = jobs.Run(
            type=TYPE,
            recipe=recipe_of(row).name,
            platforms=platforms,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        jobs.start(conn, row, run, now)
        return actions.get(conn, row.id, caller.scope, actions.DEPLOYMENT)

    return db.write(use)


def draft(
    conn: Connection, caller: Caller, transfer: Action, spec: NewDeployment, key: str, now: dt.datetime
) -> tuple[Action, jobs.Platforms]:
    """The deployment as it would be stored, checked. Writes nothing.

    :raises Invalid: an unknown minion pool, or scripts. :raises Unsupported: the destination's provider cannot do it
    :raises Unavailable: no worker serves one of the platforms at the moment
    """
    row = _deployment(key, caller, transfer, spec, now)
    jobs.check_scripts(row, "deployment.user_scripts")
    minion_pools.check_use(conn, caller, row)
    platforms = jobs.platforms_of(conn, transfer, executions.latest(conn, [transfer.id]).get(transfer.id))
    prepare(recipe_of(row), *platforms, Options())
    return row, platforms


def wait_for(conn: Connection, caller: Caller, transfer: Action, run: Execution, now: dt.datetime) -> Action:
    """Stores a deployment, with the transfer's own options, that begins when ``run`` has ended well.

    :raises Invalid: it would have to run scripts
    """
    spec = NewDeployment(transfer_id=transfer.id, clone_disks=None, skip_os_morphing=None)
    row = dataclasses.replace(_deployment(str(uuid.uuid4()), caller, transfer, spec, now), deployer_id=run.id)
    jobs.check_scripts(row, "execution.auto_deploy")
    actions.insert(conn, row)
    platforms = jobs.stored_platforms(run)
    waiting = jobs.Run(
        type=TYPE,
        recipe=recipe_of(row).name,
        platforms=platforms,
        waits=True,
        request_id=caller.request_id,
        trust_id=caller.trust_id,
    )
    jobs.start(conn, row, waiting, now)
    return row


def cancel(db: Database, caller: Caller, deployment_id: str, *, force: bool = False) -> None:
    """Asks for the end of a deployment; one that waits for its execution ends at once.

    :raises NotFound: no such deployment in the caller's project
    :raises InvalidState: it is over already, or is being cancelled and ``force`` is not given
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, deployment_id, caller.scope, actions.DEPLOYMENT)
        run = executions.latest(conn, [row.id]).get(row.id)
        jobs.cancel(conn, row, run, force=force, now=db.utcnow())

    db.write(use)


def retry(db: Database, caller: Caller, deployment_id: str) -> Action:
    """Deploys the instances once more that the deployment has not completed.

    :raises NotFound: no such deployment in the caller's project, or its transfer is gone
    :raises InvalidState: something of the transfer is running, there is nothing to retry, or the disks that would be
        deployed hold no single point in time any more
    """

    def use(conn: Connection) -> Action:
        row = actions.get(conn, deployment_id, caller.scope, actions.DEPLOYMENT)
        transfer = transfers.idle(conn, caller, row.replica_of, "deploy")
        last = executions.latest(conn, [row.id])[row.id]
        left = jobs.left_over(conn, row, last)
        check_replicas(conn, transfer, positions=left)
        platforms = jobs.platforms_of(conn, row, last)
        run = jobs.Run(
            type=TYPE,
            recipe=recipe_of(row).name,
            platforms=platforms,
            positions=left,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        jobs.start(conn, row, run, db.utcnow())
        return actions.get(conn, deployment_id, caller.scope, actions.DEPLOYMENT)

    return db.write(use)


def delete(db: Database, caller: Caller, deployment_id: str) -> None:
    """Deletes a deployment that is over, or waits. The machines that it made stay.

    :raises NotFound: no such deployment in the caller's project
    :raises InvalidState: it is running
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, deployment_id, caller.scope, actions.DEPLOYMENT)
        run = executions.latest(conn, [row.id]).get(row.id)
        now = db.utcnow()
        if run is not None and run.state == ExecutionState.UNEXECUTED:
            held = executions.hold_runs(conn, [run.id])
            jobs.end_waiting(conn, list(held.values()), ExecutionState.CANCELED, "Deleted before it began.", now)
        elif run is not None and run.state not in FINAL_EXECUTION_STATES:
            raise InvalidState(f"The deployment is {run.state}. Cancel it, and delete it when it is over.")
        actions.update(conn, [{"b_id": row.id, "deleted_at": now, "updated_at": now}])
        executions.forget_all(conn, row.id, now)

    db.write(use)


def check_replicas(
    conn: Connection, transfer: Action, *, force: bool = False, positions: Collection[int] | None = None
) -> None:
    """``positions``: of the machines that count, otherwise all.

    :raises InvalidState: a machine has no disks, or not a whole point in time (and ``force`` is not given)
    """
    if not force and not executions.has_completed(conn, transfer.id, _REPLICATION):
        raise InvalidState("No execution of the transfer has been completed yet: execute it first, or use force.")
    found = {one.position: one for one in replicas.of_transfer(conn, transfer.id)}
    for position in range(len(transfer.instances)) if positions is None else positions:
        name, one = transfer.instances[position], found.get(position)
        if one is None or one.volumes is None or one.vm is None:
            raise InvalidState(f"The transfer has no disks of the instance '{name}': execute it first.")
        if not one.complete and not force:
            raise InvalidState(
                f"The disks of the instance '{name}' hold no single point in time, since an execution did not complete "
                "them, a machine was started on them and given up, or they do not hold what was copied to them: "
                "execute the transfer again, or use force."
            )


def recipe_of(row: Action) -> Recipe:
    return DEPLOY_CLONES if row.clone_disks else DEPLOY_IN_PLACE


def _deployment(key: str, caller: Caller, transfer: Action, spec: NewDeployment, now: dt.datetime) -> Action:
    skip, clone, scripts = spec.skip_os_morphing, spec.clone_disks, spec.user_scripts
    return dataclasses.replace(
        transfer,
        id=key,
        kind=actions.DEPLOYMENT,
        user_id=caller.user_id,
        transfer_id=transfer.id,
        user_scripts=transfer.user_scripts if scripts is None else dict(scripts),
        clone_disks=transfer.clone_disks if clone is None else clone,
        skip_os_morphing=transfer.skip_os_morphing if skip is None else skip,
        last_execution_status=ExecutionState.PENDING.value,
        request_id=caller.request_id,
        created_at=now,
        **jobs.NOTHING_DONE,
        # A deployment copies nothing: it needs no machines beside the disks.
        origin_minion_pool_id=None,
        destination_minion_pool_id=None,
        instance_osmorphing_minion_pool_mappings={
            **(transfer.instance_osmorphing_minion_pool_mappings or {}),
            **spec.morphing_pools,
        },
    )
