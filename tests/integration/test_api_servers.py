# SPDX-License-Identifier: Apache-2.0
"""The API on MariaDB and PostgreSQL: the functional suites once more, bad requests included."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import inspect
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import delete
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings
from coriolis.commands import transfers
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Vault
from coriolis.runtime.wsgi import WsgiService
from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.functional import conftest, test_endpoints, test_fuzz, test_migrations
from tests.functional.desk import PREFIX, TOKEN
from tests.functional.test_schedules import ME, create
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


# ---- two at once -----------------------------------------------------------------------------------------------

AT_ONCE, ROUNDS = 6, 10


def put(port: int, path: str, body: Any, together: threading.Barrier) -> tuple[int, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.connect()
        together.wait(timeout=120)
        connection.request("PUT", path, json.dumps(body), {"X-Auth-Token": TOKEN, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def _schedule(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    spec = transfers.NewTransfer(origin=ends[0]["id"], destination=ends[1]["id"], instances=("vm",))
    path = f"{PREFIX}/transfers/{transfers.create(db, ME, spec).id}/schedules"
    made = create(api, path)
    return f"{path}/{made['id']}", "schedule", lambda number: {"schedule": {"minute": number}}


def _endpoint(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    return f"{PREFIX}/endpoints/{ends[0]['id']}", "endpoint", lambda number: {"endpoint": {"name": f"name {number}"}}


@pytest.mark.parametrize("noun", [_schedule, _endpoint])
def test_two_updates_at_once(
    db: Database, bus: LocalBus, vault: Vault, api: TestApp, endpoints: Any, noun: Callable[..., Any]
) -> None:
    """Over real connections: each is done or refused with 409, and what was refused has changed nothing."""
    path, key, change = noun(db, api, endpoints)
    app = make_app(ApiSettings(), db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry())
    service = WsgiService(app, address="127.0.0.1", port=0, threads=AT_ONCE)
    service.start()
    refused = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(ROUNDS):
            together = threading.Barrier(AT_ONCE)
            numbers = [number * AT_ONCE % 60 + n for n in range(AT_ONCE)]
            sent = [pool.submit(put, service.port, path, change(n), together) for n in numbers]
            answers = [one.result() for one in sent]
            done = [answer[key] for status, answer in answers if status == 200]
            assert {status for status, _ in answers} <= {200, 409}
            assert api.get(path).json[key] in done
            refused += len(answers) - len(done)
    service.stop()
    assert refused
