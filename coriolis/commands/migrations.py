# SPDX-License-Identifier: Apache-2.0
"""Create, cancel, retry and delete migrations."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import jobs, minion_pools, orders
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.domain.compile import Options, prepare
from coriolis.domain.errors import InvalidState
from coriolis.domain.model import ExecutionState
from coriolis.domain.recipe import Recipe
from coriolis.domain.recipes.migrate import choose
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import actions, endpoints, executions, idempotency
from coriolis.store import purge as purge_rows
from coriolis.store.engine import Database
from coriolis.store.rows import Action, Endpoint

TYPE = "migration"  # wire name of the kind of run


@dataclass(frozen=True, kw_only=True)
class NewMigration(orders.Order):
    """A job as the user wants it. ``origin`` and ``destination`` are endpoint ids, or endpoints given inline: those
    are stored hidden and deleted together with the migration."""

    origin: str | NewEndpoint
    destination: str | NewEndpoint
    shutdown_instances: bool = False
    replication_count: int = 2


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A migration that may be stored, with the endpoints that were given inline, and how it would run."""

    job: Action
    hidden: tuple[Endpoint, ...]
    recipe: Recipe
    platforms: jobs.Platforms


def create(
    db: Database,
    caller: Caller,
    spec: NewMigration,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Action:
    """Stores the job with its first execution and returns at once; a conductor compiles it. The same key again
    gives the same migration. Raises as ``draft``, and

    :raises Invalid: no instances, or doubled ones
    :raises Conflict: the key was used with another request
    """
    jobs.check_instances(spec.instances)
    made = str(uuid.uuid4())

    def use(conn: Connection) -> Action:
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, db.utcnow())
        if known is not None:
            return actions.get(conn, known, caller.scope)
        drawn = draft(conn, db, caller, spec, made)
        for endpoint in drawn.hidden:
            endpoints.insert(conn, endpoint)
        row = drawn.job
        actions.insert(conn, row)
        run = jobs.Run(
            type=TYPE,
            recipe=drawn.recipe.name,
            platforms=drawn.platforms,
            shutdown_instances=spec.shutdown_instances,
            minions=True,
            trust_id=caller.trust_id,
        )
        jobs.start(conn, row, run, row.created_at)
        return actions.get(conn, row.id, caller.scope) if row.minion_pools else row

    return db.write(use)


def draft(conn: Connection, db: Database, caller: Caller, spec: NewMigration, key: str) -> Draft:
    """Everything that the service itself knows about an order, checked. Writes nothing.

    :raises Invalid: origin and destination are one, an unknown endpoint or minion pool, scripts, bad options
    :raises Unsupported: a provider lacks a capability that the job needs
    :raises Unavailable: no worker serves one of the platforms at the moment
    """
    origin = _endpoint(conn, db, caller, spec.origin, "origin")
    destination = _endpoint(conn, db, caller, spec.destination, "destination")
    jobs.check_different(origin, destination)
    platforms = jobs.platforms(conn, origin, destination)
    recipe = choose(*platforms)
    prepare(recipe, *platforms, Options(rounds=spec.replication_count, shutdown=spec.shutdown_instances))
    job = orders.row(
        spec,
        key,
        caller,
        origin,
        destination,
        db.utcnow(),
        kind=actions.MIGRATION,
        scenario=None,
        shutdown_instances=spec.shutdown_instances,
        replication_count=spec.replication_count,
        clone_disks=False,
        last_execution_status=ExecutionState.PENDING.value,
    )
    jobs.check_scripts(job, "migration.user_scripts")
    minion_pools.check_use(conn, caller, job)
    hidden = tuple(end for end in (origin, destination) if end.hidden)
    return Draft(job=job, hidden=hidden, recipe=recipe, platforms=platforms)


def cancel(db: Database, caller: Caller, migration_id: str, *, force: bool = False) -> None:
    """Asks for the end of the migration's running execution. The conductor carries it out, at once in most cases.

    :raises NotFound: no such migration in the caller's project
    :raises InvalidState: it is over already, or is being cancelled and ``force`` is not given
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, migration_id, caller.scope)
        jobs.cancel(conn, row, executions.latest(conn, [row.id]).get(row.id), force=force, now=db.utcnow())

    db.write(use)


def retry(db: Database, caller: Caller, migration_id: str) -> Action:
    """Runs the instances once more that no execution of the migration has completed.

    :raises NotFound: no such migration in the caller's project
    :raises InvalidState: it is not over yet, or there is none of these
    """

    def use(conn: Connection) -> Action:
        row = actions.get(conn, migration_id, caller.scope)
        actions.hold(conn, row.id)
        last = executions.latest(conn, [row.id])[row.id]
        left = jobs.left_over(conn, row, last)
        run = jobs.Run(
            type=TYPE,
            recipe=last.recipe,
            platforms=jobs.platforms_of(conn, row),
            positions=left,
            shutdown_instances=row.shutdown_instances,
            minions=True,
            request_id=caller.request_id,
            trust_id=caller.trust_id,
        )
        jobs.start(conn, row, run, db.utcnow())
        return actions.get(conn, migration_id, caller.scope)

    return db.write(use)


def delete(db: Database, caller: Caller, migration_id: str) -> None:
    """Removes a migration that is over, with all its rows and its hidden endpoints.

    :raises NotFound: no such migration in the caller's project
    :raises InvalidState: it is not over yet
    """

    def use(conn: Connection) -> None:
        row = actions.get(conn, migration_id, caller.scope)
        if row.last_execution_status not in FINAL_EXECUTION_STATES:
            raise InvalidState(
                f"The migration is {row.last_execution_status}. Cancel it, and delete it when it is over."
            )
        purge_rows.actions(conn, [row.id])

    db.write(use)


def _endpoint(conn: Connection, db: Database, caller: Caller, given: str | NewEndpoint, side: str) -> Endpoint:
    if isinstance(given, NewEndpoint):
        return endpoint_commands.row_of(db, caller, given, str(uuid.uuid4()), hidden=True)
    return jobs.endpoint_of(conn, caller, given, side)
