# SPDX-License-Identifier: Apache-2.0
"""A database of the first release keeps its migrations when it is upgraded."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection

from coriolis.store import actions, executions, replicas, schema
from coriolis.store.engine import Database
from coriolis.store.paging import Page
from coriolis.store.tables import metadata


def test_migrations_of_the_first_release_stay(tmp_path: Path) -> None:
    upgraded(Database(f"sqlite:///{tmp_path}/db.sqlite"))


def upgraded(db: Database) -> None:
    """From an empty database: the first tables, a migration in them, then all that came later."""
    schema.upgrade(db, "0001")
    key = fill(db)
    schema.upgrade(db, "0011")
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
    with db.writer() as conn:
        known = {"transfer_id": key, "position": 0, "instance": "vm", "volumes": "[]", "complete": True}
        _insert(conn, "replica", {**known, "updated_at": moment})
    schema.upgrade(db)
    with db.reader() as conn:
        (replica,) = replicas.of_transfer(conn, key)
        (row,) = actions.page(conn, "project", Page())
        run = executions.latest(conn, [key])[key]
        differences = compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata)
    assert (row.id, row.kind, row.notes, row.instances) == (key, "migration", "Überführung", ["vm"])
    assert (row.transfer_id, row.clone_disks, row.deleted_at) == (None, False, None)
    assert (run.action_id, run.number, run.state, run.fence) == (key, 1, "COMPLETED", 0)
    assert (replica.volumes, replica.complete, replica.era) == ([], True, 0)
    assert differences == []


def fill(db: Database) -> str:
    ends = [str(uuid.uuid4()) for _ in range(2)]
    key, run = str(uuid.uuid4()), str(uuid.uuid4())
    owner = {"project_id": "project", "user_id": "user", "created_at": dt.datetime(2026, 1, 2, 3, 4, 5, 6)}
    figures = {"percent": 100, "bytes_done": 1, "bytes_total": 1}
    endpoint = {"name": "e", "type": "null", "description": "", "sealed": "x", "mapped_regions": "[]", "hidden": False}
    job = {
        "origin_endpoint_id": ends[0],
        "destination_endpoint_id": ends[1],
        "instances": json.dumps(["vm"]),
        **dict.fromkeys(("source_environment", "destination_environment", "network_map"), "{}"),
        **dict.fromkeys(("storage_mappings", "user_scripts"), "{}"),
        "notes": "Überführung",
        "shutdown_instances": False,
        "replication_count": 2,
        "skip_os_morphing": False,
        "last_execution_status": "COMPLETED",
    }
    execution = {
        "migration_id": key,
        "project_id": "project",
        "number": 1,
        "type": "migration",
        "recipe": "migrate",
        "capabilities": "{}",
        "state": "COMPLETED",
        **dict.fromkeys(("cancel_requested", "cancel_force", "cancel_pending"), False),
        "version": 1,
        "created_at": owner["created_at"],
    }
    with db.writer() as conn:
        for end in ends:
            _insert(conn, "endpoint", {"id": end, **owner, **endpoint})
        _insert(conn, "migration", {"id": key, **owner, **figures, **job})
        _insert(conn, "execution", {"id": run, **figures, **execution})
    return key


def _insert(conn: Connection, table: str, values: dict[str, Any]) -> None:
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    conn.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)
