# SPDX-License-Identifier: Apache-2.0
"""Migrations: both forms of create, their life, and what is below them."""

from __future__ import annotations

from typing import Any

import pytest
from webtest import TestApp

from coriolis.store import actions, endpoints
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, PROJECT, Desk
from tests.functional.graph import finish, grow
from tests.functional.test_frame import NOWHERE, error

KEYS = {
    "id",
    "base_id",
    "type",
    "user_id",
    "project_id",
    "origin_endpoint_id",
    "destination_endpoint_id",
    "instances",
    "clustered",
    "source_environment",
    "destination_environment",
    "network_map",
    "storage_mappings",
    "user_scripts",
    "notes",
    "shutdown_instances",
    "replication_count",
    "skip_os_morphing",
    "clone_disks",
    "last_execution_status",
    "message",
    "percent",
    "bytes_done",
    "bytes_total",
    "transfer_result",
    "reservation_id",
    "replica_id",
    "replica_scenario_type",
    "origin_minion_pool_id",
    "destination_minion_pool_id",
    "instance_osmorphing_minion_pool_mappings",
    "created_at",
    "updated_at",
    "deleted_at",
    "deleted",
}


def order(endpoints: Any, **fields: Any) -> dict[str, Any]:
    return {
        "migration": {
            "origin_endpoint_id": endpoints[0]["id"],
            "destination_endpoint_id": endpoints[1]["id"],
            "instances": ["null-0000001"],
            **fields,
        }
    }


def inline(**fields: Any) -> dict[str, Any]:
    return {
        "migration": {
            "origin": {"type": "null", "connection_info": {"instances": 3}},
            "destination": {
                "type": "null",
                "connection_info": {"seed": 4},
                "target_environment": {"network_map": {"a": "b"}},
            },
            "instances": ["null-0000001", "null-0000002"],
            **fields,
        }
    }


def create(api: TestApp, body: Any) -> dict[str, Any]:
    answer = api.post_json(f"{PREFIX}/migrations", body)
    assert answer.status_int == 200
    return dict(answer.json["migration"])


def refused(api: TestApp, body: Any, status: int = 400) -> dict[str, Any]:
    return error(api.post_json(f"{PREFIX}/migrations", body, expect_errors=True), status)


def test_create_with_endpoints(api: TestApp, endpoints: Any) -> None:
    mappings = {"default": "null-storage", "disk_mappings": [{"disk_id": "1", "destination": "x"}]}
    made = create(
        api,
        order(
            endpoints,
            network_map={"VM Network": "null-network"},
            storage_mappings=mappings,
            source_environment={"a": 1, "b": None, "c": {"d": None}},
            destination_environment=None,
            shutdown_instances=True,
            replication_count=3,
            notes="For a friend",
        ),
    )
    assert set(made) == KEYS | {"tasks", "execution_id"}
    assert made["base_id"] == made["id"]
    assert made["type"] == "migration"
    assert made["last_execution_status"] == "PENDING"
    assert made["source_environment"] == {"a": 1, "c": {}}
    assert made["destination_environment"] == {
        "network_map": {"VM Network": "null-network"},
        "storage_mappings": mappings,
    }
    assert (made["shutdown_instances"], made["replication_count"], made["notes"]) == (True, 3, "For a friend")
    assert made["tasks"] == []
    assert api.get(f"{PREFIX}/migrations/{made['id']}").json == {"migration": made}


def test_null_means_default(api: TestApp, endpoints: Any) -> None:
    fields = (
        "network_map",
        "storage_mappings",
        "user_scripts",
        "notes",
        "clone_disks",
        "skip_os_morphing",
        "shutdown_instances",
        "replication_count",
        "origin_minion_pool_id",
        "destination_minion_pool_id",
        "instance_osmorphing_minion_pool_mappings",
    )
    made = create(api, order(endpoints, **dict.fromkeys(fields)))
    assert (made["replication_count"], made["shutdown_instances"], made["skip_os_morphing"]) == (2, False, False)
    assert made["network_map"] == {}
    assert made["user_scripts"] == {"global": {}, "instances": {}}


def test_create_inline(api: TestApp, desk: Desk, db: Database) -> None:
    made = create(api, inline())
    assert made["network_map"] == {"a": "b"}
    assert made["destination_environment"]["network_map"] == {"a": "b"}
    assert made["clustered"] is True
    with db.reader() as conn:
        row = endpoints.get(conn, made["origin_endpoint_id"], PROJECT)
    assert row.hidden
    assert row.sealed is not None
    assert api.get(f"{PREFIX}/endpoints").json == {"endpoints": []}
    shown = api.get(f"{PREFIX}/endpoints/{made['origin_endpoint_id']}").json["endpoint"]
    assert shown["connection_info"] == {"instances": 3}


def test_inline_secret_reference(api: TestApp, desk: Desk, db: Database) -> None:
    body = inline()
    body["migration"]["origin"] = {"type": "null", "secret_ref": "http://barbican/1"}
    made = create(api, body)
    shown = api.get(f"{PREFIX}/endpoints/{made['origin_endpoint_id']}").json["endpoint"]
    assert shown["connection_info"] == {"secret_ref": "http://barbican/1"}


def test_scripts_are_stored_in_list_form_when_they_are_not_to_run(api: TestApp, endpoints: Any) -> None:
    scripts = {
        "global": {"linux": "echo 1\r\n", "windows": None},
        "instances": {"vm": [{"payload": "x", "phase": "replica_first_boot"}]},
    }
    content = refused(api, order(endpoints, user_scripts=scripts))
    assert content["field"] == "migration.user_scripts"
    made = create(api, order(endpoints, user_scripts=scripts, skip_os_morphing=True))
    assert made["user_scripts"] == {
        "global": {"linux": [{"phase": "osmorphing_post_os_mount", "payload": "echo 1\n"}]},
        "instances": {"vm": [{"phase": "replica_first_boot", "payload": "x"}]},
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"instances": []}, "migration.instances"),
        ({"instances": ["a", "a"]}, "migration.instances"),
        ({"instances": "a"}, "migration.instances"),
        ({"instances": [1]}, "migration.instances[0]"),
        ({"instances": [""]}, "migration.instances[0]"),
        ({"replication_count": 0}, "migration.replication_count"),
        ({"replication_count": 11}, "migration.replication_count"),
        ({"replication_count": True}, "migration.replication_count"),
        ({"shutdown_instances": "yes"}, "migration.shutdown_instances"),
        ({"network_map": []}, "migration.network_map"),
        ({"storage_mappings": {"extra": 1}}, "migration.storage_mappings.extra"),
        (
            {"storage_mappings": {"disk_mappings": [{"disk_id": "x"}]}},
            "migration.storage_mappings.disk_mappings[0].destination",
        ),
        ({"user_scripts": {"global": {"beos": "x"}}}, "migration.user_scripts.global.beos"),
        ({"user_scripts": {"global": {"linux": "  "}}}, "migration.user_scripts.global.linux"),
        ({"user_scripts": {"instances": {"a": [{"payload": "x", "phase": "never"}]}}}, None),
        ({"origin_endpoint_id": NOWHERE}, "migration.origin_endpoint_id"),
        ({"origin_endpoint_id": "x"}, "migration.origin_endpoint_id"),
        ({"destination_endpoint_id": None}, "migration.destination_endpoint_id"),
        ({"replica_id": NOWHERE}, "migration.replica_id"),
        ({"clone_disks": True}, "migration.clone_disks"),
        ({"origin_minion_pool_id": NOWHERE}, "migration.origin_minion_pool_id"),
        ({"surprise": 1}, "migration.surprise"),
    ],
)
def test_bad_creates_name_the_field(api: TestApp, endpoints: Any, change: dict[str, Any], field: str | None) -> None:
    content = refused(api, order(endpoints, **change))
    if field is not None:
        assert content["field"] == field
        assert field in content["message"]
    assert api.get(f"{PREFIX}/migrations").json == {"migrations": []}


def test_one_endpoint_is_not_both_sides(api: TestApp, endpoints: Any) -> None:
    refused(api, order((endpoints[0], endpoints[0])))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"origin": {"type": "nobody", "connection_info": {}}}, "migration.origin.type"),
        ({"origin": {"type": "null"}}, "migration.origin.connection_info"),
        (
            {"origin": {"type": "null", "connection_info": {"instances": "x"}}},
            "migration.origin.connection_info.instances",
        ),
        ({"origin": {"type": "null", "connection_info": {"wrong": 1}}}, "migration.origin.connection_info.wrong"),
        ({"origin": {"type": "null", "connection_info": {"instances": 1}, "secret_ref": "x"}}, "migration.origin"),
        ({"destination": None}, "migration.destination"),
        ({"origin_endpoint_id": NOWHERE}, "migration.origin_endpoint_id"),
    ],
)
def test_bad_inline_creates(api: TestApp, desk: Desk, change: dict[str, Any], field: str) -> None:
    assert refused(api, inline(**change))["field"] == field


def test_one_side_inline_alone_is_refused(api: TestApp, desk: Desk) -> None:
    body = inline()
    del body["migration"]["destination"]
    assert refused(api, body)["field"] == "migration.destination"


def test_without_a_worker(api: TestApp) -> None:
    assert refused(api, inline(), 503)["fault"] == "serviceUnavailable"


def test_a_repeated_create_is_one_job(api: TestApp, desk: Desk, db: Database) -> None:
    headers = {"Idempotency-Key": "00000000-aaaa"}
    first = api.post_json(f"{PREFIX}/migrations", inline(), headers=headers)
    again = api.post_json(f"{PREFIX}/migrations", inline(), headers=headers)
    assert (again.status_int, again.json) == (200, first.json)
    other = inline(notes="another")
    error(api.post_json(f"{PREFIX}/migrations", other, headers=headers, expect_errors=True), 409)
    with db.reader() as conn:
        from coriolis.store.paging import Page

        assert len(actions.page(conn, None, Page())) == 1


def test_list_filters_by_status(api: TestApp, db: Database, migration: dict[str, Any]) -> None:
    assert [m["id"] for m in api.get(f"{PREFIX}/migrations?status=PENDING").json["migrations"]] == [migration["id"]]
    both = api.get(f"{PREFIX}/migrations?status=COMPLETED&status=PENDING").json["migrations"]
    assert [m["id"] for m in both] == [migration["id"]]
    assert api.get(f"{PREFIX}/migrations?status=COMPLETED,DEADLOCKED").json == {"migrations": []}
    content = error(api.get(f"{PREFIX}/migrations?status=pending", expect_errors=True), 400)
    assert content["field"] == "status"
    listed = api.get(f"{PREFIX}/migrations/detail").json["migrations"][0]
    assert set(listed) == KEYS


@pytest.mark.parametrize("path", ["action", "actions", "actions.json"])
@pytest.mark.parametrize("value", [None, {}, {"force": False}, {"force": None}])
def test_cancel(api: TestApp, migration: dict[str, Any], path: str, value: Any) -> None:
    url = f"{PREFIX}/migrations/{migration['id']}"
    answer = api.post_json(f"{url}/{path}", {"cancel": value})
    assert (answer.status_int, answer.body) == (204, b"")
    assert api.get(url).json["migration"]["last_execution_status"] == "CANCELLING"
    error(api.post_json(f"{url}/{path}", {"cancel": None}, expect_errors=True), 400)
    assert api.post_json(f"{url}/{path}", {"cancel": {"force": True}}).status_int == 204


@pytest.mark.parametrize("body", [{}, {"pause": None}, {"cancel": None, "x": 1}, {"cancel": 5}, {"cancel": {"x": 1}}])
def test_unknown_actions(api: TestApp, migration: dict[str, Any], body: Any) -> None:
    error(api.post_json(f"{PREFIX}/migrations/{migration['id']}/actions", body, expect_errors=True), 400)


def test_delete_only_when_it_is_over(api: TestApp, db: Database, migration: dict[str, Any]) -> None:
    url = f"{PREFIX}/migrations/{migration['id']}"
    assert "PENDING" in error(api.delete(url, expect_errors=True), 400)["message"]
    grow(db, migration["id"])
    finish(db, migration["id"], "ERROR")
    error(api.post_json(f"{url}/actions", {"cancel": None}, expect_errors=True), 400)
    assert api.delete(url).status_int == 204
    error(api.get(url, expect_errors=True), 404)
    error(api.delete(url, expect_errors=True), 404)


# ---- below a migration -----------------------------------------------------------------------------------------


def test_show_has_the_tasks(api: TestApp, db: Database, migration: dict[str, Any]) -> None:
    grow(db, migration["id"])
    shown = api.get(f"{PREFIX}/migrations/{migration['id']}").json["migration"]["tasks"]
    assert [task["index"] for task in shown] == sorted(task["index"] for task in shown)
    assert shown[0]["task_type"] == "GET_INSTANCE_INFO"
    assert shown[0]["index"] == 1
    for task in shown:
        assert task["instance"] == "null-0000001"
        assert task["on_error"] is False
        assert [line["index"] for line in task["progress_updates"]] == [0, 1]
        assert [one["index"] for one in task["events"]] == [0, 1]
        assert all(isinstance(line["message"], str) for line in task["progress_updates"])
    hidden = {"DELETE_INSTANCE_SNAPSHOT"}
    assert not hidden & {task["task_type"] for task in shown}


def test_show_has_the_latest_events_of_each_task(api: TestApp, db: Database, migration: dict[str, Any]) -> None:
    grow(db, migration["id"], events_each=205)
    url = f"{PREFIX}/migrations/{migration['id']}"
    for task in api.get(url).json["migration"]["tasks"]:
        messages = [one["message"] for one in task["events"]]
        assert messages == [f"Event {number}" for number in range(5, 205)]
        assert api.get(f"{url}/tasks/{task['id']}").json["task"]["events"] == task["events"]


def pages(api: TestApp, url: str, key: str) -> list[Any]:
    found: list[Any] = []
    marker = ""
    while page := api.get(f"{url}?limit=3{marker}").json[key]:
        found += page
        marker = f"&marker={page[-1]['id']}"
    return found


def test_lists_below_a_migration(api: TestApp, db: Database, migration: dict[str, Any]) -> None:
    url = f"{PREFIX}/migrations/{migration['id']}"
    assert api.get(f"{url}/tasks").json == {"tasks": []}
    assert api.get(f"{url}/events").json == {"events": []}
    grow(db, migration["id"], items_each=7)
    shown = api.get(url).json["migration"]["tasks"]
    assert api.get(f"{url}/tasks").json["tasks"] == shown
    assert pages(api, f"{url}/tasks", "tasks") == shown
    assert api.get(f"{url}/tasks/{shown[2]['id']}").json == {"task": shown[2]}
    progress = f"{url}/tasks/{shown[2]['id']}/progress_updates"
    assert pages(api, progress, "progress_updates") == shown[2]["progress_updates"]
    history = pages(api, f"{url}/events", "events")
    assert [one["index"] for one in history] == list(range(len(history)))
    backwards = api.get(f"{url}/events?sort_dir=desc").json["events"]
    assert backwards == history[::-1]


@pytest.mark.parametrize("rest", ["", "/tasks", "/events", f"/tasks/{NOWHERE}", f"/tasks/{NOWHERE}/progress_updates"])
@pytest.mark.parametrize("key", [NOWHERE, "x", "%00", "%ff", "%C3%A4", "'", "..", "%2e%2e"])
def test_ids_of_nothing(api: TestApp, key: str, rest: str) -> None:
    answer = api.get(f"{PREFIX}/migrations/{key}{rest}", expect_errors=True)
    error(answer, 400 if key in ("%00", "%ff") else 404)


def test_costs_are_constant(api: TestApp, db: Database, desk: Desk) -> None:
    costs = []
    for instances in (1, 12):
        names = [f"null-{number:07d}" for number in range(1, instances + 1)]
        ids = [create(api, inline(instances=names))["id"] for _ in range(instances)]
        for key in ids:
            grow(db, key, items_each=instances)
        with db.counting() as statements:
            assert len(api.get(f"{PREFIX}/migrations?limit=100").json["migrations"]) >= instances
            listing = statements()
            assert len(api.get(f"{PREFIX}/migrations/{ids[0]}").json["migration"]["tasks"]) >= 5 * instances
            costs.append((listing, statements() - listing))
    assert costs == [(1, 5), (1, 5)]
