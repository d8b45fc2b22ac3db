# SPDX-License-Identifier: Apache-2.0
"""Create, cancel and delete migrations."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Options, Platform, prepare
from coriolis.domain.errors import Invalid, InvalidState, NotFound, Unavailable
from coriolis.domain.model import ExecutionState
from coriolis.domain.recipes.migrate import choose
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.rpc import messages
from coriolis.store import endpoints, executions, idempotency, migrations, outbox, sessions
from coriolis.store import purge as purge_rows
from coriolis.store.engine import Database
from coriolis.store.rows import Endpoint, Execution, ExecutionInstance, Migration

Json = Any
TYPE = "migration"  # wire name of the kind of run
CHUNK = 100  # migrations removed in one transaction


@dataclass(frozen=True, kw_only=True)
class NewMigration:
    """A job as the user wants it. ``origin`` and ``destination`` are endpoint ids, or endpoints given inline: those
    are stored hidden and deleted together with the migration."""

    origin: str | NewEndpoint
    destination: str | NewEndpoint
    instances: tuple[str, ...]
    source_environment: Mapping[str, Json] = field(default_factory=dict)
    destination_environment: Mapping[str, Json] = field(default_factory=dict)
    network_map: Mapping[str, Json] = field(default_factory=dict)
    storage_mappings: Mapping[str, Json] = field(default_factory=dict)
    user_scripts: Mapping[str, Json] = field(default_factory=dict)
    notes: str | None = None
    shutdown_instances: bool = False
    replication_count: int = 2
    skip_os_morphing: bool = False


def create(
    db: Database,
    caller: Caller,
    spec: NewMigration,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Migration:
    """Stores the job with its first execution and returns at once; a conductor compiles it. The same key again
    gives the same migration.

    :raises Invalid: no instances, doubled ones, origin and destination are one, an unknown endpoint, bad options
    :raises Unsupported: a provider lacks a capability that the job needs
    :raises Unavailable: no worker serves one of the platforms at the moment
    :raises Conflict: the key was used with another request
    """
    _check_instances(spec.instances)
    made = str(uuid.uuid4())

    def use(conn: Connection) -> Migration:
        now = db.utcnow()
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, now)
        if known is not None:
            return migrations.get(conn, known, caller.scope)
        origin = _endpoint(conn, db, caller, spec.origin, "origin")
        destination = _endpoint(conn, db, caller, spec.destination, "destination")
        _check_different(origin, destination)
        platforms = _platforms(conn, origin, destination)
        recipe = choose(*platforms)
        prepare(recipe, *platforms, Options(rounds=spec.replication_count, shutdown=spec.shutdown_instances))
        row = _migration(made, caller, spec, origin, destination, now)
        migrations.insert(conn, row)
        run = _execution(row, platforms, recipe.name, now)
        executions.insert(conn, run, _machines(run.id, spec.instances))
        wake = {"what": "advance", "execution_id": run.id}
        outbox.put(conn, [(messages.CONDUCTOR, None, "wake", wake)], now)
        return row

    return db.write(use)


def cancel(db: Database, caller: Caller, migration_id: str, *, force: bool = False) -> None:
    """Asks for the end of the migration's running execution. The conductor carries it out, at once in most cases.

    :raises NotFound: no such migration in the caller's project
    :raises InvalidState: it is over already, or is being cancelled and ``force`` is not given
    """

    def use(conn: Connection) -> None:
        row = migrations.get(conn, migration_id, caller.scope)
        runs = executions.latest(conn, [row.id])
        run = executions.hold_runs(conn, [runs[row.id].id])[runs[row.id].id]
        if run.state in FINAL_EXECUTION_STATES:
            raise InvalidState(f"The migration is {run.state} already; there is nothing to cancel.")
        if run.cancel_requested and not force:
            raise InvalidState("The migration is being cancelled. Use force to end it without waiting.")
        now = db.utcnow()
        state = ExecutionState.CANCELLING.value
        executions.update(
            conn,
            [
                {
                    "b_id": run.id,
                    "state": state,
                    "cancel_requested": True,
                    "cancel_force": force or run.cancel_force,
                    "cancel_pending": True,
                    "updated_at": now,
                }
            ],
        )
        migrations.update(conn, [{"b_id": row.id, "last_execution_status": state, "updated_at": now}])
        wake = {"what": "advance", "execution_id": run.id}
        outbox.put(conn, [(messages.CONDUCTOR, None, "wake", wake)], now)

    db.write(use)


def delete(db: Database, caller: Caller, migration_id: str) -> None:
    """Removes a migration that is over, with all its rows and its hidden endpoints.

    :raises NotFound: no such migration in the caller's project
    :raises InvalidState: it is not over yet
    """

    def use(conn: Connection) -> None:
        row = migrations.get(conn, migration_id, caller.scope)
        if row.last_execution_status not in FINAL_EXECUTION_STATES:
            raise InvalidState(
                f"The migration is {row.last_execution_status}. Cancel it, and delete it when it is over."
            )
        purge_rows.migrations(conn, [row.id])

    db.write(use)


def purge(db: Database, *, older_than_days: int) -> int:
    """Removes all migrations that ended more than so many days ago; gives how many."""
    before = db.utcnow() - dt.timedelta(days=older_than_days)
    total = 0
    while gone := purge_chunk(db, before, limit=CHUNK):
        total += gone
    return total


def purge_chunk(db: Database, before: dt.datetime, *, limit: int) -> int:
    """Removes at most ``limit`` migrations whose executions all ended before ``before``; gives how many."""

    def use(conn: Connection) -> int:
        old = migrations.finished_before(conn, before, limit)
        purge_rows.migrations(conn, old)
        return len(old)

    return db.write(use)


# ---- parts of create -------------------------------------------------------------------------------------------


def _check_instances(instances: Sequence[str]) -> None:
    if not instances:
        raise Invalid("Name at least one instance.", field="instances")
    doubled = sorted({name for name in instances if instances.count(name) > 1})
    if doubled:
        raise Invalid(f"The instance '{doubled[0]}' is named twice.", field="instances")


def _endpoint(conn: Connection, db: Database, caller: Caller, given: str | NewEndpoint, side: str) -> Endpoint:
    if isinstance(given, NewEndpoint):
        return endpoint_commands.insert(conn, db, caller, given, str(uuid.uuid4()), hidden=True)
    try:
        return endpoints.get(conn, given, caller.scope)
    except NotFound as error:
        raise Invalid(error.message, field=f"{side}_endpoint_id") from error


def _check_different(origin: Endpoint, destination: Endpoint) -> None:
    same_secret = origin.secret_ref is not None and origin.secret_ref == destination.secret_ref
    if origin.id == destination.id or same_secret:
        raise Invalid("Origin and destination must be different endpoints.", field="destination_endpoint_id")


def _platforms(conn: Connection, origin: Endpoint, destination: Endpoint) -> tuple[Platform, Platform]:
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


def _migration(
    key: str, caller: Caller, spec: NewMigration, origin: Endpoint, destination: Endpoint, now: dt.datetime
) -> Migration:
    return Migration(
        id=key,
        project_id=caller.project_id,
        user_id=caller.user_id,
        origin_endpoint_id=origin.id,
        destination_endpoint_id=destination.id,
        instances=list(spec.instances),
        source_environment=dict(spec.source_environment),
        destination_environment=dict(spec.destination_environment),
        network_map=dict(spec.network_map),
        storage_mappings=dict(spec.storage_mappings),
        user_scripts=dict(spec.user_scripts),
        notes=spec.notes,
        shutdown_instances=spec.shutdown_instances,
        replication_count=spec.replication_count,
        skip_os_morphing=spec.skip_os_morphing,
        last_execution_status=ExecutionState.PENDING.value,
        message=None,
        percent=0,
        bytes_done=0,
        bytes_total=0,
        transfer_result=None,
        request_id=caller.request_id,
        created_at=now,
        updated_at=None,
    )


def _execution(row: Migration, platforms: tuple[Platform, Platform], recipe: str, now: dt.datetime) -> Execution:
    source, destination = platforms
    return Execution(
        id=str(uuid.uuid4()),
        migration_id=row.id,
        project_id=row.project_id,
        number=1,
        type=TYPE,
        recipe=recipe,
        capabilities={
            "source": [source.provider, *sorted(source.capabilities)],
            "destination": [destination.provider, *sorted(destination.capabilities)],
        },
        state=ExecutionState.PENDING.value,
        cancel_requested=False,
        cancel_force=False,
        cancel_pending=False,
        version=0,
        message=None,
        percent=0,
        bytes_done=0,
        bytes_total=0,
        request_id=row.request_id,
        created_at=now,
        started_at=None,
        finished_at=None,
        updated_at=None,
    )


def _machines(execution_id: str, instances: Sequence[str]) -> list[ExecutionInstance]:
    return [
        ExecutionInstance(
            execution_id=execution_id,
            position=position,
            instance=name,
            state=ExecutionState.PENDING.value,
            version=0,
            message=None,
            percent=0,
            bytes_done=0,
            bytes_total=0,
            result=None,
            started_at=None,
            finished_at=None,
        )
        for position, name in enumerate(instances)
    ]
