# SPDX-License-Identifier: Apache-2.0
"""The migrations lead to what ``tables`` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.store.schema import OldSchema
from coriolis.store.tables import metadata


def test_the_migrated_schema_is_the_declared_one(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/db.sqlite")
    assert schema.upgrade(db) == schema.newest()
    with db.reader() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata) == []
        indexes = {name: len(inspect(conn).get_indexes(name)) for name in metadata.tables}
    assert indexes == {name: len(table.indexes) for name, table in metadata.tables.items()}


def test_an_upgrade_may_run_again(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/db.sqlite")
    assert schema.upgrade(db) == schema.upgrade(db)
    schema.check(db)


def test_an_empty_database_is_told(tmp_path: Path) -> None:
    with pytest.raises(OldSchema, match="db sync"):
        schema.check(Database(f"sqlite:///{tmp_path}/db.sqlite"))


def test_every_column_says_what_it_is() -> None:
    columns = [column for table in metadata.tables.values() for column in table.c]
    silent = [str(column) for column in columns if not column.comment]
    assert silent == []
    assert all(table.comment for table in metadata.tables.values())
