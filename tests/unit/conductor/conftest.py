# SPDX-License-Identifier: Apache-2.0
"""An engine on a SQLite file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.store import schema
from coriolis.store.engine import Database
from tests.unit.conductor.rig import Clock, Rig


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file without rows, to be copied."""
    path = tmp_path_factory.mktemp("template") / "db.sqlite"
    db = Database(f"sqlite:///{path}", synchronous="OFF")
    schema.upgrade(db)
    with db.engine.connect() as conn:
        conn.exec_driver_sql("COMMIT")
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        conn.exec_driver_sql("BEGIN")
    db.dispose()
    return path


@pytest.fixture
def rig(tmp_path: Path, empty_database: Path) -> Iterator[Rig]:
    shutil.copy(empty_database, tmp_path / "engine.sqlite")
    clock = Clock()
    db = Database(f"sqlite:///{tmp_path}/engine.sqlite", clock=clock, synchronous="OFF", retry_seconds=20)
    yield Rig(db, clock)
    db.dispose()
