# SPDX-License-Identifier: Apache-2.0
"""Bandwidth budgets over REST: their life, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from webtest import TestApp

from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, PROJECT
from tests.functional.test_frame import NOWHERE, error

PATH = f"{PREFIX}/bandwidth_budgets"
WINDOW = {"days": ["mon", "fri"], "start": "22:00", "end": "06:00", "bytes_per_second": None, "streams": 8}


def create(api: TestApp, **fields: Any) -> dict[str, Any]:
    body = {"name": "wan", "scope": "project", "target": {"project_id": PROJECT}, "bytes_per_second": 1000, **fields}
    return dict(api.post_json(PATH, {"bandwidth_budget": body}).json["bandwidth_budget"])


def test_its_life(api: TestApp) -> None:
    made = create(api, windows=[WINDOW, {"start": "08:00", "end": "24:00"}], time_zone="Europe/Berlin")
    assert made["enabled"] is True
    assert made["windows"][0] == WINDOW
    assert made["windows"][1]["days"] == ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    assert made["usage"] == {"streams": 0, "granted": 0, "used": 0}
    one = f"{PATH}/{made['id']}"
    assert api.get(one).json == {"bandwidth_budget": made}
    changed = api.put_json(one, {"bandwidth_budget": {"bytes_per_second": 5, "windows": []}}).json["bandwidth_budget"]
    assert (changed["bytes_per_second"], changed["now"]["bytes_per_second"], changed["windows"]) == (5, 5, [])
    assert changed["time_zone"] == "Europe/Berlin"
    assert [each["id"] for each in api.get(PATH).json["bandwidth_budgets"]] == [made["id"]]
    assert api.delete(one).status_int == 204
    error(api.get(one, expect_errors=True), 404)
    error(api.delete(one, expect_errors=True), 404)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"scope": "planet"}, "scope"),
        ({"scope": "host"}, "target"),
        ({"target": {}}, "target"),
        ({"bytes_per_second": -1}, "bytes_per_second"),
        ({"bytes_per_second": None}, "bytes_per_second"),
        ({"streams": 1.5}, "streams"),
        ({"backoff_factor": 1}, "backoff_factor"),
        ({"time_zone": "Nowhere"}, "time_zone"),
        ({"windows": [{"start": "25:00", "end": "06:00"}]}, "windows[0].start"),
        ({"windows": [{"days": ["someday"], "start": "20:00", "end": "06:00"}]}, "windows[0].days[0]"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_bodies_name_the_field(api: TestApp, change: dict[str, Any], field: str) -> None:
    body = {"name": "wan", "scope": "project", "target": {"project_id": "p"}, "bytes_per_second": 1, **change}
    content = error(api.post_json(PATH, {"bandwidth_budget": body}, expect_errors=True), 400)
    assert content["field"] == f"bandwidth_budget.{field}"


def test_what_cannot_be_changed(api: TestApp) -> None:
    made = create(api)
    answer = api.put_json(f"{PATH}/{made['id']}", {"bandwidth_budget": {"scope": "host"}}, expect_errors=True)
    assert error(answer, 400)["field"] == "bandwidth_budget.scope"
    empty = {"bandwidth_budget": {"bytes_per_second": None}}
    error(api.put_json(f"{PATH}/{made['id']}", empty, expect_errors=True), 400)
    error(api.put_json(f"{PATH}/{NOWHERE}", {"bandwidth_budget": {"name": "x"}}, expect_errors=True), 404)


def test_lists_cost_the_same_however_long(api: TestApp, db: Database) -> None:
    costs = []
    for count in (2, 20):
        for _ in range(count):
            create(api)
        with db.counting() as statements:
            assert len(api.get(PATH).json["bandwidth_budgets"]) >= count
        costs.append(statements())
    assert costs[0] == costs[1]
