# SPDX-License-Identifier: Apache-2.0
"""What every route has in common: versions, tokens, paths, methods, errors, request ids."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, PROJECT, TOKEN

NOWHERE = "99999999-9999-4999-8999-999999999999"
SCOPED = [route for route in ROUTES if route.policy is not None]


def url(route: Route, prefix: str = PREFIX) -> str:
    """The route with ids of nothing in its holes."""
    return prefix + re.sub(r"\{[^}]+\}", NOWHERE, route.path)


def error(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_int == status
    assert answer.content_type == "application/json"
    content = answer.json["error"]
    assert content["code"] == status
    assert content["message"]
    return dict(content)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/"])
def test_versions_need_no_token(anonymous: TestApp, path: str) -> None:
    answer = anonymous.get(path)
    document = answer.json["versions"][0] if path == "/" else answer.json["version"]
    assert document["id"] == "v1.0"
    assert document["status"] == "CURRENT"
    assert document["links"] == [{"rel": "self", "href": "http://localhost/v1"}]


@pytest.mark.parametrize("route", SCOPED, ids=lambda r: f"{r.method} {r.path}")
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "\u00fc"])
def test_every_other_route_needs_the_token(anonymous: TestApp, route: Route, token: str | None) -> None:
    headers = {} if token is None else {"X-Auth-Token": token}
    answer = anonymous.request(url(route), method=route.method, headers=headers, expect_errors=True)
    assert error(answer, 401)["fault"] == "unauthorized"


def test_claims_of_the_client_are_not_believed(anonymous: TestApp) -> None:
    headers = {"X-Identity-Status": "Confirmed", "X-Project-Id": PROJECT, "X-User-Id": "me", "X-Roles": "admin"}
    error(anonymous.get(f"{PREFIX}/migrations", headers=headers, expect_errors=True), 401)


@pytest.mark.parametrize("route", SCOPED, ids=lambda r: f"{r.method} {r.path}")
def test_a_foreign_project_in_the_path_is_refused(api: TestApp, route: Route) -> None:
    answer = api.request(url(route, "/v1/another"), method=route.method, expect_errors=True)
    assert error(answer, 400)["field"] == "project_id"


@pytest.mark.parametrize(
    "path", ["/v2", "/v1/x", f"{PREFIX}/nothing", f"{PREFIX}/endpoints/new/new/new", "/%2e%2e/etc"]
)
def test_unknown_paths(api: TestApp, path: str) -> None:
    assert error(api.get(path, expect_errors=True), 404)["fault"] == "itemNotFound"


def test_wrong_methods_name_the_right_ones(api: TestApp) -> None:
    answer = api.patch(f"{PREFIX}/endpoints", expect_errors=True)
    assert error(answer, 405)["fault"] == "badMethod"
    assert answer.headers["Allow"] == "GET, POST"
    error(api.request(f"{PREFIX}/endpoints", method="PROPFIND", expect_errors=True), 405)


@pytest.mark.parametrize("path", ["/endpoints.json", "/endpoints/", "/migrations.json?unknown=1&refresh=x"])
def test_suffix_slash_and_unknown_query_keys_are_fine(api: TestApp, path: str) -> None:
    assert api.get(PREFIX + path).status_int == 200


def test_the_project_may_be_left_out(api: TestApp) -> None:
    assert api.get("/v1/endpoints").json == {"endpoints": []}
    assert api.get("/v1/migrations").json == {"migrations": []}


def test_request_ids(api: TestApp, anonymous: TestApp) -> None:
    for answer in (api.get("/v1/endpoints"), anonymous.get("/v1/endpoints", expect_errors=True)):
        assert re.fullmatch(r"req-[0-9a-f-]{36}", answer.headers["x-openstack-request-id"])
        assert answer.headers["x-compute-request-id"] == answer.headers["x-openstack-request-id"]


def test_head_has_no_body(api: TestApp) -> None:
    answer = api.head("/v1/endpoints")
    assert answer.status_int == 200
    assert answer.body == b""


@pytest.mark.parametrize("route", [r for r in SCOPED if r.method == "GET"], ids=lambda r: r.path)
def test_a_database_that_is_away_is_503(api: TestApp, db: Database, tmp_path: Path, route: Route) -> None:
    db.dispose()
    (tmp_path / "api.sqlite").unlink()
    (tmp_path / "api.sqlite").mkdir()
    path = url(route).replace(f"schemas/{NOWHERE}", "schemas/16").replace(f"instances/{NOWHERE}", "instances/eA==")
    if path.endswith("/certificate_key"):  # a file has it
        return
    content = error(api.get(path, expect_errors=True), 503)
    assert (content["fault"], content["reason"]) == ("serviceUnavailable", "coriolis.database_away")
    assert "database" in content["message"]


def test_health(anonymous: TestApp) -> None:
    assert anonymous.get("/healthcheck").status_int == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"\xff\xfe{}", "application/json", 400),
        (b'{"endpoint": NaN}', "application/json", 400),
        (b'{"endpoint": 1e999}', "application/json", 400),
        (b'{"endpoint": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"endpoint": {"name": "\\u0000"}}', "application/json", 400),
        (b'{"endpoint": {"name": "\\ud800"}}', "application/json", 400),
        (b"[" * 30000 + b"]" * 30000, "application/json", 400),
        (b'{"a":' * 10000 + b"1" + b"}" * 10000, "application/json", 400),
        (b'{"endpoint": {}}', "application/x-www-form-urlencoded", 415),
        (b" " * 70000, "application/json", 413),
    ],
)
def test_bad_bodies(api: TestApp, body: bytes, content_type: str, status: int) -> None:
    headers = {"Content-Type": content_type}
    error(api.post("/v1/endpoints", body, headers=headers, expect_errors=True), status)


def test_a_body_on_get_is_ignored(api: TestApp) -> None:
    headers = {"Content-Type": "application/json"}
    assert api.request("/v1/endpoints", method="GET", body=b"{", headers=headers).status_int == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%D9%A3", "limit"),
        ("sort_dir=up", "sort_dir"),
        ("sort_key=name&sort_dir=asc&sort_dir=asc", "sort_dir"),
        ("sort_key=password", "sort_key"),
    ],
)
@pytest.mark.parametrize("noun", ["endpoints", "migrations"])
def test_bad_paging(api: TestApp, noun: str, query: str, field: str) -> None:
    if noun == "migrations":
        query = query.replace("name", "percent")
    assert error(api.get(f"/v1/{noun}?{query}", expect_errors=True), 400)["field"] == field


@pytest.mark.parametrize("marker", ["nothing", "9" * 40, "'", "99999999-9999-4999-8999-999999999999"])
@pytest.mark.parametrize("noun", ["endpoints", "migrations"])
def test_an_unknown_marker_is_ignored(api: TestApp, noun: str, marker: str, migration: Any) -> None:
    whole = api.get(f"/v1/{noun}").json
    assert whole[noun]
    assert api.get(f"/v1/{noun}?marker={marker}").json == whole


def test_bugs_show_no_stack(api: TestApp, db: Any) -> None:
    from coriolis.store.tables import metadata

    metadata.drop_all(db.engine)
    answer = api.get("/v1/endpoints", expect_errors=True)
    content = error(answer, 500)
    assert content["fault"] == "computeFault"
    assert "Traceback" not in answer.text
    assert "sqlite" not in answer.text
