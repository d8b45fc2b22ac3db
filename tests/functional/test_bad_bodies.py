# SPDX-License-Identifier: Apache-2.0
"""What bad bodies get, for every route that takes one: the good body of the API reference with parts of it replaced.

The client of these tests also holds every answer against the OpenAPI document.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES
from coriolis.api.settings import ApiSettings
from tests.functional.desk import PREFIX, Desk
from tests.functional.test_frame import NOWHERE, error
from tools.api_reference import sample_name

SAMPLES = Path(__file__).resolve().parents[2] / "api-refs/source/samples"
TRIES = 150  # of each route

WITH_BODY = [
    route for route in ROUTES if route.schema is not None and (SAMPLES / f"{sample_name(route)}.request.json").exists()
]

DEEP: Any = "bottom"
for _ in range(35):
    DEEP = {"deeper": [DEEP]} if _ % 2 else [DEEP]

NASTY: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    1e308,
    "",
    " ",
    "x" * 40_000,
    "🎈" * 300,
    "مهاجرة ‮ הגירה",  # from right to left, with an override
    "a/b\\c'd\"e`;--%s{0}$(x)",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\u0301\ufeff\u200b",
    "***",
    "not-a-uuid",
    NOWHERE,
    NOWHERE.upper().replace("-", ""),
    "2026-02-31T00:00:00Z",
    [],
    {},
    [[[]]],
    {"": {"": None}},
    [None, {}, "x", 1],
    ["x"] * 2000,
    {str(n): n for n in range(2000)},
    DEEP,
)

# Whole bodies that are refused before any schema is looked at.
RAW: tuple[tuple[bytes, int], ...] = (
    (b"", 400),
    (b"{", 400),
    (b"null", 400),
    (b"[]", 400),
    (b'"text"', 400),
    (b"NaN", 400),
    (b'{"a": Infinity}', 400),
    (b'{"a": 1e999}', 400),
    (b'{"a": 99999999999999999999999}', 400),
    (b'{"a": "\\u0000"}', 400),
    (b'{"a": "\\ud800"}', 400),
    (b'{"\\ud800": 1}', 400),
    (b"\xff\xfe{\x00}\x00", 400),
    (b'{"a": "\xff"}', 400),
    (b"\x00" * 100, 400),
    (b"[" * 60_000, 400),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    (b'{"notes": "' + b"x" * 10_000_000 + b'"}', 413),
    (b" " * 1_100_000, 413),
)


def sample(route: Route) -> Any:
    return json.loads((SAMPLES / f"{sample_name(route)}.request.json").read_text())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a body, the whole of it included."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in children:
        yield from places(item, (*path, key))


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


class Aim:
    """Ids of things that are there, made from the samples; of what cannot be made, an id of nothing."""

    def __init__(self, api: TestApp, endpoints: Any) -> None:
        self._api = api
        self.ids = {
            "origin_endpoint_id": endpoints[0]["id"],
            "destination_endpoint_id": endpoints[1]["id"],
            "endpoint_id": endpoints[1]["id"],
        }
        for route in WITH_BODY:
            words = route.segments
            if route.method == "POST" and words[-1] not in ("actions", "action"):
                self._make(route, f"{words[-1].removesuffix('s')}_id")

    def _make(self, route: Route, name: str) -> None:
        answer = self._api.post_json(self.path(route), self.aimed(sample(route)), expect_errors=True)
        if answer.status_int == 200:
            content = next(iter(answer.json.values()))
            self.ids.setdefault(name, content.get("id", NOWHERE))

    def path(self, route: Route) -> str:
        return PREFIX + re.sub(r"\{([^}]+)\}", lambda hole: self.ids.get(hole[1], NOWHERE), route.path)

    def aimed(self, value: Any) -> Any:
        """The sample with the ids of things that are there."""
        if isinstance(value, dict):
            return {key: self.ids[key] if key in self.ids else self.aimed(item) for key, item in value.items()}
        return [self.aimed(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def settings() -> ApiSettings:
    """With the limit of a service that nobody has configured."""
    return ApiSettings(provider_call_timeout_seconds=5.0)


@pytest.fixture
def aim(api: TestApp, desk: Desk, endpoints: Any) -> Aim:
    return Aim(api, endpoints)


def same(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_every_route_with_a_body_has_a_sample() -> None:
    """But for those that are another name of one that has."""
    without = [route for route in ROUTES if route.schema is not None and route not in WITH_BODY]
    assert {route.segments[-1] for route in without} <= {"action"}


@pytest.mark.parametrize("route", WITH_BODY, ids=same)
def test_each_part_of_a_body(api: TestApp, aim: Aim, route: Route) -> None:
    good = aim.aimed(sample(route))
    tries = [replaced(good, place, value) for place in places(good) for value in NASTY]
    chooser = random.Random(sample_name(route))
    for body in chooser.sample(tries, min(TRIES, len(tries))):
        answer = api.request(
            aim.path(route),
            method=route.method,
            body=json.dumps(body).encode(),
            content_type="application/json",
            expect_errors=True,
        )
        check(answer, body)


def check(answer: Any, body: Any) -> None:
    assert answer.status_int < 500, (str(body)[:300], answer.text)
    if answer.status_int >= 400:
        content = error(answer, answer.status_int)
        assert len(content["message"]) < 3000, "an error repeats no whole body"
    assert "Traceback" not in answer.text
    assert "sqlalchemy" not in answer.text.lower()


@pytest.mark.parametrize("route", WITH_BODY, ids=same)
def test_bodies_that_are_no_json_or_too_much(api: TestApp, aim: Aim, route: Route) -> None:
    optional = json.loads((SAMPLES / f"{sample_name(route)}.request.json").read_text()) in ({}, {"execution": {}})
    for body, status in RAW:
        answer = api.request(
            aim.path(route), method=route.method, body=body, content_type="application/json", expect_errors=True
        )
        check(answer, body[:40])
        assert answer.status_int == status or (optional or not body or body == b"null"), (body[:40], answer.text)


NAMES = (
    "🎈🧳 → ☁️",
    "مهاجرة الخوادم",
    "שרת",
    "a/b/c",
    'O\'Brien "the" \\ {0} %s $(x)',
    "<b>&amp;</b>",
    "..",
    "ǅe\u0301 é",  # not to be normalised: it is the user's
    "line\nbreak\ttab",
)


@pytest.mark.parametrize("name", NAMES)
def test_strange_names_come_back_as_they_were(api: TestApp, endpoints: Any, name: str) -> None:
    info = {"path": name, "token": name}
    body = {"name": name, "type": "null", "description": name, "connection_info": {"seed": 1}}
    made = api.post_json(f"{PREFIX}/endpoints", {"endpoint": body}).json["endpoint"]
    shown = api.get(f"{PREFIX}/endpoints/{made['id']}").json["endpoint"]
    assert (shown["name"], shown["description"]) == (name, name)
    changed = api.put_json(f"{PREFIX}/endpoints/{made['id']}", {"endpoint": {"connection_info": info}}, status=200)
    assert changed.json["endpoint"]["connection_info"]["path"] == name
    job = {
        "origin_endpoint_id": endpoints[0]["id"],
        "destination_endpoint_id": endpoints[1]["id"],
        "instances": [name, f"{name}2"],
        "notes": name,
        "network_map": {name: "null-network"},
    }
    for noun in ("migration", "transfer"):
        made = api.post_json(f"{PREFIX}/{noun}s", {noun: job}).json[noun]
        shown = api.get(f"{PREFIX}/{noun}s/{made['id']}").json[noun]
        assert (shown["instances"], shown["notes"]) == (job["instances"], name)
        assert shown["network_map"] == job["network_map"]


def test_long_notes_are_refused_by_name(api: TestApp, endpoints: Any) -> None:
    job = {
        "origin_endpoint_id": endpoints[0]["id"],
        "destination_endpoint_id": endpoints[1]["id"],
        "instances": ["null-0000001"],
    }
    for noun in ("migration", "transfer"):
        api.post_json(f"{PREFIX}/{noun}s", {noun: {**job, "notes": "ä" * 65_535}}, status=200)
        for size, status in ((65_536, 400), (10_000_000, 413)):
            body = {noun: {**job, "notes": "x" * size}}
            content = error(api.post_json(f"{PREFIX}/{noun}s", body, expect_errors=True), status)
            assert content.get("field") == (f"{noun}.notes" if status == 400 else None)
