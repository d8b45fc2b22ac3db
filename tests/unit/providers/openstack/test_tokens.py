# SPDX-License-Identifier: Apache-2.0
"""Connections of one user share their tokens, as long as these are good. A real session speaks to a small Keystone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.api import Context
from coriolis.providers.openstack.connection import close_cloud, open_cloud

HOUR = dt.timedelta(hours=1)


class Keystone(ThreadingHTTPServer):
    """``made``: tokens, in their order; ``bad``: those that it takes no more; ``life``: of a new one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.made: list[str] = []
        self.bad: set[str] = set()
        self.life = HOUR

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v3"


class _Answers(BaseHTTPRequestHandler):
    server: Keystone

    def do_GET(self) -> None:
        if self.path == "/v3":
            links = [{"rel": "self", "href": self.server.url}]
            self._answer(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})
        else:
            token = self.headers.get("X-Auth-Token")
            self._answer(200 if token in {*self.server.made} - self.server.bad else 401, {"users": []})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.made.append(f"token-{len(self.server.made)}")
        ends = dt.datetime.now(dt.UTC) + self.server.life
        who = {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}}
        token = {"expires_at": ends.isoformat(), "user": who, "project": {**who, "id": "p"}, "catalog": []}
        body = {"token": {**token, "methods": ["password"], "roles": [{"id": "m", "name": "member"}]}}
        self._answer(201, body, {"X-Subject-Token": self.server.made[-1]})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_words: Any) -> None:
        return None


class Memory:
    def __init__(self) -> None:
        self.text: str | None = None

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        self.text = text


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    server = Keystone()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def ask(keystone: Keystone, memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the cloud and asks it something; gives the status of the answer."""
    monkeypatch.setenv("no_proxy", "*")

    def asked(**more: Any) -> int:
        info = {"auth_url": keystone.url, "username": "u", "password": "p", "project_name": "p", **more}
        context = Context(log=logging.getLogger(), scratch=tmp_path, keepsake=memory)
        with contextlib.ExitStack() as end:
            cloud = open_cloud(info, context)
            end.callback(close_cloud, cloud)
            assert cloud.roles == {"member"}
            return int(cloud.sdk.session.get(f"{keystone.url}/users", raise_exc=False).status_code)

    return asked


def test_a_second_connection_asks_for_no_token(ask: Any, keystone: Keystone) -> None:
    assert [ask(), ask(), ask()] == [200, 200, 200]
    assert keystone.made == ["token-0"]


def test_nobody_else_gets_it(ask: Any, keystone: Keystone) -> None:
    assert [ask(), ask(password="q"), ask(project_name="q")] == [200, 200, 200]
    assert len(keystone.made) == 3


def test_a_token_that_was_revoked_is_replaced_for_all(ask: Any, keystone: Keystone) -> None:
    ask()
    keystone.bad.add("token-0")
    assert [ask(), ask()] == [200, 200]
    assert keystone.made == ["token-0", "token-1"]


def test_a_token_without_much_life_is_not_taken_over(ask: Any, keystone: Keystone) -> None:
    keystone.life = dt.timedelta(minutes=14)
    assert [ask(), ask()] == [200, 200]
    keystone.life = HOUR
    assert [ask(), ask()] == [200, 200]
    assert len(keystone.made) == 3
