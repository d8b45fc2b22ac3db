# SPDX-License-Identifier: Apache-2.0
"""Schedules over HTTP: flat bodies in, an envelope out."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from webtest import TestApp

from coriolis.api.views.timestamps import text
from coriolis.commands import transfers
from coriolis.commands.caller import Caller
from coriolis.runtime import local_token
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX
from tests.functional.test_frame import NOWHERE, error

ME = Caller(user_id=local_token.USER_ID, project_id=local_token.PROJECT_ID)
NIGHTLY = {"schedule": {"minute": 30, "hour": 2, "dow": 0}}


@pytest.fixture
def path(db: Database, endpoints: tuple[dict[str, Any], dict[str, Any]]) -> str:
    """The schedules of a transfer."""
    spec = transfers.NewTransfer(origin=endpoints[0]["id"], destination=endpoints[1]["id"], instances=("vm",))
    return f"{PREFIX}/transfers/{transfers.create(db, ME, spec).id}/schedules"


def create(api: TestApp, path: str, **more: Any) -> dict[str, Any]:
    return dict(api.post_json(path, {**NIGHTLY, **more}).json["schedule"])


def test_life(api: TestApp, path: str) -> None:
    made = create(api, path)
    assert made == {
        **made,
        "transfer_id": path.split("/")[-2],
        "schedule": NIGHTLY["schedule"],
        "enabled": True,
        "shutdown_instance": False,
        "auto_deploy": False,
        "expiration_date": None,
        "trust_id": None,
        "last_fired_at": None,
        "updated_at": None,
    }
    following = dt.datetime.fromisoformat(made["next_fire_at"])
    assert (following.weekday(), following.hour, following.minute, following.second) == (0, 2, 30, 0)
    one = f"{path}/{made['id']}"
    assert api.get(one).json["schedule"] == made
    assert api.get(path).json["schedules"] == [made]
    change = {"schedule": {"minute": 5, "hour": None}, "shutdown_instance": True, "id": "x", "enabled": None}
    changed = api.put_json(one, change).json["schedule"]
    assert (changed["schedule"], changed["shutdown_instance"]) == ({"minute": 5}, True)
    assert (changed["id"], changed["enabled"]) == (made["id"], True)
    assert api.put_json(one, {"enabled": False}).json["schedule"]["next_fire_at"] is None
    assert api.put_json(one, {}).json["schedule"]["schedule"] == {"minute": 5}
    assert api.delete(one).status_int == 204
    error(api.get(one, expect_errors=True), 404)
    error(api.delete(one, expect_errors=True), 404)


def test_every_minute(api: TestApp, path: str) -> None:
    made = create(api, path, schedule={})
    assert made["schedule"] == {}
    assert made["next_fire_at"] is not None
    answer = api.post(path, b'{"schedule": {"minute": 5.0, "hour": 1}}', content_type="application/json")
    assert '"minute": 5,' in answer.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2096-02-29T10:00:00Z", "2096-02-29T10:00:00.000000"),
        ("2096-02-29T10:00:00+02:00", "2096-02-29T08:00:00.000000"),
        ("2096-02-29T10:00:00.25Z", "2096-02-29T10:00:00.250000"),
        ("2096-02-29T10:00:00", "2096-02-29T10:00:00.000000"),
        (None, None),
    ],
)
def test_expiration(api: TestApp, path: str, given: str | None, kept: str | None) -> None:
    assert create(api, path, expiration_date=given)["expiration_date"] == kept


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schedule": {"dom": 31, "month": 2}}, "schedule"),
        ({"schedule": {"minute": 60}}, "schedule.minute"),
        ({"schedule": {"hour": -1}}, "schedule.hour"),
        ({"schedule": {"dow": 7}}, "schedule.dow"),
        ({"schedule": {"dom": 0}}, "schedule.dom"),
        ({"schedule": {"month": 13}}, "schedule.month"),
        ({"schedule": {"minute": "0"}}, "schedule.minute"),
        ({"schedule": {"minute": True}}, "schedule.minute"),
        ({"schedule": {"minute": 1.5}}, "schedule.minute"),
        ({"schedule": {"second": 1}}, "schedule.second"),
        ({"schedule": None}, "schedule"),
        ({"schedule": "0 * * * *"}, "schedule"),
        ({"expiration_date": "2001-01-01T00:00:00Z"}, "expiration_date"),
        ({"expiration_date": "tomorrow"}, "expiration_date"),
        ({"expiration_date": "2096-02-30T00:00:00Z"}, "expiration_date"),
        ({"expiration_date": "9999-12-31T23:59:59-23:59"}, "expiration_date"),
        ({"expiration_date": 5}, "expiration_date"),
        ({"enabled": "yes"}, "enabled"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_bodies(api: TestApp, path: str, change: dict[str, Any], field: str) -> None:
    assert error(api.post_json(path, {**NIGHTLY, **change}, expect_errors=True), 400)["field"] == field
    if field != "colour":  # an update drops what it does not know
        made = create(api, path)
        answer = api.put_json(f"{path}/{made['id']}", change, expect_errors=True)
        assert error(answer, 400)["field"] == field
        assert api.get(f"{path}/{made['id']}").json["schedule"] == made


def test_the_calendar_is_required(api: TestApp, path: str) -> None:
    assert error(api.post_json(path, {"enabled": True}, expect_errors=True), 400)["field"] == "schedule"
    error(api.post_json(path, {"schedule": NIGHTLY}, expect_errors=True), 400)


def test_expired_ones_can_be_left_out(api: TestApp, db: Database, path: str) -> None:
    from coriolis.store.standing_tables import schedule

    old, new = create(api, path), create(api, path)
    with db.writer() as conn:
        past = dt.datetime(2020, 1, 1)
        conn.execute(schedule.update().where(schedule.c.id == old["id"]).values(expiration_date=past))
    assert {one["id"] for one in api.get(path).json["schedules"]} == {old["id"], new["id"]}
    assert {one["id"] for one in api.get(f"{path}?show_expired=x").json["schedules"]} == {old["id"], new["id"]}
    assert [one["id"] for one in api.get(f"{path}?show_expired=False").json["schedules"]] == [new["id"]]
    assert api.get(f"{path}/{old['id']}").json["schedule"]["expiration_date"] == text(past)


def test_of_another_transfer(api: TestApp, path: str) -> None:
    made = create(api, path)
    elsewhere = path.replace(path.split("/")[-2], NOWHERE)
    error(api.get(elsewhere, expect_errors=True), 404)
    error(api.post_json(elsewhere, NIGHTLY, expect_errors=True), 404)
    error(api.get(f"{elsewhere}/{made['id']}", expect_errors=True), 404)
    error(api.put_json(f"{elsewhere}/{made['id']}", {"enabled": False}, expect_errors=True), 404)
    error(api.delete(f"{elsewhere}/{made['id']}", expect_errors=True), 404)


def test_a_create_that_is_sent_again(api: TestApp, path: str) -> None:
    headers = {"Idempotency-Key": "k2"}
    first, second = (api.post_json(path, NIGHTLY, headers=headers).json["schedule"]["id"] for _ in range(2))
    assert first == second
    assert len(api.get(path).json["schedules"]) == 1


def test_a_list_costs_the_same_however_long(api: TestApp, db: Database, path: str) -> None:
    def count() -> int:
        with db.counting() as counted:
            api.get(path)
        return counted()

    create(api, path)
    few = count()
    for _ in range(5):
        create(api, path)
    assert count() == few == 2
