# SPDX-License-Identifier: Apache-2.0
"""Execute a transfer; cancel, retry and delete its executions."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy.engine import Connection

from coriolis.commands import deployments, jobs, transfers
from coriolis.commands.caller import Caller
from coriolis.domain.errors import InvalidState
from coriolis.domain.recipes.transfer import REPLICATE
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, executions, idempotency
from coriolis.store.engine import Database
from coriolis.store.rows import Execution

TYPE = "transfer_execution"


def create(
    db: Database,
    caller: Caller,
    transfer_id: str,
    *,
    shutdown_instances: bool = False,
    auto_deploy: bool = False,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Execution:
    """Starts an execution of the transfer, and with ``auto_deploy`` stores the deployment that waits for its end.
    The same key again gives the same execution.

    :raises NotFound: no such transfer in the caller's project
    :raises InvalidState: it, or one of its deployments, is running
    :raises Invalid: the deployment would have to run scripts
    :raises Unavailable: no worker serves one of the platforms at the moment
    :raises Conflict: the key was used with another request, or the transfer is being updated
    """

    def use(conn: Connection) -> Execution:
        made, now = str(uuid.uuid4()), db.utcnow()
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, now)
        if known is not None:
            return executions.get(conn, known, caller.scope)
        return start(
            conn, caller, transfer_id, now, key=made, shutdown_instances=shutdown_instances, auto_deploy=auto_deploy
        )

    return db.write(use)


def start(
    conn: Connection,
    caller: Caller,
    transfer_id: str,
    now: dt.datetime,
    *,
    key: str,
    shutdown_instances: bool,
    auto_deploy: bool,
) -> Execution:
    """Within somebody else's transaction. Raises as ``create``."""
    row = transfers.idle(conn, caller, transfer_id, "execute")
    run = jobs.Run(
        id=key,
        type=TYPE,
        recipe=REPLICATE.name,
        platforms=jobs.platforms_of(conn, row),
        shutdown_instances=shutdown_instances,
        auto_deploy=auto_deploy,
        minions=True,
        request_id=caller.request_id,
        trust_id=caller.trust_id,
    )
    started = jobs.start(conn, row, run, now)
    if auto_deploy:
        deployments.wait_for(conn, caller, row, started, now)
    return started


def cancel(db: Database, caller: Caller, transfer_id: str, execution_id: str, *, force: bool = False) -> None:
    """Asks for the end of an execution.

    :raises NotFound: the caller has no such transfer, or it no such execution
    :raises InvalidState: it is over already, or is being cancelled and ``force`` is not given
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)
        run = executions.of_action(conn, row.id, execution_id)
        jobs.cancel(conn, row, run, force=force, now=db.utcnow())

    db.write(use)


def retry(db: Database, caller: Caller, transfer_id: str, execution_id: str) -> Execution:
    """Starts a new execution of the same kind for the instances that this one did not complete.

    :raises NotFound: the caller has no such transfer, or it no such execution
    :raises InvalidState: something of the transfer is running, or the execution completed every instance
    """

    def use(conn: Connection) -> Execution:
        row = transfers.idle(conn, caller, transfer_id, "retry an execution of")
        run = executions.of_action(conn, row.id, execution_id)
        machines = executions.instances_of(conn, [run.id])[run.id]
        done = executions.completed_positions(conn, row.id, run.id)
        left = [one.position for one in machines if one.position not in done]
        if not left:
            raise InvalidState("Every instance of the execution was completed; there is nothing to retry.")
        again = jobs.Run(
            type=run.type,
            recipe=run.recipe,
            platforms=jobs.platforms_of(conn, row),
            positions=left,
            shutdown_instances=run.shutdown_instances,
            changes=run.changes,
            minions=run.type == TYPE,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        return jobs.start(conn, row, again, db.utcnow())

    return db.write(use)


def delete(db: Database, caller: Caller, transfer_id: str, execution_id: str) -> None:
    """Deletes an execution that is over. What it left of the replica stays.

    :raises NotFound: the caller has no such transfer, or it no such execution
    :raises InvalidState: it is not over yet
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, transfer_id, caller.scope, actions.TRANSFER)
        run = executions.of_action(conn, row.id, execution_id)
        if run.state not in FINAL_EXECUTION_STATES:
            raise InvalidState(f"The execution is {run.state}. Cancel it, and delete it when it is over.")
        now = db.utcnow()
        executions.update(conn, [{"b_id": run.id, "deleted_at": now, "updated_at": now}])

    db.write(use)
