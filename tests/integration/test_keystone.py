# SPDX-License-Identifier: Apache-2.0
"""The API behind a real Keystone: good, bad, expired and revoked tokens, projects and personas."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from oslo_config import cfg
from prometheus_client import CollectorRegistry
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES
from coriolis.api.settings import ApiSettings
from coriolis.providers import registry
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Lent, Vault
from coriolis.runtime.trusts import Trustee, Trusts
from coriolis.store import events, executions, sessions
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.functional.desk import SESSION, Desk
from tests.functional.graph import grow
from tests.functional.test_migrations import inline
from tests.functional.test_transfers import finish
from tests.integration import keystone_server
from tests.integration.keystone_server import Keystone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # the first run installs Keystone

SCOPED = [route for route in ROUTES if route.policy is not None]
ROLES = ("reader", "member", "admin")


@dataclass
class Cloud:
    """Keystone with two projects and our API behind it."""

    keystone: Keystone
    config: Path
    projects: dict[str, str]  # name -> id
    app: Any
    db: Database

    def client(self, user: str, project: str) -> TestApp:
        return self.with_token(self.keystone.token(user, project))

    def with_token(self, token: str) -> TestApp:
        return TestApp(self.app, extra_environ={"HTTP_X_AUTH_TOKEN": token})


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("keystone")
    with keystone_server.running(directory, free_port()) as keystone:
        projects = {name: keystone.project(name) for name in ("ours", "theirs")}
        for name, key in projects.items():
            for role in ROLES:
                keystone.user(f"{role}-{name}", key, role)
        db = Database(f"sqlite:///{directory}/coriolis.sqlite", synchronous="NORMAL")
        metadata.create_all(db.engine)
        bus = LocalBus(threads=2)
        vault = Vault([Fernet.generate_key().decode()])
        work(db, bus, vault, directory)
        app = make_app(
            ApiSettings(), db, bus, vault, identity.keystone(conf(directory, keystone)), registry=CollectorRegistry()
        )
        yield Cloud(keystone, directory, projects, app, db)
        bus.close()
        db.dispose()


def conf(directory: Path, keystone: Keystone) -> cfg.ConfigOpts:
    """Section keystone_authtoken, as an operator writes it."""
    path = directory / "coriolis.conf"
    path.touch(mode=0o600)
    path.write_text(
        f"""[keystone_authtoken]
auth_type = password
auth_url = {keystone.url}
www_authenticate_uri = {keystone.url}
username = admin
password = {keystone.admin_password}
project_name = admin
user_domain_id = default
project_domain_id = default
token_cache_time = -1
"""
    )
    options = cfg.ConfigOpts()
    options(["--config-file", str(path)], project="coriolis", default_config_dirs=[])
    return options


def work(db: Database, bus: LocalBus, vault: Vault, directory: Path) -> None:
    """A live worker with the null provider."""
    with db.writer() as conn:
        sessions.start(
            conn,
            SESSION,
            host="here",
            pid=1,
            regions=[],
            providers={"null": sorted(map(str, registry.load("null").capabilities))},
            slots=2,
            release="0",
            now=db.utcnow(),
        )
    bus.serve(messages.WORKER, SESSION, {"provider": Desk(vault, directory)})


def migration_of(cloud: Cloud, project: str) -> dict[str, Any]:
    """A migration with tasks, made by the project's member."""
    made = cloud.client(f"member-{project}", project).post_json("/v1/migrations", inline()).json["migration"]
    grow(cloud.db, made["id"])
    return dict(made)


def refused(answer: Any, status: int) -> str:
    assert answer.status_int == status, answer.text
    content = answer.json["error"]
    assert content["code"] == status
    return str(content["message"])


@pytest.mark.parametrize("role", ROLES)
def test_a_good_token_is_taken(cloud: Cloud, role: str) -> None:
    api = cloud.client(f"{role}-ours", "ours")
    assert api.get(f"/v1/{cloud.projects['ours']}/endpoints").status_int == 200
    assert "migrations" in api.get("/v1/migrations").json
    refused(api.get(f"/v1/{cloud.projects['theirs']}/endpoints", expect_errors=True), 400)


def test_rows_belong_to_the_project_of_the_token(cloud: Cloud) -> None:
    made = migration_of(cloud, "ours")
    assert made["project_id"] == cloud.projects["ours"]
    assert re.fullmatch("[0-9a-f]{32}", made["user_id"])


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAABnonsense", "x" * 4000])
def test_bad_tokens(cloud: Cloud, token: str) -> None:
    for route in SCOPED:
        path = "/v1" + re.sub(r"\{[^}]+\}", SESSION, route.path)
        answer = cloud.with_token(token).request(path, method=route.method, expect_errors=True)
        refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


def test_versions_need_no_token(cloud: Cloud) -> None:
    assert TestApp(cloud.app).get("/v1").status_int == 200
    assert cloud.with_token("nonsense").get("/").status_int == 200


def test_a_revoked_token_is_refused(cloud: Cloud) -> None:
    token = cloud.keystone.token("member-ours", "ours")
    api = cloud.with_token(token)
    assert api.get("/v1/endpoints").status_int == 200
    cloud.keystone.revoke(token)
    refused(api.get("/v1/endpoints", expect_errors=True), 401)


def test_an_expired_token_is_refused(cloud: Cloud, free_port: Callable[[], int]) -> None:
    seconds = 4
    config = keystone_server.configure(cloud.config, seconds)
    with keystone_server.serving(config, free_port()) as url:
        api = cloud.with_token(cloud.keystone.token("member-ours", "ours", url))
    assert api.get("/v1/endpoints").status_int == 200
    time.sleep(seconds)
    refused(api.get("/v1/endpoints", expect_errors=True), 401)


def test_a_stream_ends_with_its_token(cloud: Cloud, free_port: Callable[[], int]) -> None:
    """Who comes back with a token that has ended is refused, and who comes back with a new one misses nothing."""
    made = migration_of(cloud, "ours")
    path = f"/v1/migrations/{made['id']}/events"
    config = keystone_server.configure(cloud.config, 6)
    with keystone_server.serving(config, free_port()) as url:
        token = cloud.keystone.token("member-ours", "ours", url)
    headers = {"Accept": "text/event-stream"}
    text = cloud.with_token(token).get(path, headers=headers).text  # until the server ends it
    assert "event: end" not in text
    last = re.findall(r"^id: (.*)$", text, re.MULTILINE)[-1]
    headers["Last-Event-ID"] = last
    refused(cloud.with_token(token).get(path, headers=headers, expect_errors=True), 401)
    with cloud.db.writer() as conn:
        (run,) = executions.latest(conn, [made["id"]]).values()
        new = events.NewEvent(execution_id=run.id, level="INFO", message="while nobody listened")
        events.append(conn, [new], cloud.db.utcnow())
    grown = cloud.client("member-ours", "ours").get(f"{path}?since={last}").json
    assert [one["message"] for one in grown["events"]] == ["while nobody listened"]


def test_a_question_takes_the_callers_token_along(cloud: Cloud, tmp_path: Path) -> None:
    """Sealed, where a secret has to be read; and a job takes a trust instead."""
    trustee = Trustee(auth_type="password", auth={"auth_url": cloud.keystone.url, "username": "x", "password": "x"})
    bus, vault = LocalBus(threads=2), Vault([Fernet.generate_key().decode()])
    asked: list[messages.ProviderCall] = []

    def worker(call: messages.ProviderCall) -> messages.ProviderReply:
        asked.append(call)
        null = registry.load("null").schemas
        return messages.ProviderReply(value=null if call.operation == "schemas" else None)

    bus.serve(messages.WORKER, SESSION, {"provider": worker})
    app = make_app(
        ApiSettings(), cloud.db, bus, vault, identity.keystone(conf(tmp_path, cloud.keystone)),
        registry=CollectorRegistry(), trusts=Trusts(trustee),
    )  # fmt: skip
    token = cloud.keystone.token("member-ours", "ours")
    api = TestApp(app, extra_environ={"HTTP_X_AUTH_TOKEN": token})
    for info in ({"secret_ref": "https://barbican/v1/secrets/1"}, {}):
        body = {"endpoint": {"name": "e", "type": "null", "connection_info": info}}
        made = api.post_json("/v1/endpoints", body).json["endpoint"]
        api.get(f"/v1/endpoints/{made['id']}/networks")
        api.post_json(f"/v1/endpoints/{made['id']}/actions", {"validate-connection": None})
        job = {"origin_endpoint_id": made["id"], "destination_endpoint_id": made["id"], "instances": ["null-0000001"]}
        api.post_json("/v1/migrations?dry_run=true", {"migration": job})
        sent = [call.endpoint.token for call in asked if call.operation != "schemas" and call.endpoint]
        assert len(sent) >= 3
        if info:
            own = {vault.unseal_token(one or "") for one in sent}
            assert own == {Lent(token=token, project_id=cloud.projects["ours"])}
            assert token not in repr(asked)
        else:
            assert set(sent) == {None}
        asked.clear()
    bus.close()


def test_an_unscoped_token_is_refused(cloud: Cloud) -> None:
    password = cloud.keystone.passwords["member-ours"]
    user = {"name": "member-ours", "domain": {"id": "default"}, "password": password}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": "unscoped"}}
    answer = requests.post(f"{cloud.keystone.url}/auth/tokens", json=body, timeout=60)
    api = cloud.with_token(answer.headers["X-Subject-Token"])
    refused(api.get("/v1/endpoints", expect_errors=True), 401)


def transfer_of(cloud: Cloud, project: str) -> dict[str, str]:
    """A transfer made by the project's member, and ids of what hangs on it, by the names in routes."""
    api = cloud.client(f"member-{project}", project)
    ends = [
        api.post_json("/v1/endpoints", {"endpoint": {"name": "e", "type": "null", "connection_info": {"seed": seed}}})
        for seed in (1, 2)
    ]
    body = {
        "origin_endpoint_id": ends[0].json["endpoint"]["id"],
        "destination_endpoint_id": ends[1].json["endpoint"]["id"],
        "instances": ["null-0000001"],
    }
    key = api.post_json("/v1/transfers", {"transfer": body}).json["transfer"]["id"]
    run = api.post_json(f"/v1/transfers/{key}/executions", {}).json["execution"]["id"]
    finish(cloud.db, key)
    deployment = api.post_json("/v1/deployments", {"deployment": {"transfer_id": key}}).json["deployment"]["id"]
    return {"transfer_id": key, "execution_id": run, "deployment_id": deployment}


def paths(cloud: Cloud, made: dict[str, Any]) -> list[tuple[Route, str]]:
    """Every route with the ids of this migration, and of a transfer of the same project, in its holes."""
    project = next(n for n, k in cloud.projects.items() if k == made["project_id"])
    api = cloud.client(f"admin-{project}", "ours")
    task = api.get(f"/v1/migrations/{made['id']}/tasks").json["tasks"][0]["id"]
    ids = {
        "migration_id": made["id"],
        "endpoint_id": made["origin_endpoint_id"],
        "task_id": task,
        "instance": "bnVsbC0wMDAwMDAx",
        "platform": "null",
        "type": "16",
        **transfer_of(cloud, project),
    }

    def hole(found: re.Match[str]) -> str:
        return ids.setdefault(found[1], str(uuid.uuid4()))

    return [(route, "/v1" + re.sub(r"\{([^}]+)\}", hole, route.path)) for route in SCOPED]


BODIES: dict[str, Any] = {
    "migration:migrations:create": inline(),
    "migration:migrations:cancel": {"cancel": {"force": True}},
    "migration:endpoints:create": {"endpoint": {"name": "x", "type": "null", "connection_info": {}}},
    "migration:endpoints:update": {"endpoint": {"name": "stolen"}},
    "migration:endpoints:validate_connection": {"validate-connection": None},
    "migration:transfers:update": {"transfer": {"notes": "stolen"}},
    "migration:transfers:delete_disks": {"delete-disks": None},
    "migration:transfer_executions:create": {},
    "migration:transfer_executions:cancel": {"cancel": None},
    "migration:transfer_schedules:create": {"schedule": {"hour": 1}},
    "migration:transfer_schedules:update": {"enabled": False},
    "migration:deployments:cancel": {"cancel": None},
    "migration:minion_pools:update": {"minion_pool": {"name": "stolen"}},
    "migration:minion_pools:show": {"refresh": None},  # the route; each action has a policy of its own
}
# Whose paths hold ids of things that belong to a project.
_OWNED = ("{migration_id}", "{endpoint_id}", "{transfer_id}", "{deployment_id}", "{minion_pool_id}")


def ask(api: TestApp, route: Route, path: str) -> Any:
    body = json.dumps(BODIES.get(str(route.policy))).encode()
    return api.request(path, method=route.method, body=body, content_type="application/json", expect_errors=True)


def test_what_is_ours_does_not_exist_for_them(cloud: Cloud) -> None:
    made = migration_of(cloud, "ours")
    walked = paths(cloud, made)
    for user in ("reader-theirs", "member-theirs"):
        api = cloud.client(user, "theirs")
        for route, path in walked:
            answer = ask(api, route, path)
            if any(hole in route.path for hole in _OWNED):
                forbidden = user.startswith("reader") and changes(route) and not _by_action(route)
                assert answer.status_int == (403 if forbidden else 404), (route.method, path, answer.text)
            elif answer.status_int == 200:
                assert made["id"] not in answer.text
                assert made["origin_endpoint_id"] not in answer.text
    mine = cloud.client("reader-ours", "ours")
    assert mine.get(f"/v1/migrations/{made['id']}").json["migration"]["last_execution_status"] == "PENDING"


def changes(route: Route) -> bool:
    return route.method != "GET"


def test_a_reader_reads_and_changes_nothing(cloud: Cloud) -> None:
    made = migration_of(cloud, "ours")
    reader = cloud.client("reader-ours", "ours")
    for route, path in paths(cloud, made):
        answer = ask(reader, route, path)
        if changes(route):
            assert answer.status_int in ((403, 404) if _by_action(route) else (403,)), (path, answer.text)
        else:
            assert (answer.status_int == 403) is _for_admins(route), (path, answer.text)
            if not re.search("schedule_id|minion_pool_id|certificate", route.path):  # ids of nothing; there is no key
                assert answer.status_int in (200, 403), (path, answer.text)


def _by_action(route: Route) -> bool:
    """Which policy holds is known when the object is found: a pool that is not there has none."""
    return bool(route.action_policies)


def _for_admins(route: Route) -> bool:
    return str(route.policy).split(":")[1] in ("regions", "services", "diagnostics", "bandwidth_budgets")


@pytest.mark.parametrize("user", ["member-ours", "admin-ours"])
def test_a_member_and_an_admin_may_change(cloud: Cloud, user: str) -> None:
    made = migration_of(cloud, "ours")
    api = cloud.client(user, "ours")
    for route, path in paths(cloud, made):
        answer = ask(api, route, path)
        # 403 is also what deleting an endpoint in use gets; only the policy names its rule
        assert answer.status_int not in (401, 500)
        if not (user.startswith("member") and _for_admins(route)):
            assert str(route.policy) not in answer.text, path


def test_an_admin_reaches_other_projects_by_id(cloud: Cloud) -> None:
    made = migration_of(cloud, "theirs")
    api = cloud.client("admin-ours", "ours")
    assert api.get(f"/v1/migrations/{made['id']}").json["migration"]["id"] == made["id"]
    assert made["id"] not in api.get("/v1/migrations").text


def test_a_keystone_that_is_away_is_503(cloud: Cloud, tmp_path: Path, free_port: Callable[[], int]) -> None:
    away = Keystone(url=f"http://127.0.0.1:{free_port()}/v3", admin_password="x")
    bus = LocalBus()
    app = make_app(
        ApiSettings(),
        cloud.db,
        bus,
        Vault([Fernet.generate_key().decode()]),
        identity.keystone(conf(tmp_path, away)),
        registry=CollectorRegistry(),
    )
    api = TestApp(app, extra_environ={"HTTP_X_AUTH_TOKEN": "gAAAAABx"})
    refused(api.get("/v1/endpoints", expect_errors=True), 503)
    assert api.get("/v1").status_int == 200
    bus.close()
