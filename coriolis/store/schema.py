# SPDX-License-Identifier: Apache-2.0
"""Brings a database to the schema of this release, and says whether it is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from coriolis.domain.errors import Unavailable
from coriolis.store.engine import Database

FOLDER = Path(__file__).parent / "alembic"


class OldSchema(Unavailable):
    """The database is not at the revision of this release."""

    code = "coriolis.old_schema"


def configuration(conn: Connection | None = None) -> Config:
    """Alembic's configuration; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = conn
    return config


def newest() -> str:
    """The revision of this release."""
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    assert revision is not None
    return revision


def current(conn: Connection) -> str | None:
    """The revision of the database, or None when it is empty."""
    return MigrationContext.configure(conn).get_current_revision()


def upgrade(db: Database, revision: str = "head") -> str:
    """Makes or changes the tables; does nothing when they are up to date. Gives the revision reached."""
    with db.writer() as conn:
        command.upgrade(configuration(conn), revision)
        return current(conn) or ""


def check(db: Database) -> None:
    """:raises OldSchema: the database is empty, older or newer than this release"""
    found, wanted = db.read(current), newest()
    if found != wanted:
        raise OldSchema(
            f"The database is at revision {found}, this release needs {wanted}. Run 'coriolis-manage db sync'."
        )
