# SPDX-License-Identifier: Apache-2.0
"""Nobody gets to read a secret: not in an answer, an error, a log (at DEBUG), the database or a message to a worker."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, Desk
from tests.functional.test_migrations import inline

SECRET = "hunter2-Xq7LmZ"
INFO: dict[str, Any] = {
    "password": SECRET,
    "uri": f"qemu+ssh://root:{SECRET}@host/system",
    "deep": {"list": [{"api_key": SECRET}]},
    "token": {"inner": SECRET},
}
# What a confused client sends: the secret in any place of a body that is refused.
CONFUSED: list[Any] = [
    SECRET,
    [SECRET],
    {"endpoint": SECRET},
    {"endpoint": {"name": "x", "type": "null", "connection_info": SECRET}},
    {"endpoint": {"name": "x", "type": "null", "connection_info": [SECRET]}},
    {"endpoint": {"name": "x", "type": "null", "connection_info": {"secret_ref": "x", "password": SECRET}}},
    {"endpoint": {"name": "x", "type": "null", "connection_info": {"password": "***", "other": SECRET}}},
    {"endpoint": {"name": 5, "type": "null", "connection_info": INFO}},
    {"endpoint": {"name": "x" * 300, "type": "null", "connection_info": INFO}},
    {"endpoint": {"name": "x", "type": "nothing", "connection_info": INFO}},
    {"endpoint": {"name": "x", "connection_info": INFO}},
]


class Heard:
    """All that came back."""

    def __init__(self, api: TestApp) -> None:
        self._api = api
        self.text = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self._api.request(f"{PREFIX}{path}", method=method, body=sent, headers=given, expect_errors=True)
        self.text += f"{answer.status} {answer.headers} {answer.text}"
        return answer.json if answer.content_type == "application/json" else answer.text


@pytest.fixture
def heard(api: TestApp, desk: Desk) -> Heard:
    return Heard(api)


@pytest.fixture(autouse=True)
def _nothing_leaks(heard: Heard, desk: Desk, db: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    with caplog.at_level(logging.DEBUG):
        yield
    assert SECRET not in heard.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(desk.calls)
    db.dispose()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.stat().st_size > 4096 for path in files), "the database is looked into"
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_of_an_endpoint(heard: Heard) -> None:
    new = {"name": "e", "type": "null", "connection_info": INFO}
    made = heard.ask("POST", "/endpoints", {"endpoint": new}, Idempotency_Key="one")["endpoint"]
    assert made["connection_info"]["uri"] == "qemu+ssh://root:***@host/system"
    path = f"/endpoints/{made['id']}"
    heard.ask("POST", "/endpoints", {"endpoint": {**new, "name": "other"}}, Idempotency_Key="one")
    kept = heard.ask("PUT", path, {"endpoint": {"connection_info": made["connection_info"]}})["endpoint"]
    assert kept["connection_info"] == made["connection_info"]
    heard.ask("PUT", path, {"endpoint": {"connection_info": {**INFO, "password": [SECRET]}}})
    for rest in ("", "/networks", "/storage", "/instances", "/inventory", "/source-options", "/destination-options"):
        heard.ask("GET", path + rest)
    env = base64.urlsafe_b64encode(json.dumps({"password": SECRET}).encode()).decode()
    heard.ask("GET", f"{path}/networks?env={env}")
    heard.ask("POST", f"{path}/actions", {"validate-connection": None})
    heard.ask("GET", "/endpoints")
    heard.ask("GET", "/diagnostics")


@pytest.mark.parametrize("dry_run", ["", "?dry_run=true"])
def test_of_a_migration(heard: Heard, dry_run: str) -> None:
    for extra in ({}, {"instances": SECRET}, {"notes": 5}, {"unknown": SECRET}):
        body = inline(**extra)
        body["migration"]["origin"]["connection_info"] = {"instances": 3, **INFO}
        heard.ask("POST", f"/migrations{dry_run}", body)
        body["migration"]["origin"]["connection_info"] = {"instances": SECRET}
        heard.ask("POST", f"/migrations{dry_run}", body)
    for one in heard.ask("GET", "/migrations")["migrations"]:
        heard.ask("GET", f"/migrations/{one['id']}")


@pytest.mark.parametrize("body", [*CONFUSED, json.dumps(INFO)[:-3].encode(), b"\xff" + SECRET.encode()])
def test_of_a_confused_client(heard: Heard, body: Any) -> None:
    for method, path in (("POST", "/endpoints"), ("POST", "/migrations"), ("POST", "/transfers"), ("POST", "/regions")):
        heard.ask(method, path, body)
    heard.ask("POST", "/endpoints", body, Content_Type="text/plain")
