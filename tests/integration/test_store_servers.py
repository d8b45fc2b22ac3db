# SPDX-License-Identifier: Apache-2.0
"""The engine on MariaDB and PostgreSQL: the unit suites once more, races for the same rows, and a killed server."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import delete, func, select, update

from coriolis.domain.model import TaskState
from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.store.tables import action, metadata, task
from coriolis.store.types import lease_now
from tests.integration.database_servers import MariaDb, PostgreSql
from tests.integration.engine_racer import Score, race
from tests.unit.commands import test_endpoints, test_migrations, test_transfers
from tests.unit.conductor import test_cancel, test_clean_up, test_cost, test_fencing, test_runs, test_sync
from tests.unit.conductor.rig import Clock, Rig
from tests.unit.scheduler import test_dispatch
from tests.unit.store import test_upgrade

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Server = MariaDb | PostgreSql
SERVERS: dict[str, Callable[[], Server]] = {
    "mariadb": lambda: MariaDb(Path(tempfile.mkdtemp(prefix="cor-my-"))),
    "postgresql": PostgreSql,
}


def _adopt(module: ModuleType) -> None:
    """Takes over a suite: its tests (under a name of their own) and its fixtures; they use this module's ``rig``."""
    for name, value in vars(module).items():
        if inspect.isfunction(value) and name.startswith("test_"):
            globals()[f"test_{module.__name__.rpartition('test_')[2]}_{name.removeprefix('test_')}"] = value
        elif type(value).__name__ == "FixtureFunctionDefinition":
            globals()[name] = value


for suite in (
    test_endpoints,
    test_migrations,
    test_transfers,
    test_cancel,
    test_clean_up,
    test_cost,
    test_fencing,
    test_runs,
    test_sync,
    test_dispatch,
):
    _adopt(suite)


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = SERVERS[request.param]()
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    found = server.url("engine")
    schema.upgrade(Database(found))
    return found


def empty(db: Database) -> None:
    with db.writer() as conn:
        conn.execute(update(action).values(transfer_id=None))  # MariaDB looks at each row on its own
        for table in reversed(metadata.sorted_tables):
            conn.execute(delete(table))


def test_an_upgrade_keeps_what_is_there(server: Server) -> None:
    test_upgrade.upgraded(Database(server.url("upgrade")))


@pytest.fixture
def rig(url: str) -> Iterator[Rig]:
    clock = Clock()
    db = Database(url, clock=clock, retry_seconds=20)
    empty(db)
    yield Rig(db, clock)
    db.dispose()


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """On the server's own clock."""
    found = Database(url, retry_seconds=60)
    empty(found)
    yield found
    found.dispose()


def test_the_migrated_schema_is_the_declared_one(db: Database) -> None:
    with db.reader() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata) == []


def test_the_lease_clock_is_the_servers_own(db: Database) -> None:
    with db.reader() as conn:
        found = conn.execute(select(lease_now(conn))).scalar_one()
    assert abs(found - time.time()) < 5
    assert found != int(found)


def fill(db: Database, count: int) -> Rig:
    """Migrations that wait to be compiled."""
    rig = Rig(db, Clock())
    rig.worker(slots=1)
    for number in range(count):
        rig.create(f"a-{number}", f"b-{number}")
    return rig


def check(db: Database, count: int) -> None:
    """All is over, and each task was assigned and ended exactly once."""
    with db.reader() as conn:
        states = conn.execute(
            select(action.c.last_execution_status, func.count()).group_by(action.c.last_execution_status)
        )
        assert {row[0]: row[1] for row in states} == {"COMPLETED": count}
        work = select(task.c.epoch, func.count()).where(task.c.role == "work").group_by(task.c.epoch)
        assert {row[0]: row[1] for row in conn.execute(work)} == {1: 8 * count}
        left = select(func.count()).where(task.c.state.in_([TaskState.PENDING, TaskState.RUNNING]))
        assert conn.execute(left).scalar() == 0


def test_threads_race(url: str, db: Database) -> None:
    fill(db, 12)
    scores: list[Score] = []
    racers = [Database(url, retry_seconds=60) for _ in range(3)]
    threads = [threading.Thread(target=lambda one=one: scores.append(race(one, 120))) for one in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    check(db, 12)
    assert sum(score.accepted for score in scores) == 96
    assert sum(score.refused for score in scores) == 0


def processes_race(url: str) -> list[list[int]]:
    command = [sys.executable, "-m", "tests.integration.engine_racer", url, "120"]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    return [json.loads(racer.communicate(timeout=200)[0]) for racer in racers]


def test_processes_race(url: str, db: Database) -> None:
    fill(db, 12)
    scores = processes_race(url)
    check(db, 12)
    assert [sum(column) for column in zip(*scores, strict=True)] == [96, 0]


def test_processes_race_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/race.sqlite"
    db = Database(url)
    schema.upgrade(db)
    fill(db, 8)
    scores = processes_race(url)
    check(db, 8)
    assert [sum(column) for column in zip(*scores, strict=True)] == [64, 0]


def test_a_killed_server_costs_time_only(server: Server, url: str, db: Database) -> None:
    fill(db, 15)
    scores: list[Score] = []
    racers = [Database(url, retry_seconds=120) for _ in range(2)]
    threads = [threading.Thread(target=lambda one=one: scores.append(race(one, 200))) for one in racers]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(1.0)
        server.kill()
        server.start()
    for thread in threads:
        thread.join(250)
    assert len(scores) == 2
    state = select(action.c.last_execution_status)
    states = db.read(lambda conn: set(conn.execute(state).scalars()))
    epochs = db.read(lambda conn: set(conn.execute(select(task.c.epoch).where(task.c.role == "work")).scalars()))
    assert states == {"COMPLETED"}
    assert epochs == {1}
    assert sum(score.refused for score in scores) == 0
