# SPDX-License-Identifier: Apache-2.0
"""Waiting for events: long polls and streams, through the real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select
from webtest import TestApp

from coriolis.api.app import make_app, make_watch
from coriolis.api.settings import ApiSettings
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Vault
from coriolis.runtime.wsgi import WsgiService
from coriolis.store import events
from coriolis.store.engine import Database
from coriolis.store.tables import event
from tests.functional.desk import PREFIX, TOKEN
from tests.functional.graph import finish, grow
from tests.functional.test_frame import NOWHERE, error
from tests.functional.test_transfers import finish as complete
from tests.functional.test_transfers import order

SEATS = 24
THREADS = 2
PATIENCE = 60.0


@pytest.fixture
def run_id(db: Database, migration: dict[str, Any]) -> str:
    """The execution of the migration, with some history."""
    return grow(db, migration["id"], events_each=1, items_each=0)


@pytest.fixture
def server(db: Database, bus: LocalBus, vault: Vault) -> Iterator[WsgiService]:
    settings = ApiSettings(waiting_requests=SEATS, provider_call_timeout_seconds=5.0)
    watch = make_watch(settings, db)
    app = make_app(settings, db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry(), watch=watch)
    service = WsgiService(app, address="127.0.0.1", port=0, threads=THREADS + SEATS, on_stop=watch.close)
    service.start()
    yield service
    service.stop()


class Stream:
    """A client of server-sent events that reads no more than it is asked for."""

    def __init__(self, port: int, path: str, headers: dict[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        given = {"X-Auth-Token": TOKEN, "Accept": "text/event-stream", **(headers or {})}
        self._connection.request("GET", path, headers=given)
        self.response = self._connection.getresponse()

    def messages(self) -> Iterator[dict[str, str]]:
        """Until the server ends the stream; comments are left out."""
        fields: dict[str, str] = {}
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif fields:
                yield fields
                fields = {}

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def say(db: Database, run_id: str, *texts: str) -> None:
    with db.writer() as conn:
        events.append(
            conn, [events.NewEvent(execution_id=run_id, level="INFO", message=text) for text in texts], db.utcnow()
        )


def url(migration: dict[str, Any], query: str = "") -> str:
    return f"{PREFIX}/migrations/{migration['id']}/events{query}"


def ask(server: WsgiService, path: str) -> tuple[int, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers={"X-Auth-Token": TOKEN})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def occupied(server: WsgiService, migration: dict[str, Any]) -> bool:
    """Whether no seat is free."""
    stream = Stream(server.port, url(migration))
    stream.close()
    return stream.response.status == 503


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# ---- long poll -------------------------------------------------------------------------------------------------


def test_what_is_there_comes_at_once(api: TestApp, migration: dict[str, Any], run_id: str) -> None:
    whole = api.get(url(migration)).json["events"]
    answer = api.get(url(migration, "?since=0")).json
    assert answer["events"] == whole
    assert answer["since"] == whole[-1]["id"]
    after = api.get(url(migration, f"?since={whole[1]['id']}&limit=2")).json
    assert after["events"] == whole[2:4]


def test_a_poll_ends_without_news(api: TestApp, migration: dict[str, Any], run_id: str) -> None:
    last = api.get(url(migration)).json["events"][-1]["id"]
    for seconds in ("0", "0.2"):
        answer = api.get(url(migration, f"?since={last}&timeout={seconds}")).json
        assert (answer["events"], answer["since"]) == ([], last)


def test_a_poll_is_woken_by_news(server: WsgiService, db: Database, migration: dict[str, Any], run_id: str) -> None:
    _, whole = ask(server, url(migration))
    last = whole["events"][-1]["id"]
    timer = threading.Timer(0.5, say, (db, run_id, "Something happened"))
    timer.start()
    status, answer = ask(server, url(migration, f"?since={last}&timeout=60"))
    timer.join()
    assert status == 200
    assert [one["message"] for one in answer["events"]] == ["Something happened"]
    assert answer["events"][0]["index"] == len(whole["events"])


def test_a_poll_does_not_wait_for_what_is_over(
    api: TestApp, db: Database, migration: dict[str, Any], run_id: str
) -> None:
    last = api.get(url(migration)).json["events"][-1]["id"]
    finish(db, migration["id"], "COMPLETED")
    answer = api.get(url(migration, f"?since={last}&timeout=60")).json
    assert answer == {"events": [], "since": last, "status": "COMPLETED"}


@pytest.mark.parametrize(
    ("query", "field"),
    [("since=x", "since"), ("since=-1", "since"), ("since=0&timeout=x", "timeout"), ("since=0&timeout=-1", "timeout")],
)
def test_bad_polls(api: TestApp, migration: dict[str, Any], run_id: str, query: str, field: str) -> None:
    assert error(api.get(url(migration, f"?{query}"), expect_errors=True), 400)["field"] == field


# ---- streams ---------------------------------------------------------------------------------------------------


def test_a_stream_tells_all_and_ends(
    server: WsgiService, api: TestApp, db: Database, migration: dict[str, Any], run_id: str
) -> None:
    stream = Stream(server.port, url(migration))
    assert stream.response.getheader("Content-Type") == "text/event-stream"
    messages = stream.messages()
    whole = api.get(url(migration)).json["events"]
    heard = [next(messages) for _ in [*whole, None]]
    assert "retry" in heard.pop(0)
    assert [json.loads(one["data"]) for one in heard] == whole
    assert [one["id"] for one in heard] == [one["id"] for one in whole]
    assert next(messages)["event"] == "status"
    say(db, run_id, "Ä\nnew 🎈 line")
    assert json.loads(next(messages)["data"])["message"] == "Ä\nnew 🎈 line"
    finish(db, migration["id"], "ERROR")
    rest = list(messages)
    assert [one["event"] for one in rest] == ["status", "end"]
    assert json.loads(rest[-1]["data"]) == {"status": "ERROR"}
    stream.close()


def test_a_stream_goes_on_where_it_broke_off(
    server: WsgiService, api: TestApp, db: Database, migration: dict[str, Any], run_id: str
) -> None:
    whole = api.get(url(migration)).json["events"]
    finish(db, migration["id"], "COMPLETED")
    for headers, query in (({"Last-Event-ID": whole[2]["id"]}, "?since=0"), ({}, f"?since={whole[2]['id']}")):
        stream = Stream(server.port, url(migration, query), headers)
        heard = [one for one in stream.messages() if one.get("event") == "event"]
        assert [json.loads(one["data"]) for one in heard] == whole[3:]
        stream.close()
    bad = Stream(server.port, url(migration), {"Last-Event-ID": "x"})
    assert bad.response.status == 400
    bad.close()


def test_many_streams_take_nothing_from_others(
    server: WsgiService, db: Database, migration: dict[str, Any], run_id: str
) -> None:
    """All seats are taken: ordinary requests are answered, one more stream is refused, and nobody holds a connection
    to the database. All hear the same news, for one statement a look."""
    streams = [Stream(server.port, url(migration)) for _ in range(SEATS)]
    heard = [stream.messages() for stream in streams]
    for messages in heard:
        while next(messages).get("event") != "status":
            pass
    refused = Stream(server.port, url(migration))
    assert (refused.response.status, refused.response.getheader("Retry-After")) == (503, "5")
    assert json.loads(refused.response.read())["error"]["reason"] == "coriolis.too_many_waiting"
    refused.close()
    assert ask(server, f"{PREFIX}/migrations")[0] == 200
    until(lambda: db.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    with db.counting() as statements:
        time.sleep(2.0)
        assert statements() <= 8
    say(db, run_id, "For everybody")
    for messages in heard:
        assert json.loads(next(messages)["data"])["message"] == "For everybody"
    for stream in streams:
        stream.close()
    say(db, run_id, "For nobody")  # they notice when they are told something
    until(lambda: not occupied(server, migration))


def late(db: Database, run_id: str) -> tuple[int, int]:
    """An event, before which another transaction has written one and not committed it. Gives their ids."""
    with db.writer() as conn:
        newest = conn.execute(select(func.max(event.c.id))).scalar_one()
        conn.execute(event.insert(), written(newest + 2, run_id, db))
    return newest + 1, newest + 2


def written(key: int, run_id: str, db: Database) -> dict[str, Any]:
    return {"id": key, "execution_id": run_id, "level": "INFO", "message": f"number {key}", "created_at": db.utcnow()}


def commit(db: Database, run_id: str, key: int) -> None:
    with db.writer() as conn:
        conn.execute(event.insert(), written(key, run_id, db))


def test_what_commits_late_is_not_missed_by_polls(
    server: WsgiService, db: Database, migration: dict[str, Any], run_id: str
) -> None:
    _, before = ask(server, url(migration, "?since=0"))
    early, first = late(db, run_id)
    _, answer = ask(server, url(migration, f"?since={before['since']}"))
    assert [one["id"] for one in answer["events"]] == [str(first)]
    timer = threading.Timer(2.0, commit, (db, run_id, early))
    timer.start()
    _, answer = ask(server, url(migration, f"?since={answer['since']}&timeout=60"))
    timer.join()
    assert [one["id"] for one in answer["events"]] == [str(early)]
    assert answer["events"][0]["index"] == len(before["events"])
    _, answer = ask(server, url(migration, f"?since={answer['since']}&timeout=0"))
    assert (answer["events"], answer["since"]) == ([], str(first))


def test_what_commits_late_is_not_missed_by_streams(
    server: WsgiService, db: Database, migration: dict[str, Any], run_id: str
) -> None:
    stream = Stream(server.port, url(migration))
    early, first = late(db, run_id)
    heard = (one for one in stream.messages() if one.get("event") == "event")
    seen = next(one for one in heard if json.loads(one["data"])["id"] == str(first))
    stream.close()
    again = Stream(server.port, url(migration), {"Last-Event-ID": seen["id"]})
    timer = threading.Timer(2.0, commit, (db, run_id, early))
    timer.start()
    messages = again.messages()
    assert json.loads(next(one for one in messages if one.get("event") == "event")["data"])["id"] == str(early)
    timer.join()
    say(db, run_id, "more")
    assert json.loads(next(one for one in messages if one.get("event") == "event")["data"])["message"] == "more"
    again.close()


def test_streams_end_with_the_service(server: WsgiService, migration: dict[str, Any], run_id: str) -> None:
    streams = [Stream(server.port, url(migration)) for _ in range(5)]
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < PATIENCE / 2
    for stream in streams:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            assert "end" not in [one.get("event") for one in stream.messages()]
        stream.close()


def test_head_does_not_wait(api: TestApp, migration: dict[str, Any], run_id: str) -> None:
    for _ in range(40):  # more than there are seats
        assert api.head(url(migration), headers={"Accept": "text/event-stream"}).status_int == 200


# ---- other jobs ------------------------------------------------------------------------------------------------


def test_events_of_executions_and_deployments(server: WsgiService, api: TestApp, db: Database, endpoints: Any) -> None:
    """Of a transfer's execution, of a deployment that waits for it, and of one that is made afterwards."""
    transfer = api.post_json(f"{PREFIX}/transfers", order(endpoints)).json["transfer"]
    runs = f"{PREFIX}/transfers/{transfer['id']}/executions"
    execution = api.post_json(runs, {"execution": {"auto_deploy": True}}).json["execution"]
    path = f"{runs}/{execution['id']}/events"
    say(db, execution["id"], "One", "Two")
    assert [one["message"] for one in api.get(path).json["events"]] == ["One", "Two"]
    (waiting,) = api.get(f"{PREFIX}/deployments").json["deployments"]
    nothing = {"events": [], "since": "0", "status": "PENDING"}
    assert api.get(f"{PREFIX}/deployments/{waiting['id']}/events?since=0&timeout=0").json == nothing
    complete(db, transfer["id"])
    heard = list(Stream(server.port, path).messages())
    assert [one.get("event") for one in heard] == [None, "event", "event", "status", "end"]
    complete(db, waiting["id"], "CANCELED")
    wish = {"deployment": {"transfer_id": transfer["id"], "skip_os_morphing": True}}
    made = api.post_json(f"{PREFIX}/deployments", wish).json["deployment"]
    assert api.get(f"{PREFIX}/deployments/{made['id']}/events").json == {"events": []}
    error(api.get(f"{PREFIX}/deployments/{NOWHERE}/events", expect_errors=True), 404)
    error(api.get(f"{runs}/{NOWHERE}/events", expect_errors=True), 404)
