# SPDX-License-Identifier: Apache-2.0
"""Endpoints: their life, their secrets, and what is on them."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from webtest import TestApp, TestResponse

from coriolis.providers import registry
from coriolis.providers.fake.cloud import Cloud
from coriolis.runtime.secrets import Vault
from coriolis.store import endpoints as queries
from coriolis.store import sessions, tables
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, PROJECT, SESSION, Desk
from tests.functional.test_frame import NOWHERE, error

KEYS = {
    "id",
    "user_id",
    "project_id",
    "name",
    "type",
    "description",
    "connection_info",
    "mapped_regions",
    "created_at",
    "updated_at",
    "deleted_at",
    "deleted",
}
SECRETS = {
    "host": "vcenter",
    "username": "me",
    "password": "p4ssw0rd-hidden",
    "nested": {"private_key": "k3y-hidden", "port": 22},
    "certificates": ["c3rt-hidden"],
}


def create(api: TestApp, **fields: Any) -> dict[str, Any]:
    body = {"name": "one", "type": "elsewhere", "connection_info": {}, **fields}
    return dict(api.post_json(f"{PREFIX}/endpoints", {"endpoint": body}).json["endpoint"])


def test_create_and_show(api: TestApp) -> None:
    made = create(api, description=None, mapped_regions=None)
    assert set(made) == KEYS
    assert made["project_id"] == PROJECT
    assert made["description"] == ""
    assert made["mapped_regions"] == []
    assert made["deleted"] == "0"
    assert made["deleted_at"] is None
    assert len(made["created_at"]) == len("2026-11-21T00:00:00.000000")
    assert api.get(f"{PREFIX}/endpoints/{made['id']}").json == {"endpoint": made}
    assert api.get(f"{PREFIX}/endpoints/{made['id'].replace('-', '')}.json").json == {"endpoint": made}
    assert api.get(f"{PREFIX}/endpoints").json == {"endpoints": [made]}


def test_secrets_never_come_back(api: TestApp, db: Database, vault: Vault) -> None:
    made = create(api, connection_info=SECRETS)
    for answer in (api.get(f"{PREFIX}/endpoints"), api.get(f"{PREFIX}/endpoints/{made['id']}")):
        assert "hidden" not in answer.text
    assert made["connection_info"]["password"] == "***"
    assert made["connection_info"]["nested"]["private_key"] == "***"
    with db.reader() as conn:
        row = queries.get(conn, made["id"], PROJECT)
    assert row.sealed is not None
    assert "hidden" not in row.sealed
    assert vault.open(row) == SECRETS


def test_what_a_schema_calls_no_secret_is_shown(api: TestApp, endpoints: Any) -> None:
    assert endpoints[0]["connection_info"] == {"instances": 25}


def test_a_mask_sent_back_keeps_the_secret(api: TestApp, db: Database, vault: Vault) -> None:
    made = create(api, connection_info=SECRETS)
    sent = {**made["connection_info"], "host": "another"}
    answer = api.put_json(f"{PREFIX}/endpoints/{made['id']}", {"endpoint": {"connection_info": sent}})
    assert "hidden" not in answer.text
    with db.reader() as conn:
        assert vault.open(queries.get(conn, made["id"], PROJECT)) == {**SECRETS, "host": "another"}


@pytest.mark.parametrize(
    ("info", "place"),
    [
        ({"password": "***"}, "password"),
        ({"nested": {"deep": {"key": "***"}}}, "nested.deep.key"),
        ({"list": ["a", "***"]}, "list.1"),
    ],
)
def test_a_mask_of_nothing_is_refused(api: TestApp, info: Any, place: str) -> None:
    body = {"endpoint": {"name": "x", "type": "y", "connection_info": info}}
    content = error(api.post_json(f"{PREFIX}/endpoints", body, expect_errors=True), 400)
    assert content["field"] == f"endpoint.connection_info.{place}"
    reference = create(api, connection_info={"secret_ref": "x"})
    answer = api.put_json(f"{PREFIX}/endpoints/{reference['id']}", {"endpoint": {"connection_info": info}}, status=400)
    assert error(answer, 400)["field"] == f"endpoint.connection_info.{place}"


def test_only_what_is_masked_is_kept(api: TestApp, db: Database, vault: Vault) -> None:
    """A key that is left out of an update is gone: only what is sent as *** stays as it was."""
    made = create(api, connection_info=SECRETS)
    sent = {"host": "h", "nested": {"private_key": "***"}, "certificates": ["new", "***"]}
    body = {"endpoint": {"connection_info": sent}}
    place = error(api.put_json(f"{PREFIX}/endpoints/{made['id']}", body, status=400), 400)["field"]
    assert place == "endpoint.connection_info.certificates.1"  # which of the old ones it stands for is not to be told
    del sent["certificates"]
    api.put_json(f"{PREFIX}/endpoints/{made['id']}", body)
    with db.reader() as conn:
        kept = vault.open(queries.get(conn, made["id"], PROJECT))
    assert kept == {"host": "h", "nested": {"private_key": "k3y-hidden"}}


def test_secret_references_are_shown_as_they_are(api: TestApp, db: Database, vault: Vault) -> None:
    reference = {"secret_ref": "http://barbican/v1/secrets/" + NOWHERE}
    made = create(api, connection_info=reference)
    assert made["connection_info"] == reference
    changed = api.put_json(f"{PREFIX}/endpoints/{made['id']}", {"endpoint": {"connection_info": {"a": 1}}})
    assert changed.json["endpoint"]["connection_info"] == {"a": 1}
    back = api.put_json(f"{PREFIX}/endpoints/{made['id']}", {"endpoint": {"connection_info": reference}})
    assert back.json["endpoint"]["connection_info"] == reference


def test_update_drops_what_it_does_not_know(api: TestApp) -> None:
    made = create(api)
    body = {"endpoint": {"name": "two", "type": "other", "id": "x", "unknown": 1, "description": "d"}, "more": 1}
    changed = api.put_json(f"{PREFIX}/endpoints/{made['id']}", body).json["endpoint"]
    assert (changed["name"], changed["type"], changed["id"]) == ("two", "elsewhere", made["id"])
    assert changed["updated_at"] is not None


def test_delete(api: TestApp) -> None:
    made = create(api)
    answer = api.delete(f"{PREFIX}/endpoints/{made['id']}")
    assert (answer.status_int, answer.body) == (204, b"")
    error(api.get(f"{PREFIX}/endpoints/{made['id']}", expect_errors=True), 404)
    error(api.delete(f"{PREFIX}/endpoints/{made['id']}", expect_errors=True), 404)


def test_an_endpoint_in_use_is_kept(api: TestApp, migration: dict[str, Any]) -> None:
    key = migration["origin_endpoint_id"]
    assert error(api.delete(f"{PREFIX}/endpoints/{key}", expect_errors=True), 403)["fault"] == "forbidden"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "endpoint.name"),
        ({"name": 5}, "endpoint.name"),
        ({"name": "x" * 256}, "endpoint.name"),
        ({"type": None}, "endpoint.type"),
        ({"connection_info": "text"}, "endpoint.connection_info"),
        ({"connection_info": None}, "endpoint.connection_info"),
        ({"mapped_regions": "r"}, "endpoint.mapped_regions"),
        ({"description": "x" * 1025}, "endpoint.description"),
        ({"surprise": 1}, "endpoint.surprise"),
        ({"connection_info": {"secret_ref": "x", "host": "y"}}, "endpoint.connection_info"),
    ],
)
def test_bad_creates_name_the_field(api: TestApp, change: dict[str, Any], field: str) -> None:
    body = {"endpoint": {"name": "x", "type": "y", "connection_info": {}, **change}}
    content = error(api.post_json(f"{PREFIX}/endpoints", body, expect_errors=True), 400)
    assert content["field"] == field
    assert field in content["message"]


def test_unknown_provider_names_the_known_ones(api: TestApp, desk: Desk) -> None:
    body = {"endpoint": {"name": "x", "type": "vmwear", "connection_info": {}}}
    content = error(api.post_json(f"{PREFIX}/endpoints", body, expect_errors=True), 400)
    assert "null" in content["message"]
    assert content["field"] == "endpoint.type"


def test_pages_and_order(api: TestApp) -> None:
    made = [create(api, name=f"n{number}")["id"] for number in range(5)]
    listed: list[str] = []
    marker = ""
    while page := api.get(f"{PREFIX}/endpoints?limit=2{marker}").json["endpoints"]:
        assert len(page) <= 2
        listed += [one["id"] for one in page]
        marker = f"&marker={listed[-1]}"
    assert listed == made[::-1]
    by_name = api.get(f"{PREFIX}/endpoints?sort_keys=name&sort_dirs=asc").json["endpoints"]
    assert [one["id"] for one in by_name] == made
    assert api.get(f"{PREFIX}/endpoints?limit=0").json == {"endpoints": []}
    assert len(api.get(f"{PREFIX}/endpoints?sort_key=name,id").json["endpoints"]) == 5


def test_a_repeated_create_is_one_create(api: TestApp) -> None:
    body = {"endpoint": {"name": "x", "type": "y", "connection_info": {"password": "a"}}}
    headers = {"Idempotency-Key": "key-1"}
    first = api.post_json(f"{PREFIX}/endpoints", body, headers=headers)
    again = api.post_json(f"{PREFIX}/endpoints", body, headers=headers)
    assert (again.status_int, again.json) == (200, first.json)
    assert len(api.get(f"{PREFIX}/endpoints").json["endpoints"]) == 1
    body["endpoint"]["connection_info"] = {"password": "b"}
    content = error(api.post_json(f"{PREFIX}/endpoints", body, headers=headers, expect_errors=True), 409)
    assert content["field"] == "Idempotency-Key"
    for bad in ("", "x" * 256, "a b"):
        error(api.post_json(f"{PREFIX}/endpoints", body, headers={"Idempotency-Key": bad}, expect_errors=True), 400)


def test_lists_cost_the_same_however_long(api: TestApp, db: Database, desk: Desk) -> None:
    costs = []
    for count in (2, 20):
        for number in range(count):
            create(api, name=f"n{number}", type="null")
        api.get(f"{PREFIX}/endpoints")  # fills the cache of schemas
        with db.counting() as statements:
            assert len(api.get(f"{PREFIX}/endpoints").json["endpoints"]) >= count
        costs.append(statements())
    assert costs[0] == costs[1]


# ---- what a worker reads ---------------------------------------------------------------------------------------


def path(endpoint: dict[str, Any], rest: str) -> str:
    return f"{PREFIX}/endpoints/{endpoint['id']}/{rest}"


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_instances_page_by_id(api: TestApp, endpoints: Any) -> None:
    whole = api.get(path(endpoints[0], "instances")).json["instances"]
    assert [one["id"] for one in whole] == [f"null-{number:07d}" for number in range(1, 26)]
    assert {"id", "name", "num_cpu", "memory_mb", "os_type"} <= set(whole[0])
    page = api.get(path(endpoints[0], f"instances?limit=10&marker={whole[9]['id']}&refresh=True")).json["instances"]
    assert page == whole[10:20]
    named = api.get(path(endpoints[0], "instances?name=0000012")).json["instances"]
    assert [one["id"] for one in named] == ["null-0000012"]


@pytest.mark.parametrize("padding", [True, False])
def test_instance_by_its_encoded_name(api: TestApp, endpoints: Any, padding: bool) -> None:
    name = b64("null-0000003")
    assert name.endswith("=") or len(name) % 4 == 0
    shown = api.get(path(endpoints[0], "instances/" + (name if padding else name.rstrip("=")))).json["instance"]
    assert shown["id"] == "null-0000003"
    assert {"disks", "nics", "controllers", "cdroms", "serial_ports", "floppies"} <= set(shown["devices"])


def test_networks_and_storage(api: TestApp, endpoints: Any) -> None:
    networks = api.get(path(endpoints[1], "networks")).json["networks"]
    assert networks[0]["name"] == "null-network"
    storage = api.get(path(endpoints[1], "storage")).json["storage"]
    assert storage["storage_backends"][0]["id"] == "null-storage"
    assert storage["config_default"] == "null-storage"


@pytest.mark.parametrize("env", ["null", "{}", '{"title": "of a console", "pool": null}'])
def test_env_of_a_console_is_taken(api: TestApp, desk: Desk, endpoints: Any, env: str) -> None:
    assert api.get(path(endpoints[0], f"networks?env={b64(env)}")).status_int == 200
    assert desk.calls[-1].arguments["environment"] == {}


@pytest.mark.parametrize("env", ["[]", "text", "5", "{"])
def test_env_that_is_none(api: TestApp, endpoints: Any, env: str) -> None:
    assert error(api.get(path(endpoints[0], f"storage?env={b64(env)}"), expect_errors=True), 400)["field"] == "env"


@pytest.mark.parametrize("name", ["!", "a", "_____", "%ff", "%00", b64("x\x00y"), "4pyT4p"])
def test_instance_names_that_are_no_base64(api: TestApp, endpoints: Any, name: str) -> None:
    error(api.get(path(endpoints[0], f"instances/{name}"), expect_errors=True), 400)


def test_inventory_is_csv_or_one_json_text(api: TestApp, endpoints: Any) -> None:
    whole = api.get(path(endpoints[0], "inventory"), headers={"Accept": "text/csv"})
    assert whole.content_type == "text/csv"
    lines = list(csv.DictReader(io.StringIO(whole.text)))
    assert [line["id"] for line in lines] == [f"null-{number:07d}" for number in range(1, 26)]
    assert lines[0]["disk_bytes"] == str(16 << 20)
    for accept in ("application/json", "*/*", "image/png", ""):
        assert api.get(path(endpoints[0], "inventory"), headers={"Accept": accept}).json == whole.text


STORAGE = {"name": "storage", "values": ["fast", "slow"], "config_default": "fast"}


def options(answer: TestResponse) -> dict[str, Any]:
    """By name; there may be more of them than a test knows of."""
    (listed,) = answer.json.values()
    assert len({one["name"] for one in listed}) == len(listed)
    return {one["name"]: one for one in listed}


@pytest.fixture
def fake(api: TestApp, desk: Desk, db: Database, tmp_path: Path) -> dict[str, Any]:
    """An endpoint of the fake cloud, and a worker that has its provider."""
    serve(db, "fake")
    return create(api, type="fake", connection_info={"path": str(Cloud.create(tmp_path / "cloud").path)})


def serve(db: Database, provider: str) -> None:
    """The worker of the tests gets one more provider."""
    words = sorted(str(one) for one in registry.load(provider).capabilities)
    with db.writer() as conn:
        known = {row.id: row for row in sessions.live(conn)}[SESSION].providers
        conn.execute(update(tables.session).values(providers={**known, provider: words}))


def test_options_of_every_side(api: TestApp, fake: dict[str, Any], endpoints: Any) -> None:
    assert options(api.get(path(fake, "destination-options")))["storage"] == STORAGE
    assert "storage" not in options(api.get(path(fake, "source-options")))
    for side in ("source", "destination"):
        key = f"{side}_minion_pool_options"
        assert list(api.get(path(fake, f"{side}-minion-pool-options")).json) == [key]
        assert list(api.get(path(endpoints[0], f"{side}-options")).json) == [f"{side}_options"]


@pytest.mark.parametrize(
    ("names", "alone", "there"),
    [("null", False, True), ("[]", False, True), ('["storage"]', True, True), ('["network", "x"]', True, False)],
)
def test_options_by_name(api: TestApp, fake: dict[str, Any], names: str, alone: bool, there: bool) -> None:
    env = b64('{"title": 1, "x": null}')
    answer = api.get(path(fake, f"destination-options?options={b64(names)}&env={env}"))
    found = options(answer)
    assert found.get("storage") == (STORAGE if there else None)
    if alone:
        assert set(found) <= {"storage"}


@pytest.mark.parametrize("names", ["{}", "5", '"storage"', "[1]", "[null]", "text", "[", "[" * 5000])
def test_option_names_that_are_none(api: TestApp, fake: dict[str, Any], names: str) -> None:
    answer = api.get(path(fake, f"source-options?options={b64(names)}"), expect_errors=True)
    assert error(answer, 400)["field"] == "options"


def test_no_instances_are_asked_for(api: TestApp, desk: Desk, endpoints: Any) -> None:
    before = len(desk.calls)
    assert api.get(path(endpoints[0], "instances?limit=0")).json == {"instances": []}
    assert len(desk.calls) == before
    error(api.get(f"{PREFIX}/endpoints/{NOWHERE}/instances?limit=0", expect_errors=True), 404)


def test_unknown_instance(api: TestApp, endpoints: Any) -> None:
    content = error(api.get(path(endpoints[0], f"instances/{b64('nobody')}"), expect_errors=True), 404)
    assert "nobody" in content["message"]


def test_validate_connection(api: TestApp, endpoints: Any) -> None:
    answer = api.post_json(path(endpoints[0], "actions"), {"validate-connection": None})
    assert answer.json == {"validate-connection": {"valid": True, "message": None}}
    bad = create(api, type="null", connection_info={"instances": "many"})
    answer = api.post_json(path(bad, "actions"), {"validate-connection": None})
    assert answer.status_int == 200
    assert answer.json["validate-connection"]["valid"] is False
    assert "connection_info.instances" in answer.json["validate-connection"]["message"]


@pytest.mark.parametrize("body", [{}, {"explode": None}, {"validate-connection": None, "x": 1}, [], {"a": 1, "b": 2}])
def test_unknown_actions(api: TestApp, endpoints: Any, body: Any) -> None:
    error(api.post_json(path(endpoints[0], "actions"), body, expect_errors=True), 400)


def test_without_a_worker(api: TestApp) -> None:
    made = create(api, type="null")
    for rest in ("instances", "networks", "storage", "instances/eA"):
        content = error(api.get(path(made, rest), expect_errors=True), 503)
        assert "worker" in content["message"]
    answer = api.post_json(path(made, "actions"), {"validate-connection": None})
    assert answer.json["validate-connection"]["valid"] is False


def test_a_worker_that_does_not_answer_is_named(api: TestApp, desk: Desk, endpoints: Any, bus: Any) -> None:
    bus.close()
    content = error(api.get(path(endpoints[0], "networks"), expect_errors=True), 503)
    assert "networks" in content["message"]
