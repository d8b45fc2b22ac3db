# SPDX-License-Identifier: Apache-2.0
"""Every route with the tokens of every persona, of the own and of another project: who may, and that nothing leaks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings
from coriolis.providers import registry
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime.context import AUTHENTICATED
from coriolis.runtime.identity import StartResponse, WsgiApp, forget_claims
from coriolis.runtime.secrets import Vault
from coriolis.store import sessions
from coriolis.store.engine import Database
from tests.functional.desk import Desk
from tests.functional.world import RANK, SCOPED, World, build, needed

LIBVIRT_SESSION = "22222222-2222-4222-8222-222222222222"


def cards(app: WsgiApp) -> WsgiApp:
    """Stands where keystonemiddleware does; a token is "role@project"."""

    def authenticate(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        role, _, project = environ.get("HTTP_X_AUTH_TOKEN", "").partition("@")
        forget_claims(environ)
        if project:
            environ.update(
                HTTP_X_IDENTITY_STATUS=AUTHENTICATED,
                HTTP_X_USER_ID=f"{role} of {project}",
                HTTP_X_PROJECT_ID=project,
                HTTP_X_ROLES=role,
            )
        return app(environ, start_response)

    return authenticate


class Cloud:
    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def client(self, role: str, project: str = "ours") -> TestApp:
        return TestApp(self._app, extra_environ={"HTTP_X_AUTH_TOKEN": f"{role}@{project}"})


@pytest.fixture
def cloud(db: Database, bus: LocalBus, vault: Vault, desk: Desk, settings: ApiSettings) -> Cloud:
    with db.writer() as conn:
        sessions.start(
            conn,
            LIBVIRT_SESSION,
            host="cellar",
            pid=2,
            regions=[],
            providers={"libvirt": sorted(map(str, registry.load("libvirt").capabilities))},
            slots=2,
            release="0",
            now=db.utcnow(),
        )
    bus.serve(messages.WORKER, LIBVIRT_SESSION, {"provider": desk})
    return Cloud(make_app(settings, db, bus, vault, cards, registry=CollectorRegistry()))


@pytest.fixture
def world(cloud: Cloud, db: Database) -> World:
    return build(cloud.client("member"), cloud.client("admin"), db)


def shown(cloud: Cloud, world: World) -> dict[str, str]:
    """Everything that the project's own reader sees."""
    reader = cloud.client("reader")
    return {
        route.path: world.ask(reader, route).text
        for route in SCOPED
        if route.method == "GET" and needed(route) == "reader" and "instances" not in route.path
    }


def refused_by_policy(answer: Any) -> bool:
    """A refusal names the rule; 403 is also what deleting an endpoint in use gets."""
    return answer.status_int == 403 and "The policy migration:" in answer.text


@pytest.mark.parametrize("role", ["reader", "member"])
def test_a_foreign_token_finds_and_changes_nothing(cloud: Cloud, world: World, role: str) -> None:
    before = shown(cloud, world)
    stranger = cloud.client(role, "theirs")
    for route in SCOPED:
        answer = world.ask(stranger, route)
        words = f"{route.method} {route.path}: {answer.status_int} {answer.text[:300]}"
        if RANK[role] < RANK[needed(route)] and not (answer.status_int == 404 and "/minion_pools/" in route.path):
            assert refused_by_policy(answer), words
        elif world.is_owned(route):
            assert answer.status_int == 404, words
        else:
            assert answer.status_int < 500, words
            assert answer.status_int != 403, words
        told = answer.text
        for own in re.findall(r"[0-9a-f-]{36}", words.split(":", 1)[0]):
            told = told.replace(own, "")
        if answer.status_int >= 400:  # an error may say back the id that was asked for, and nothing else
            for value in world.holes.values():
                told = told.replace(value, "")
        assert world.leaks_in(told) == [], words
    assert shown(cloud, world) == before


def test_a_foreign_endpoint_or_transfer_in_a_body_is_unknown(cloud: Cloud, world: World) -> None:
    stranger = cloud.client("member", "theirs")
    for path in ("/migrations", "/transfers", "/deployments", "/minion_pools"):
        route = next(one for one in SCOPED if (one.method, one.path) == ("POST", path))
        answer = world.ask(stranger, route)
        assert answer.status_int in (400, 404), (path, answer.text)
        assert "only-for-ours" not in answer.text
    for noun in ("migrations", "transfers", "deployments", "minion_pools"):
        assert stranger.get(f"/v1/{noun}").json == {noun: []}


SECRET = "hunter2-Xq7LmZ"


def test_no_route_tells_a_secret(cloud: Cloud, world: World) -> None:
    """Nor to whoever may do everything, and whether it is asked well or badly."""
    admin = cloud.client("admin")
    info = {"password": SECRET, "seed": 1, "deep": [{"api_key": SECRET}], "url": f"https://me:{SECRET}@host/"}
    for one in admin.get("/v1/endpoints").json["endpoints"]:
        admin.put_json(f"/v1/endpoints/{one['id']}", {"endpoint": {"connection_info": info}})
    order = ("GET", "PUT", "POST", "DELETE")
    for route in sorted(SCOPED, key=lambda route: order.index(route.method)):
        answer = world.ask(admin, route)
        assert SECRET not in answer.text, (route.method, route.path)
    for dry in ("/v1/migrations?dry_run=true", "/v1/deployments?dry_run=true"):
        body = world.bodies[("POST", dry.partition("?")[0].removeprefix("/v1"))]
        assert SECRET not in admin.post_json(dry, body, expect_errors=True).text


def test_an_admin_finds_the_pools_of_all_projects(cloud: Cloud, world: World) -> None:
    path = "/v1/minion_pools?all_projects=true"
    elsewhere = cloud.client("admin", "theirs")
    assert elsewhere.get("/v1/minion_pools").json == {"minion_pools": []}
    (found,) = elsewhere.get(path).json["minion_pools"]
    assert (found["id"], found["project_id"]) == (world.holes["minion_pool_id"], "ours")
    renamed = {"minion_pool": {"notes": "seen by the admin"}}
    elsewhere.put_json(f"/v1/minion_pools/{found['id']}", renamed, status=200)
    for role in ("reader", "member"):
        assert refused_by_policy(cloud.client(role, "theirs").get(path, expect_errors=True))
        assert refused_by_policy(cloud.client(role).get(path, expect_errors=True))


@pytest.mark.parametrize("role", ["nobody", "reader", "member", "admin"])
def test_personas(cloud: Cloud, world: World, role: str) -> None:
    """Looks first, deletes last, so that there is something to ask about."""
    client = cloud.client(role)
    order = ("GET", "PUT", "POST", "DELETE")
    for route in sorted(SCOPED, key=lambda route: order.index(route.method)):
        answer = world.ask(client, route)
        words = f"{route.method} {route.path}: {answer.status_int} {answer.text[:300]}"
        assert answer.status_int != 401, words
        assert answer.status_int < 500, words
        assert refused_by_policy(answer) is (RANK.get(role, -1) < RANK[needed(route)]), words
        if role == "reader" and route.method == "GET" and needed(route) == "reader" and "certificate" not in route.path:
            assert answer.status_int in (200, 405), words  # 405: the provider has no such part


def test_a_token_of_another_project_is_no_use_on_a_path_of_ours(cloud: Cloud, world: World) -> None:
    for route in SCOPED:
        path = "/v1/ours" + re.sub(r"\{([^}]+)\}", lambda hole: world.holes[hole[1]], route.path)
        for role in ("reader", "member", "admin"):
            answer = cloud.client(role, "theirs").request(path, method=route.method, expect_errors=True)
            assert answer.status_int == 400, path
            assert answer.json["error"]["field"] == "project_id"
            assert world.leaks_in(answer.text) == []
