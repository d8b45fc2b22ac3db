# SPDX-License-Identifier: Apache-2.0
"""A dry run asks both platforms and makes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from coriolis.providers import registry
from coriolis.providers.fake.cloud import Cloud
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.store import sessions
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, Desk
from tests.functional.test_transfers import finish

Ends = tuple[dict[str, Any], dict[str, Any]]

_SESSION = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def clouds(tmp_path: Path) -> tuple[Cloud, Cloud]:
    source = Cloud.create(tmp_path / "source")
    source.add_instance("web-1", disk_sizes=(3 << 20, 1 << 20))
    return source, Cloud.create(tmp_path / "destination")


@pytest.fixture
def order(api: TestApp, db: Database, bus: LocalBus, desk: Desk, clouds: tuple[Cloud, Cloud]) -> dict[str, Any]:
    with db.writer() as conn:
        capabilities = sorted(str(one) for one in registry.load("fake").capabilities)
        sessions.start(
            conn,
            _SESSION,
            host="here",
            pid=2,
            regions=[],
            providers={"fake": capabilities},
            slots=2,
            release="0",
            now=db.utcnow(),
        )
    bus.serve(messages.WORKER, _SESSION, {"provider": desk})
    ids = [
        api.post_json(
            f"{PREFIX}/endpoints",
            {"endpoint": {"name": "e", "type": "fake", "connection_info": {"path": str(cloud.path)}}},
        ).json["endpoint"]["id"]
        for cloud in clouds
    ]
    return {
        "origin_endpoint_id": ids[0],
        "destination_endpoint_id": ids[1],
        "instances": ["web-1"],
        "network_map": {"net-a": "net-b"},
    }


def held(cloud: Cloud) -> dict[str, Any]:
    """All but the count of calls."""
    return {key: value for key, value in cloud.read().items() if key != "calls"}


def test_it_tells_the_plan_and_makes_nothing(api: TestApp, order: dict[str, Any], clouds: tuple[Cloud, Cloud]) -> None:
    before = [held(cloud) for cloud in clouds]
    told = api.post_json(f"{PREFIX}/migrations?dry_run=true", {"migration": order}).json["dry_run"]
    assert (told["possible"], told["recipe"], told["size_bytes"]) == (True, "migrate", 4 << 20)
    (line,) = told["instances"]
    assert (line["instance"], line["possible"], line["concerns"]) == ("web-1", True, [])
    assert [disk["size_bytes"] for disk in line["disks"]] == [3 << 20, 1 << 20]
    assert all(disk["destination"] for disk in line["disks"])
    assert [(nic["source"], nic["destination"]) for nic in line["networks"]] == [("net-a", "net-b")]
    assert line["tasks"][0] == {"name": "inspect", "task_type": "GET_INSTANCE_INFO"}
    assert line["export_info"]["name"] == "web-1"
    assert api.get(f"{PREFIX}/migrations").json["migrations"] == []
    assert [held(cloud) for cloud in clouds] == before


def test_every_instance_has_its_own_concerns(api: TestApp, order: dict[str, Any]) -> None:
    order = {**order, "instances": ["web-1", "nobody"], "network_map": {}}
    told = api.post_json(f"{PREFIX}/migrations?dry_run=true", {"migration": order}).json["dry_run"]
    assert told["possible"] is False
    web, nobody = told["instances"]
    assert [(one["side"], one["blocking"]) for one in nobody["concerns"]] == [("source", True)]
    assert "nobody" in nobody["concerns"][0]["message"]
    assert nobody["layout"] is None
    assert [one["side"] for one in web["concerns"]] in ([], ["destination"])


def test_instances_that_fit_each_but_not_together_are_told(
    api: TestApp, order: dict[str, Any], clouds: tuple[Cloud, Cloud], tmp_path: Path
) -> None:
    clouds[0].add_instance("web-2", disk_sizes=(2 << 20,))
    small = Cloud.create(tmp_path / "small", quota_bytes=5 << 20)
    body = {"name": "small", "type": "fake", "connection_info": {"path": str(small.path)}}
    order["destination_endpoint_id"] = api.post_json(f"{PREFIX}/endpoints", {"endpoint": body}).json["endpoint"]["id"]

    def told(*instances: str) -> Any:
        wish = {"migration": {**order, "instances": instances}}
        return api.post_json(f"{PREFIX}/migrations?dry_run=true", wish).json["dry_run"]

    assert [told(one)["possible"] for one in ("web-1", "web-2")] == [True, True]
    both = told("web-1", "web-2")
    assert both["possible"] is False
    assert [line["possible"] for line in both["instances"]] == [True, True]
    (concern,) = both["concerns"]
    assert (concern["code"], concern["side"], concern["blocking"]) == ("destination.room", "destination", True)
    assert concern["message"].startswith(
        f"volume quota: {6 << 20} bytes needed by 2 instances together, {5 << 20} bytes free"
    )


def test_bad_orders_are_refused_as_ever(api: TestApp, order: dict[str, Any]) -> None:
    api.post_json(f"{PREFIX}/migrations?dry_run=true", {"migration": {**order, "instances": []}}, status=400)
    many = {**order, "instances": [f"vm-{n}" for n in range(51)]}
    answer = api.post_json(f"{PREFIX}/migrations?dry_run=true", {"migration": many}, status=400)
    assert "at most 50" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"destination_endpoint_id": "origin_endpoint_id"}, "different"),
        ({"destination_minion_pool_id": "99999999-9999-4999-8999-999999999999"}, "minion pool"),
        ({"user_scripts": {"global": {"linux": "echo"}}}, "skip_os_morphing"),
    ],
)
def test_what_a_create_would_refuse_is_a_concern(
    api: TestApp, order: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    wish = {"migration": {**order, **{name: order.get(str(value), value) for name, value in change.items()}}}
    told = api.post_json(f"{PREFIX}/migrations?dry_run=true", wish).json["dry_run"]
    assert told["possible"] is False
    assert [(one["side"], one["blocking"]) for one in told["concerns"]] == [("service", True)]
    refused = api.post_json(f"{PREFIX}/migrations", wish, status=400).json["error"]
    assert told["concerns"][0]["message"] == refused["message"]
    assert told["concerns"][0]["code"] == refused["reason"]
    assert words in refused["message"]


def test_of_a_deployment(api: TestApp, db: Database, endpoints: Ends) -> None:
    body = {
        "transfer": {
            "origin_endpoint_id": endpoints[0]["id"],
            "destination_endpoint_id": endpoints[1]["id"],
            "instances": ["null-0000001"],
        }
    }
    key = api.post_json(f"{PREFIX}/transfers", body).json["transfer"]["id"]
    path, wish = f"{PREFIX}/deployments?dry_run=true", {"deployment": {"transfer_id": key}}
    told = api.post_json(path, wish).json["dry_run"]
    assert told["possible"] is False
    assert "execute it first" in told["concerns"][0]["message"]
    api.post_json(f"{PREFIX}/transfers/{key}/executions", {})
    told = api.post_json(path, wish).json["dry_run"]
    assert "transfer.busy" in [one["code"] for one in told["concerns"]]
    finish(db, key)
    told = api.post_json(path, wish).json["dry_run"]
    assert told["concerns"] == []
    assert told["recipe"] == "deploy_clones"
    scripts = {"deployment": {"transfer_id": key, "user_scripts": {"global": {"linux": "echo"}}}}
    (concern,) = api.post_json(path, scripts).json["dry_run"]["concerns"]
    assert "skip_os_morphing" in concern["message"]
    assert "CLONE_TRANSFER_DISKS" in [task["task_type"] for task in told["instances"][0]["tasks"]]
    assert api.get(f"{PREFIX}/deployments").json["deployments"] == []
