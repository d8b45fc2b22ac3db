# SPDX-License-Identifier: Apache-2.0
"""Keystone or Barbican does not answer: 503 with the cause for what needs it, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from keystoneauth1 import session, token_endpoint
from prometheus_client import CollectorRegistry
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity, secrets
from coriolis.runtime.secrets import Vault
from coriolis.runtime.trusts import Trustee, Trusts
from coriolis.store.engine import Database
from tests.functional.checked import CheckedApp
from tests.functional.desk import PREFIX, TOKEN, Desk
from tests.functional.test_frame import error

SECRET = "http://barbican.invalid/v1/secrets/5a0cf1d3-7d3c-4f0e-9e39-6a1b5f6f6a11"


@pytest.fixture
def vault(free_port: Callable[[], int]) -> Vault:
    """That of a worker, and of a Barbican that is away."""
    url = f"http://127.0.0.1:{free_port()}"
    away = session.Session(auth=token_endpoint.Token(url, "token"))
    return Vault([Fernet.generate_key().decode()], secrets.barbican(away, endpoint=url))


@pytest.fixture
def ends(api: TestApp, desk: Desk) -> tuple[str, str]:
    """One whose secret is in Barbican, and one with its own."""
    infos: list[dict[str, Any]] = [{"secret_ref": SECRET}, {"seed": 1}]
    bodies = [{"endpoint": {"name": "e", "type": "null", "connection_info": info}} for info in infos]
    first, second = (api.post_json(f"{PREFIX}/endpoints", body).json["endpoint"]["id"] for body in bodies)
    return first, second


def job(ends: tuple[str, str]) -> dict[str, Any]:
    return {"origin_endpoint_id": ends[0], "destination_endpoint_id": ends[1], "instances": ["null-0000001"]}


@pytest.mark.parametrize("rest", ["instances", "networks", "storage", "inventory"])
def test_a_question_without_barbican(api: TestApp, ends: tuple[str, str], rest: str) -> None:
    content = error(api.get(f"{PREFIX}/endpoints/{ends[0]}/{rest}", expect_errors=True), 503)
    assert content["fault"] == "serviceUnavailable"
    assert "Barbican does not give the secret" in content["message"]
    assert api.get(f"{PREFIX}/endpoints/{ends[1]}/{rest}").status_int == 200


def test_what_barbican_is_not_needed_for_goes_on(api: TestApp, ends: tuple[str, str]) -> None:
    actions = f"{PREFIX}/endpoints/{ends[0]}/actions"
    verdict = api.post_json(actions, {"validate-connection": None}).json["validate-connection"]
    assert verdict["valid"] is False
    assert "Barbican" in verdict["message"]
    told = api.post_json(f"{PREFIX}/migrations?dry_run=true", {"migration": job(ends)}).json["dry_run"]
    assert told["possible"] is False
    assert "Barbican" in told["instances"][0]["concerns"][0]["message"]
    assert api.get(f"{PREFIX}/endpoints/{ends[0]}").json["endpoint"]["connection_info"] == {"secret_ref": SECRET}
    assert api.post_json(f"{PREFIX}/migrations", {"migration": job(ends)}).status_int == 200, "Barbican may be back"


@pytest.fixture
def trusting(free_port: Callable[[], int], db: Database, bus: LocalBus, vault: Vault, settings: ApiSettings) -> TestApp:
    """The service with a trustee, whose Keystone is away."""
    where = {"auth_url": f"http://127.0.0.1:{free_port()}/v3", "username": "trustee", "user_domain_id": "default"}
    trusts = Trusts(Trustee(auth_type="password", auth={**where, "password": "x"}))
    app = make_app(settings, db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry(), trusts=trusts)
    return CheckedApp(app, extra_environ={"HTTP_X_AUTH_TOKEN": TOKEN})


def test_work_that_needs_a_trust_without_keystone(trusting: TestApp, ends: tuple[str, str]) -> None:
    transfer = trusting.post_json(f"{PREFIX}/transfers", {"transfer": job(ends)}).json["transfer"]
    path = f"{PREFIX}/transfers/{transfer['id']}"
    for method, where, body in (
        ("POST", f"{PREFIX}/migrations", {"migration": job(ends)}),
        ("POST", f"{path}/executions", {"execution": {}}),
        ("POST", f"{path}/schedules", {"schedule": {"minute": 0}}),
        ("PUT", path, {"transfer": {"notes": "new"}}),
    ):
        send = trusting.put_json if method == "PUT" else trusting.post_json
        content = error(send(where, body, expect_errors=True), 503)
        assert "Keystone does not answer" in content["message"]
    assert trusting.get(f"{PREFIX}/migrations").json["migrations"] == []
    assert trusting.get(f"{path}/executions").json["executions"] == []
    assert trusting.get(f"{path}/schedules").json["schedules"] == []


def test_work_that_needs_none_goes_on_without_keystone(trusting: TestApp, api: TestApp, ends: tuple[str, str]) -> None:
    body = {"endpoint": {"name": "e", "type": "null", "connection_info": {"seed": 2}}}
    plain = trusting.post_json(f"{PREFIX}/endpoints", body).json["endpoint"]["id"]
    made = trusting.post_json(f"{PREFIX}/migrations", {"migration": job((plain, ends[1]))}).json["migration"]
    trusting.post_json(f"{PREFIX}/migrations/{made['id']}/actions", {"cancel": None}, status=204)
