# SPDX-License-Identifier: Apache-2.0
"""Regions, services and diagnostics: what administrators see of where work is done."""

from __future__ import annotations

from typing import Any

import pytest
from webtest import TestApp

from coriolis.commands.presence import Presence
from coriolis.conductor import ingest
from coriolis.rpc.messages import Register
from coriolis.store import sessions
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, Desk
from tests.functional.test_frame import NOWHERE, error

CAPABILITIES = {"null": ["inventory", "networks", "a-newer-one"]}


def region(api: TestApp, name: str = "north", **more: Any) -> dict[str, Any]:
    return dict(api.post_json(f"{PREFIX}/regions", {"region": {"name": name, **more}}).json["region"])


def register(db: Database, host: str = "worker-1", *regions: str) -> str:
    """A worker comes; gives its session."""
    request = Register(
        host=host, pid=7, regions=regions, providers=CAPABILITIES, specs={"hostname": host, "packages": ["a==1"]}
    )
    return ingest.register(db, request, lease_seconds=30.0, sync_seconds=5.0).session_id


def service(api: TestApp, host: str = "worker-1") -> dict[str, Any]:
    (found,) = [one for one in api.get(f"{PREFIX}/services").json["services"] if one["host"] == host]
    return dict(found)


class TestRegions:
    def test_life(self, api: TestApp) -> None:
        made = region(api, description=None)
        assert made == {
            **made,
            "name": "north",
            "description": "",
            "enabled": True,
            "mapped_endpoints": [],
            "mapped_services": [],
            "updated_at": None,
            "deleted": "0",
        }
        path = f"{PREFIX}/regions/{made['id']}"
        changed = api.put_json(path, {"region": {"enabled": False, "name": 'N\u00f6rth \U0001f9ed/"', "id": "x"}}).json[
            "region"
        ]
        assert (changed["enabled"], changed["name"], changed["id"]) == (False, 'N\u00f6rth \U0001f9ed/"', made["id"])
        assert changed["updated_at"] is not None
        assert api.get(path).json["region"] == changed
        assert api.get(f"{PREFIX}/regions").json["regions"] == [changed]
        assert api.delete(path).status_int == 204
        error(api.get(path, expect_errors=True), 404)
        error(api.delete(path, expect_errors=True), 404)

    def test_a_list_costs_the_same_however_long(self, api: TestApp, db: Database) -> None:
        def count() -> int:
            with db.counting() as counted:
                api.get(f"{PREFIX}/regions")
            return counted()

        region(api)
        few = count()
        for number in range(10):
            region(api, f"r{number}")
        assert count() == few == 3

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "region.name"),
            ({"name": ""}, "region.name"),
            ({"name": "n" * 256}, "region.name"),
            ({"name": 1}, "region.name"),
            ({"name": "n", "enabled": "yes"}, "region.enabled"),
            ({"name": "n", "colour": "red"}, "region.colour"),
        ],
    )
    def test_bad_bodies(self, api: TestApp, body: dict[str, Any], field: str) -> None:
        answer = api.post_json(f"{PREFIX}/regions", {"region": body}, expect_errors=True)
        assert error(answer, 400)["field"] == field

    def test_a_create_that_is_sent_again(self, api: TestApp) -> None:
        headers = {"Idempotency-Key": "k1"}
        body = {"region": {"name": "once"}}
        first, second = (api.post_json(f"{PREFIX}/regions", body, headers=headers).json for _ in range(2))
        assert first == second
        other = {"region": {"name": "other"}}
        error(api.post_json(f"{PREFIX}/regions", other, headers=headers, expect_errors=True), 409)

    def test_endpoints_map_to_regions_that_exist(self, api: TestApp, desk: Desk) -> None:
        made = region(api)
        body = {"endpoint": {"name": "e", "type": "null", "connection_info": {}, "mapped_regions": [NOWHERE]}}
        assert error(api.post_json(f"{PREFIX}/endpoints", body, expect_errors=True), 404)["field"] == "mapped_regions"
        body["endpoint"]["mapped_regions"] = [made["id"]]
        endpoint = api.post_json(f"{PREFIX}/endpoints", body).json["endpoint"]
        assert endpoint["mapped_regions"] == [made["id"]]
        path = f"{PREFIX}/endpoints/{endpoint['id']}"
        error(api.put_json(path, {"endpoint": {"mapped_regions": [NOWHERE]}}, expect_errors=True), 404)
        assert api.get(f"{PREFIX}/regions/{made['id']}").json["region"]["mapped_endpoints"] == [endpoint["id"]]
        assert endpoint["id"] in error(api.delete(f"{PREFIX}/regions/{made['id']}", expect_errors=True), 409)["message"]
        api.put_json(path, {"endpoint": {"mapped_regions": None}})
        assert api.delete(f"{PREFIX}/regions/{made['id']}").status_int == 204

    def test_an_endpoint_in_a_disabled_region_cannot_be_asked(self, api: TestApp, desk: Desk) -> None:
        made = region(api)
        info = {"name": "e", "type": "null", "connection_info": {}, "mapped_regions": [made["id"]]}
        endpoint = api.post_json(f"{PREFIX}/endpoints", {"endpoint": info}).json["endpoint"]
        path = f"{PREFIX}/endpoints/{endpoint['id']}/networks"
        assert api.get(path).json["networks"]
        api.put_json(f"{PREFIX}/regions/{made['id']}", {"region": {"enabled": False}})
        assert "region" in error(api.get(path, expect_errors=True), 503)["message"]


class TestServices:
    def test_a_worker_makes_its_service(self, api: TestApp, db: Database) -> None:
        north = region(api)
        register(db, "worker-1", "north", "south")
        found = service(api)
        assert found == {
            **found,
            "host": "worker-1",
            "binary": "coriolis-worker",
            "topic": "coriolis_worker",
            "enabled": True,
            "status": "UP",
            "specs": {"hostname": "worker-1", "packages": ["a==1"]},
        }
        assert found["providers"] == {"null": {"types": [16, 32, 128, 2097152]}}
        south = next(one for one in api.get(f"{PREFIX}/regions").json["regions"] if one["name"] == "south")
        assert found["mapped_regions"] == [north["id"], south["id"]]
        assert south["mapped_services"] == [found["id"]]
        assert api.get(f"{PREFIX}/services/{found['id']}").json["service"] == found

    def test_what_an_administrator_maps_survives_a_restart_but_not_a_new_configuration(
        self, api: TestApp, db: Database
    ) -> None:
        register(db, "worker-1", "north")
        first = service(api)
        east = region(api, "east")
        body = {"service": {"mapped_regions": [east["id"]]}}
        assert api.put_json(f"{PREFIX}/services/{first['id']}", body).json["service"]["mapped_regions"] == [east["id"]]
        register(db, "worker-1", "north")
        assert service(api)["mapped_regions"] == [east["id"]]
        register(db, "worker-1", "west")
        west = next(one for one in api.get(f"{PREFIX}/regions").json["regions"] if one["name"] == "west")
        assert service(api)["mapped_regions"] == [west["id"]]

    def test_up_and_down(self, api: TestApp, db: Database) -> None:
        session_id = register(db)
        assert service(api)["status"] == "UP"
        path = f"{PREFIX}/services/{service(api)['id']}"
        assert "connected" in error(api.delete(path, expect_errors=True), 409)["message"]
        db.write(sessions.end, [session_id], db.utcnow())
        assert service(api)["status"] == "DOWN"
        assert service(api)["providers"]
        assert api.delete(path).status_int == 204
        error(api.get(path, expect_errors=True), 404)

    def test_a_host_may_be_known_beforehand(self, api: TestApp, db: Database) -> None:
        made = region(api)
        body = {
            "host": "tomorrow",
            "binary": "coriolis-worker",
            "topic": "coriolis_worker",
            "enabled": False,
            "mapped_regions": [made["id"]],
        }
        new = api.post_json(f"{PREFIX}/services", {"service": body}).json["service"]
        assert new == {**new, **body, "status": "UNKNOWN", "providers": {}, "specs": {}}
        error(api.post_json(f"{PREFIX}/services", {"service": body}, expect_errors=True), 409)
        register(db, "tomorrow")
        assert service(api, "tomorrow") == {**service(api, "tomorrow"), "id": new["id"], **body, "status": "UP"}
        body = {**body, "host": "other", "mapped_regions": [NOWHERE]}
        error(api.post_json(f"{PREFIX}/services", {"service": body}, expect_errors=True), 404)

    def test_a_disabled_service_serves_nothing(self, api: TestApp, db: Database) -> None:
        register(db)
        path = f"{PREFIX}/services/{service(api)['id']}"
        assert api.get(f"{PREFIX}/providers").json["providers"]
        assert api.put_json(path, {"service": {"enabled": False, "host": "x"}}).json["service"]["host"] == "worker-1"
        assert api.get(f"{PREFIX}/providers").json["providers"] == {}
        assert service(api)["status"] == "UP"
        api.put_json(path, {"service": {"enabled": True}})
        assert api.get(f"{PREFIX}/providers").json["providers"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"host": None}, "service.host"),
            ({"binary": "\u00fc"}, "service.binary"),
            ({"topic": ""}, "service.topic"),
            ({"mapped_regions": "north"}, "service.mapped_regions"),
            ({"colour": "red"}, "service.colour"),
        ],
    )
    def test_bad_bodies(self, api: TestApp, change: dict[str, Any], field: str) -> None:
        body = {"service": {"host": "h", "binary": "b", "topic": "t", **change}}
        assert error(api.post_json(f"{PREFIX}/services", body, expect_errors=True), 400)["field"] == field


class TestDiagnostics:
    def test_each_process_once(self, api: TestApp, db: Database) -> None:
        dead = register(db, "worker-1")
        db.write(sessions.end, [dead], db.utcnow())
        register(db, "worker-1")
        register(db, "worker-2")
        presence = Presence(db, application="coriolis-api", host="front")
        presence._turn()
        presence._turn()
        found = api.get(f"{PREFIX}/diagnostics").json["diagnostics"]
        assert [(one["application"], one["host"]) for one in found] == [
            ("coriolis-api", "front"),
            ("coriolis-worker", "worker-1"),
            ("coriolis-worker", "worker-2"),
        ]
        mine = found[0]
        assert any(line.startswith("SQLAlchemy==") for line in mine["packages"])
        assert any(line.startswith("ID=") for line in mine["os_info"])
        (loopback,) = [one["lo"] for one in mine["ip_addresses"] if "lo" in one]
        assert "127.0.0.1" in loopback["ipv4"]
        assert set(found[1]) >= {"application", "hostname", "ip_addresses", "packages", "os_info", "release_tag"}
        presence.stop()
        assert len(api.get(f"{PREFIX}/diagnostics").json["diagnostics"]) == 2
