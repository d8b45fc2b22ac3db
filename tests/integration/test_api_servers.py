# SPDX-License-Identifier: Apache-2.0
"""The API on MariaDB and PostgreSQL: the functional suites once more, bad requests included."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import delete

from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.functional import conftest, test_endpoints, test_fuzz, test_migrations
from tests.integration.database_servers import MariaDb, PostgreSql

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Server = MariaDb | PostgreSql
SERVERS: dict[str, Callable[[], Server]] = {
    "mariadb": lambda: MariaDb(Path(tempfile.mkdtemp(prefix="cor-my-"))),
    "postgresql": PostgreSql,
}


def _adopt(module: ModuleType) -> None:
    """Takes over a suite: its tests (under a name of their own) and its fixtures; they use this module's ``db``."""
    for name, value in vars(module).items():
        if inspect.isfunction(value) and name.startswith("test_"):
            globals()[f"test_{module.__name__.rpartition('test_')[2]}_{name.removeprefix('test_')}"] = value
        elif type(value).__name__ == "FixtureFunctionDefinition":
            globals()[name] = value


for suite in (conftest, test_endpoints, test_migrations, test_fuzz):
    _adopt(suite)


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = SERVERS[request.param]()
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def fresh(server: Server) -> Iterator[Callable[[str], Database]]:
    """Opens a named database with the tables of the migrations, emptied."""
    opened: dict[str, Database] = {}

    def open_(name: str) -> Database:
        if name not in opened:
            opened[name] = Database(server.url(name))
            schema.upgrade(opened[name])
        with opened[name].writer() as conn:
            for table in reversed(metadata.sorted_tables):
                conn.execute(delete(table))
        return opened[name]

    yield open_
    for db in opened.values():
        db.dispose()


@pytest.fixture
def db(fresh: Callable[[str], Database]) -> Database:
    return fresh("api")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, fresh: Callable[[str], Database]) -> Iterator[test_fuzz.Service]:
    made = test_fuzz.Service(tmp_path_factory.mktemp("fuzz"), fresh("fuzz"))
    yield made
    made.bus.close()
