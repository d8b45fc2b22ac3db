# SPDX-License-Identifier: Apache-2.0
"""Transfers, executions and deployments over HTTP; tests/unit/commands has what follows from them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from webtest import TestApp

from coriolis.store import actions, executions, replicas
from coriolis.store.engine import Database
from coriolis.store.rows import Replica
from tests.functional.desk import PREFIX

Ends = tuple[dict[str, Any], dict[str, Any]]


def order(endpoints: Ends, **more: Any) -> dict[str, Any]:
    return {
        "transfer": {
            "origin_endpoint_id": endpoints[0]["id"],
            "destination_endpoint_id": endpoints[1]["id"],
            "instances": ["null-0000001"],
            **more,
        }
    }


@pytest.fixture
def transfer(api: TestApp, endpoints: Ends) -> dict[str, Any]:
    return dict(api.post_json(f"{PREFIX}/transfers", order(endpoints)).json["transfer"])


@pytest.fixture
def execution(api: TestApp, transfer: dict[str, Any]) -> dict[str, Any]:
    return dict(api.post_json(f"{PREFIX}/transfers/{transfer['id']}/executions", {}).json["execution"])


def finish(db: Database, action_id: str, status: str = "COMPLETED", *, whole: bool = True) -> None:
    """Ends the latest run of a job as a conductor would, with what it leaves of a replica."""
    with db.writer() as conn:
        run = executions.latest(conn, [action_id])[action_id]
        now = db.utcnow()
        executions.update(conn, [{"b_id": run.id, "state": status, "finished_at": now, "updated_at": now}])
        executions.turn_instances(conn, [run.id], status, None, now)
        actions.update(conn, [{"b_id": action_id, "last_execution_status": status, "updated_at": now}])
        if run.type == "transfer_execution" and whole:
            one = Replica(
                transfer_id=action_id,
                position=0,
                instance="null-0000001",
                volumes=[{"disk_id": "disk-0", "ref": "v", "size_bytes": 1}],
                complete=True,
                vm={"id": "x", "name": "null-0000001", "devices": {"disks": [], "nics": []}},
                layout={},
                snapshot=None,
                digest={},
                execution_id=run.id,
                updated_at=now,
            )
            replicas.put(conn, [one])


def test_a_new_transfer_has_every_key_of_the_contract(api: TestApp, transfer: dict[str, Any]) -> None:
    keys = """base_id id user_id project_id type scenario instances origin_endpoint_id destination_endpoint_id
        source_environment destination_environment network_map storage_mappings notes user_scripts clone_disks
        skip_os_morphing clustered reservation_id transfer_result last_execution_status origin_minion_pool_id
        destination_minion_pool_id instance_osmorphing_minion_pool_mappings executions created_at updated_at deleted_at
        deleted"""
    assert set(keys.split()) <= transfer.keys()
    assert transfer["base_id"] == transfer["id"]
    assert (transfer["type"], transfer["scenario"], transfer["deleted"]) == ("transfer", "replica", "0")
    assert (transfer["last_execution_status"], transfer["executions"]) == ("UNEXECUTED", [])
    assert (transfer["clone_disks"], transfer["skip_os_morphing"], transfer["clustered"]) == (True, False, False)
    assert "info" not in transfer
    path = f"{PREFIX}/transfers/{transfer['id']}"
    assert api.get(path).json["transfer"] == transfer
    for listing in ("transfers", "transfers/detail", "transfers.json"):
        assert api.get(f"{PREFIX}/{listing}").json["transfers"] == [transfer]
    assert api.get(f"{path}?include_task_info=true").json["transfer"]["info"] == {"null-0000001": {}}


def test_maps_are_shown_inside_the_environment_too(api: TestApp, endpoints: Ends) -> None:
    more = {
        "scenario": "live_migration",
        "notes": "Überführung 🚚",
        "network_map": {"a": "b"},
        "storage_mappings": {"default": "d", "disk_mappings": [{"disk_id": "1", "destination": "x"}]},
        "clone_disks": None,
        "skip_os_morphing": None,
        "user_scripts": {"global": {"linux": "echo"}, "instances": {}},
        "instance_osmorphing_minion_pool_mappings": None,
        "a_field_of_a_console": 1,
    }
    made = api.post_json(f"{PREFIX}/transfers", order(endpoints, **more)).json["transfer"]
    assert made["destination_environment"] == {
        "network_map": more["network_map"],
        "storage_mappings": more["storage_mappings"],
    }
    assert (made["clone_disks"], made["skip_os_morphing"], made["scenario"]) == (True, False, "live_migration")
    assert made["user_scripts"]["global"]["linux"] == [{"phase": "osmorphing_post_os_mount", "payload": "echo"}]
    again = order(endpoints, destination_environment=made["destination_environment"])
    assert api.post_json(f"{PREFIX}/transfers", again).json["transfer"]["network_map"] == {"a": "b"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin_endpoint_id": str(uuid.uuid4())}, "no endpoint"),
        ({"origin_endpoint_id": "x"}, "no endpoint"),
        ({"instances": []}, "instances"),
        ({"instances": ["a", "a"]}, "instances"),
        ({"scenario": "other"}, "scenario"),
        ({"storage_mappings": {"x": 1}}, "storage_mappings"),
        ({"destination_environment": {"network_map": 1}}, "network_map"),
        ({"origin_minion_pool_id": str(uuid.uuid4())}, "minion pool"),
        ({"user_scripts": {"global": {"dos": "x"}}}, "user_scripts"),
        ({"source_environment": "nonsense"}, "source_environment"),
    ],
)
def test_bad_creates_name_their_field(api: TestApp, endpoints: Ends, change: dict[str, Any], words: str) -> None:
    answer = api.post_json(f"{PREFIX}/transfers", order(endpoints, **change), status=400)
    assert words in answer.json["error"]["message"]
    assert api.get(f"{PREFIX}/transfers").json["transfers"] == []


def test_a_transfer_needs_two_endpoints(api: TestApp, endpoints: Ends) -> None:
    same = order((endpoints[0], endpoints[0]))
    assert "different" in api.post_json(f"{PREFIX}/transfers", same, status=400).json["error"]["message"]
    api.post_json(f"{PREFIX}/transfers", {"transfer": {}}, status=400)
    api.post_json(f"{PREFIX}/transfers", {}, status=400)


def test_an_execution_is_shown_at_once_with_its_tasks(api: TestApp, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}/executions"
    body = {"execution": {"shutdown_instances": True, "auto_deploy": False, "title": "x"}}
    made = api.post_json(path, body).json["execution"]
    keys = "id action_id status number type tasks created_at updated_at deleted_at deleted"
    assert set(keys.split()) <= made.keys()
    assert (made["status"], made["number"], made["type"]) == ("RUNNING", 1, "transfer_execution")
    assert made["action_id"] == transfer["id"]
    kinds = [task["task_type"] for task in made["tasks"]]
    assert kinds[:3] == ["GET_INSTANCE_INFO", "VALIDATE_TRANSFER_SOURCE_INPUTS", "VALIDATE_TRANSFER_DESTINATION_INPUTS"]
    assert {"DEPLOY_TRANSFER_DISKS", "SHUTDOWN_INSTANCE", "REPLICATE_DISKS"} <= set(kinds)
    assert [task["index"] for task in made["tasks"]] == sorted(task["index"] for task in made["tasks"])
    assert api.get(f"{path}/{made['id']}").json["execution"] == made
    assert api.get(path).json["executions"] == api.get(f"{path}/detail").json["executions"] == [made]
    assert api.get(f"{path}?status=RUNNING").json["executions"] == [made]
    for word in ("ERROR", "PENDING", "UNEXECUTED", "DEADLOCKED"):
        assert api.get(f"{path}?status={word}").json["executions"] == []
    api.get(f"{path}?status=NONSENSE", status=400)
    shown = api.get(f"{PREFIX}/transfers/{transfer['id']}").json["transfer"]
    assert (shown["last_execution_status"], shown["executions"]) == ("RUNNING", [])
    (listed,) = api.get(f"{PREFIX}/transfers?include_task_info=true").json["transfers"]
    assert [one["id"] for one in listed["executions"]] == [made["id"]]
    assert listed["executions"][0]["tasks"]


@pytest.mark.parametrize("body", [None, {}, {"execution": None}, {"auto_deploy": False}, {"execution": {}}])
def test_every_form_of_an_empty_execution(api: TestApp, transfer: dict[str, Any], body: Any) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}/executions"
    if body is None:
        api.post(path, headers={"Content-Type": "application/json"}, status=200)
    else:
        api.post_json(path, body, status=200)


def test_plural_sort_names_of_a_console(api: TestApp, db: Database, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}/executions"
    for _ in range(3):
        api.post_json(path, {})
        finish(db, transfer["id"])
    query = "?limit=2&sort_keys=number&sort_dirs=desc"
    first = api.get(path + query).json["executions"]
    assert [one["number"] for one in first] == [3, 2]
    assert [one["number"] for one in api.get(f"{path}{query}&marker={first[1]['id']}").json["executions"]] == [1]
    assert [one["number"] for one in api.get(path).json["executions"]] == [3, 2, 1]


def test_cancel_and_delete_of_an_execution(
    api: TestApp, db: Database, transfer: dict[str, Any], execution: dict[str, Any]
) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}/executions/{execution['id']}"
    api.delete(path, status=400)
    for body in ({}, {"cancel": None, "retry": None}, {"other": None}):
        api.post_json(f"{path}/actions", body, status=400)
    api.post_json(f"{path}/actions", {"retry": None}, status=400)
    assert api.post_json(f"{path}/actions", {"cancel": None}, status=204).body == b""
    assert api.get(path).json["execution"]["status"] == "CANCELLING"
    api.post_json(f"{path}/actions", {"cancel": {"force": False}}, status=400)
    api.post_json(f"{path}/action", {"cancel": {"force": True}}, status=204)
    finish(db, transfer["id"], "CANCELED", whole=False)
    api.post_json(f"{path}/actions", {"cancel": None}, status=400)
    api.delete(path, status=204)
    api.get(path, status=404)
    again = api.post_json(f"{PREFIX}/transfers/{transfer['id']}/executions", {}).json["execution"]
    assert again["number"] == 2, "deleted ones count"


def test_a_retry_answers_with_the_new_execution(
    api: TestApp, db: Database, transfer: dict[str, Any], execution: dict[str, Any]
) -> None:
    finish(db, transfer["id"], "ERROR", whole=False)
    path = f"{PREFIX}/transfers/{transfer['id']}/executions/{execution['id']}/actions"
    made = api.post_json(path, {"retry": None}, status=200).json["execution"]
    assert (made["number"], made["status"], made["type"]) == (2, "RUNNING", "transfer_execution")


def test_what_runs_is_left_alone(api: TestApp, transfer: dict[str, Any], execution: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}"
    api.post_json(f"{path}/executions", {}, status=400)
    api.post_json(f"{path}/actions", {"delete-disks": None}, status=400)
    api.put_json(path, {"transfer": {"notes": "x"}}, status=400)
    api.delete(path, status=400)
    api.post_json(f"{PREFIX}/deployments", {"deployment": {"transfer_id": transfer["id"]}}, status=400)
    endpoint = f"{PREFIX}/endpoints/{transfer['origin_endpoint_id']}"
    assert "transfer" in api.delete(endpoint, status=403).json["error"]["message"]


def test_an_update_is_an_execution(api: TestApp, db: Database, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}"
    body = {"transfer": {"notes": "new", "network_map": {"a": "b"}, "user_scripts": {"global": {}, "instances": {}}}}
    made = api.put_json(path, body).json["execution"]
    assert (made["type"], made["status"]) == ("transfer_update", "RUNNING")
    assert "UPDATE_DESTINATION_TRANSFER" in [task["task_type"] for task in made["tasks"]]
    assert "updat" in api.put_json(path, body, status=409).json["error"]["message"]
    assert api.get(path).json["transfer"]["notes"] is None


@pytest.mark.parametrize("name", ["origin_endpoint_id", "destination_endpoint_id", "instances", "scenario"])
def test_an_update_may_not_name_everything(api: TestApp, transfer: dict[str, Any], name: str) -> None:
    body = {"transfer": {name: transfer[name]}}
    assert name in api.put_json(f"{PREFIX}/transfers/{transfer['id']}", body, status=400).json["error"]["message"]


def test_scripts_are_updated_at_once_and_null_removes(api: TestApp, db: Database, endpoints: Ends) -> None:
    scripts = {"global": {"linux": "a", "windows": "b"}, "instances": {}}
    made = api.post_json(f"{PREFIX}/transfers", order(endpoints, user_scripts=scripts)).json["transfer"]
    path = f"{PREFIX}/transfers/{made['id']}"
    api.put_json(path, {"transfer": {"user_scripts": {"global": {"linux": None}, "instances": {"vm": "c"}}}})
    shown = api.get(path).json["transfer"]["user_scripts"]
    assert (list(shown["global"]), list(shown["instances"])) == (["windows"], ["vm"])


def test_delete_disks_without_disks(api: TestApp, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}/actions"
    assert "no disks" in api.post_json(path, {"delete-disks": None}, status=400).json["error"]["message"]
    api.post_json(path, {"nonsense": None}, status=400)


def test_a_deleted_transfer_is_listed_on_demand(api: TestApp, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}"
    api.delete(path, status=204)
    api.get(path, status=404)
    api.delete(path, status=404)
    assert api.get(f"{PREFIX}/transfers").json["transfers"] == []
    (shown,) = api.get(f"{PREFIX}/transfers?show_deleted=true").json["transfers"]
    assert shown["deleted"] == transfer["id"]
    assert shown["deleted_at"] is not None
    api.delete(f"{PREFIX}/endpoints/{transfer['origin_endpoint_id']}", status=204)


def test_a_deployment(api: TestApp, db: Database, transfer: dict[str, Any], execution: dict[str, Any]) -> None:
    finish(db, transfer["id"])
    body = {"deployment": {"transfer_id": transfer["id"], "clone_disks": None, "skip_os_morphing": None, "force": None}}
    made = api.post_json(f"{PREFIX}/deployments", body).json["deployment"]
    keys = """base_id id user_id project_id type instances transfer_id transfer_scenario_type deployer_id trust_id tasks
        last_execution_status notes origin_endpoint_id destination_endpoint_id transfer_result created_at updated_at
        reservation_id origin_minion_pool_id destination_minion_pool_id clone_disks skip_os_morphing deleted"""
    assert set(keys.split()) <= made.keys()
    assert "executions" not in made
    assert (made["type"], made["last_execution_status"], made["transfer_id"]) == (
        "deployment",
        "RUNNING",
        transfer["id"],
    )
    assert made["clone_disks"] is True
    assert {"VALIDATE_DEPLOYMENT_INPUTS", "FINALIZE_INSTANCE_DEPLOYMENT"} <= {t["task_type"] for t in made["tasks"]}
    path = f"{PREFIX}/deployments/{made['id']}"
    assert api.get(path).json["deployment"] == made
    (listed,) = api.get(f"{PREFIX}/deployments").json["deployments"]
    assert listed["executions"] == []
    assert "tasks" not in listed
    (listed,) = api.get(f"{PREFIX}/deployments/detail?include_task_info=true").json["deployments"]
    assert listed["tasks"] == made["tasks"]
    assert listed["info"]["null-0000001"]["export_info"]["devices"] == {"disks": [], "nics": []}
    api.post_json(f"{PREFIX}/deployments", body, status=400)
    api.post_json(f"{PREFIX}/transfers/{transfer['id']}/executions", {}, status=400)
    api.delete(path, status=400)
    api.post_json(f"{path}/actions", {"cancel": {"force": True}}, status=204)
    finish(db, made["id"], "CANCELED")
    again = api.post_json(f"{path}/actions", {"retry": None}, status=200).json["deployment"]
    assert again["last_execution_status"] == "RUNNING"
    finish(db, made["id"])
    api.delete(path, status=204)
    api.get(path, status=404)
    assert api.get(f"{PREFIX}/deployments?show_deleted=1").json["deployments"][0]["deleted"] == made["id"]


def test_what_a_deployment_needs(api: TestApp, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/deployments"
    for key in (str(uuid.uuid4()), "x"):
        api.post_json(path, {"deployment": {"transfer_id": key}}, status=404)
    empty: tuple[dict[str, Any], ...] = ({}, {"deployment": {}}, {"deployment": {"transfer_id": 1}})
    for body in empty:
        api.post_json(path, body, status=400)
    body = {"deployment": {"transfer_id": transfer["id"]}}
    assert "execute it first" in api.post_json(path, body, status=400).json["error"]["message"]
    body["deployment"]["user_scripts"] = {"global": {"linux": "x"}}
    assert "skip_os_morphing" in api.post_json(path, body, status=400).json["error"]["message"]


def test_an_automatic_deployment_is_pending(api: TestApp, db: Database, transfer: dict[str, Any]) -> None:
    path = f"{PREFIX}/transfers/{transfer['id']}/executions"
    run = api.post_json(path, {"execution": {"auto_deploy": True}}).json["execution"]
    (waiting,) = api.get(f"{PREFIX}/deployments?status=PENDING").json["deployments"]
    assert (waiting["deployer_id"], waiting["last_execution_status"]) == (run["id"], "PENDING")
    one = f"{PREFIX}/deployments/{waiting['id']}"
    assert api.get(one).json["deployment"]["tasks"] == []
    api.post_json(f"{one}/actions", {"cancel": None}, status=204)
    assert api.get(one).json["deployment"]["last_execution_status"] == "CANCELED"
    api.delete(one, status=204)


def test_an_automatic_deployment_drops_no_scripts(api: TestApp, endpoints: Ends) -> None:
    """It would have to run the transfer's: as one that is asked for, it is refused, and nothing begins."""
    scripts = {"global": {"linux": "echo"}, "instances": {}}
    made = api.post_json(f"{PREFIX}/transfers", order(endpoints, user_scripts=scripts)).json["transfer"]
    path = f"{PREFIX}/transfers/{made['id']}/executions"
    refused = api.post_json(path, {"execution": {"auto_deploy": True}}, status=400).json["error"]
    assert refused["field"] == "execution.auto_deploy"
    assert "skip_os_morphing" in refused["message"]
    assert api.get(path).json["executions"] == api.get(f"{PREFIX}/deployments").json["deployments"] == []
    api.post_json(path, {"execution": {"auto_deploy": False}}, status=200)
    skips = order(endpoints, user_scripts=scripts, skip_os_morphing=True)
    made = api.post_json(f"{PREFIX}/transfers", skips).json["transfer"]
    api.post_json(f"{PREFIX}/transfers/{made['id']}/executions", {"execution": {"auto_deploy": True}}, status=200)
    (waiting,) = api.get(f"{PREFIX}/deployments").json["deployments"]
    assert (waiting["user_scripts"], waiting["skip_os_morphing"]) == (made["user_scripts"], True)


def test_the_same_key_gives_the_same_thing(api: TestApp, endpoints: Ends) -> None:
    headers = {"Idempotency-Key": "one"}
    made = [
        api.post_json(f"{PREFIX}/transfers", order(endpoints), headers=headers).json["transfer"]["id"] for _ in range(2)
    ]
    assert made[0] == made[1]
    api.post_json(f"{PREFIX}/transfers", order(endpoints, notes="x"), headers=headers, status=409)
    path = f"{PREFIX}/transfers/{made[0]}/executions"
    runs = [api.post_json(path, {}, headers={"Idempotency-Key": "two"}).json["execution"]["id"] for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_retried_migration_runs_what_is_left(api: TestApp, db: Database, migration: dict[str, Any]) -> None:
    path = f"{PREFIX}/migrations/{migration['id']}/actions"
    api.post_json(path, {"retry": None}, status=400)
    finish(db, migration["id"], "ERROR")
    made = api.post_json(path, {"retry": None}, status=200).json["migration"]
    assert made["last_execution_status"] == "PENDING"
    assert made["execution_id"] != migration["execution_id"]
