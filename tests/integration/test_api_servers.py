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
from sqlalchemy import delete, event
from webtest import TestApp

from coriolis.api.app import make_app, make_watch
from coriolis.api.settings import ApiSettings
from coriolis.commands import transfers
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Vault
from coriolis.runtime.wsgi import WsgiService
from coriolis.store import events, schema
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.functional import (
    conftest,
    test_bad_bodies,
    test_endpoints,
    test_events,
    test_frame,
    test_fuzz,
    test_migrations,
)
from tests.functional.desk import PREFIX, TOKEN
from tests.functional.graph import grow
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

# What fits into a column, and comes out of it as it was.
settings = test_bad_bodies.settings
test_strange_names = test_bad_bodies.test_strange_names_come_back_as_they_were
test_long_notes = test_bad_bodies.test_long_notes_are_refused_by_name


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
    return send(port, "PUT", path, body, together)


def send(port: int, method: str, path: str, body: Any, together: threading.Barrier) -> tuple[int, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.connect()
        together.wait(timeout=120)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"X-Auth-Token": TOKEN, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


def _schedule(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    spec = transfers.NewTransfer(origin=ends[0]["id"], destination=ends[1]["id"], instances=("vm",))
    path = f"{PREFIX}/transfers/{transfers.create(db, ME, spec).id}/schedules"
    made = create(api, path)
    return f"{path}/{made['id']}", "schedule", lambda number: {"schedule": {"minute": number}}


def _endpoint(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    return f"{PREFIX}/endpoints/{ends[0]['id']}", "endpoint", lambda number: {"endpoint": {"name": f"name {number}"}}


def _made(api: TestApp, path: str, noun: str, new: Any, change: Callable[[int], Any]) -> tuple[str, str, Any]:
    key = api.post_json(f"{PREFIX}/{path}", {noun: new}).json[noun]["id"]
    return f"{PREFIX}/{path}/{key}", noun, lambda number: {noun: change(number)}


def _region(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    return _made(api, "regions", "region", {"name": "r"}, lambda number: {"description": f"text {number}"})


def _service(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    new = {"host": "elsewhere", "binary": "coriolis-worker", "topic": "coriolis_worker"}
    return _made(api, "services", "service", new, lambda number: {"enabled": bool(number % 2)})


def _budget(db: Database, api: TestApp, ends: Any) -> tuple[str, str, Callable[[int], Any]]:
    new = {"name": "b", "scope": "host", "target": {"host": "x"}, "bytes_per_second": 1}
    return _made(api, "bandwidth_budgets", "bandwidth_budget", new, lambda number: {"bytes_per_second": number})


@pytest.mark.parametrize("noun", [_schedule, _endpoint, _region, _service, _budget])
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


def test_an_endpoint_is_deleted_while_jobs_are_made_with_it(
    db: Database, bus: LocalBus, vault: Vault, api: TestApp, endpoints: Any
) -> None:
    """Whoever comes second is told: that it is in use, or that there is none."""
    app = make_app(ApiSettings(), db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry())
    service = WsgiService(app, address="127.0.0.1", port=0, threads=AT_ONCE)
    service.start()
    seen = set()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(ROUNDS):
            new = {"name": "e", "type": "null", "connection_info": {"seed": number}}
            key = api.post_json(f"{PREFIX}/endpoints", {"endpoint": new}).json["endpoint"]["id"]
            together = threading.Barrier(AT_ONCE)
            job = {"origin_endpoint_id": key, "destination_endpoint_id": endpoints[1]["id"], "instances": ["vm"]}
            sent = [
                pool.submit(send, service.port, "POST", f"{PREFIX}/{noun}s", {noun: job}, together)
                for noun in ("transfer", "migration") * (AT_ONCE // 2 - 1)
            ]
            gone = [
                pool.submit(send, service.port, "DELETE", f"{PREFIX}/endpoints/{key}", None, together) for _ in range(2)
            ]
            made = {one.result()[0] for one in sent}
            deleted = {one.result()[0] for one in gone}
            assert made <= {200, 400}
            assert deleted <= {204, 403, 404}
            assert (200 in made) is (204 not in deleted)
            seen |= made | deleted
    service.stop()
    assert seen & {204, 403}


# ---- events of transactions that commit late ---------------------------------------------------------------------


@contextlib.contextmanager
def unfinished(db: Database, run_id: str, text: str) -> Iterator[Callable[[], None]]:
    """An event in a transaction of its own, which goes on until it is told to commit."""
    conn = db.engine.connect()
    transaction = conn.begin()
    new = events.NewEvent(execution_id=run_id, level="INFO", message=text)
    events.append(conn, [new], db.utcnow())
    try:
        yield transaction.commit
    finally:
        conn.close()


@pytest.fixture
def watched(db: Database, api: TestApp, migration: dict[str, Any]) -> tuple[str, str]:
    """The execution of a migration with some history, and the path of its events."""
    run_id = grow(db, migration["id"], events_each=1, items_each=0)
    return run_id, f"{PREFIX}/migrations/{migration['id']}/events"


def news(api: TestApp, path: str, since: str, seconds: float = 60) -> tuple[list[str], str]:
    answer = api.get(f"{path}?since={since}&timeout={seconds}").json
    return [one["message"] for one in answer["events"]], answer["since"]


def test_what_commits_late_reaches_polls(db: Database, api: TestApp, watched: tuple[str, str]) -> None:
    run_id, path = watched
    _, since = news(api, path, "0")
    with unfinished(db, run_id, "early") as commit:
        test_events.say(db, run_id, "late")
        told, since = news(api, path, since)
        assert told == ["late"]
        commit()
    told, since = news(api, path, since)
    assert told == ["early"]
    assert news(api, path, since, 0)[0] == []


def test_what_never_commits_holds_nothing_up(db: Database, api: TestApp, watched: tuple[str, str]) -> None:
    run_id, path = watched
    _, since = news(api, path, "0")
    with unfinished(db, run_id, "never"):
        test_events.say(db, run_id, "one")
    told, since = news(api, path, since)
    assert told == ["one"]
    test_events.say(db, run_id, "two")
    assert news(api, path, since)[0] == ["two"]


def test_what_commits_between_two_statements_of_a_look(db: Database, api: TestApp, watched: tuple[str, str]) -> None:
    """A statement sees what was committed after the one before it."""
    run_id, path = watched
    _, since = news(api, path, "0")
    left: list[Callable[[], None]] = []

    def meanwhile(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "BETWEEN" in statement and left:
            left.pop()()

    with unfinished(db, run_id, "early") as commit:
        test_events.say(db, run_id, "late")
        left.append(commit)
        event.listen(db.engine, "before_cursor_execute", meanwhile)
        try:
            told, since = news(api, path, since)
        finally:
            event.remove(db.engine, "before_cursor_execute", meanwhile)
        assert left == [], "the look has changed: commit between its statements"
    while "early" not in told:
        more, since = news(api, path, since)
        assert more
        told += more
    assert sorted(told) == ["early", "late"]


def test_what_commits_late_reaches_streams(db: Database, bus: LocalBus, vault: Vault, watched: tuple[str, str]) -> None:
    run_id, path = watched
    watch = make_watch(ApiSettings(), db)
    app = make_app(ApiSettings(), db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry(), watch=watch)
    service = WsgiService(app, address="127.0.0.1", port=0, threads=6, on_stop=watch.close)
    service.start()
    stream = test_events.Stream(service.port, path)
    heard = (json.loads(one["data"])["message"] for one in stream.messages() if one.get("event") == "event")
    try:
        with unfinished(db, run_id, "early") as commit:
            test_events.say(db, run_id, "late")
            while next(heard) != "late":
                pass
            commit()
            assert next(heard) == "early"
        test_events.say(db, run_id, "more")
        assert next(heard) == "more"
    finally:
        stream.close()
        service.stop()


# ---- a server that is away ---------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_503(
    server: Server, fresh: Callable[[str], Database], bus: LocalBus, vault: Vault
) -> None:
    """With the connections of the pool open: what they get then is no fault of ours. And the service goes on."""
    fresh("away")
    db = Database(server.url("away"), retry_seconds=1.0)
    app = make_app(ApiSettings(), db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry())
    api = TestApp(app, extra_environ={"HTTP_X_AUTH_TOKEN": TOKEN})
    assert api.get(f"{PREFIX}/endpoints").status_int == 200
    server.kill()
    for path in ("endpoints", "migrations", f"transfers/{test_frame.NOWHERE}", "providers", "diagnostics"):
        content = test_frame.error(api.get(f"{PREFIX}/{path}", expect_errors=True), 503)
        assert content["reason"] == "coriolis.database_away"
    region = {"region": {"name": "x"}}
    content = test_frame.error(api.post_json(f"{PREFIX}/regions", region, expect_errors=True), 503)
    assert content["reason"] == "coriolis.database_away"
    server.start()
    assert api.get(f"{PREFIX}/endpoints").status_int == 200
    assert api.post_json(f"{PREFIX}/regions", region).status_int == 200
    db.dispose()
