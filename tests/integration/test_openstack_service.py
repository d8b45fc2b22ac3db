# SPDX-License-Identifier: Apache-2.0
"""The service in a real cloud as its operator registers it: tokens of the cloud's Keystone, an entry of its catalog,
secrets of its Barbican, and jobs that act in it for their users, under trusts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openstack
import pytest

from coriolis.client import vendor_hook
from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import build_guest
from demo.ova import Machine, build_ova
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of, shares
from tests.lab import content, places
from tests.lab.fixtures import LabCloud
from tests.lab.places import PASSWORD, REGION
from tests.service.standalone_process import BIN, Standalone, running, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RANGE = "10.88.11.0/24"
USER, TRUSTEE = "coriolis", "coriolis-trustee"
KIND = "migration"


def settings(auth_url: str) -> dict[str, dict[str, object]]:
    """The configuration, as doc/source/admin/services.rst has it."""
    proof = {"auth_type": "password", "auth_url": auth_url, "password": PASSWORD, "user_domain_name": "Default"}
    service = {"username": USER, "project_name": "service", "project_domain_name": "Default"}
    return {
        "api": {"auth_strategy": "keystone", "provider_call_timeout_seconds": PATIENCE},  # much else may run here
        "keystone_authtoken": {**proof, **service, "www_authenticate_uri": auth_url},
        "trustee": {**proof, "username": TRUSTEE},
        "secrets": {"barbican": True},
        "barbican": {"region_name": REGION},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registered:
    """The service in the catalog of a cloud. ``trustee``: id of the user whom trusts are given to."""

    lab: LabCloud
    folder: Path
    trustee: str

    def trusts(self) -> list[dict[str, Any]]:
        """Of all users, as the admin sees them."""
        with self.lab.connect() as admin:
            answer = admin.identity.get("/OS-TRUST/trusts", params={"trustee_user_id": self.trustee})
        return list(answer.json()["trusts"])

    def run(self, member: Member, *words: str) -> Any:
        """``openstack migration ...`` as that user: its JSON. It warns of nothing."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
        environment |= {f"OS_{key.upper()}": str(value) for key, value in member.info.items()}
        environment |= {"HOME": str(self.folder), "no_proxy": "*"}
        command = [str(BIN / "openstack"), "migration", *words, "-f", "json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment)
        assert done.returncode == 0, done.stderr
        assert "arning" not in done.stderr, done.stderr
        return json.loads(done.stdout)


@dataclasses.dataclass(frozen=True)
class Found:
    """The service as openstacksdk finds it in the catalog, for the user of a connection."""

    connection: Any

    @property
    def client(self) -> Any:
        return self.connection.migration


@contextlib.contextmanager
def desk_of(info: Mapping[str, Any]) -> Iterator[Desk]:
    with openstack.connect(**info, load_yaml_config=False, load_envvars=False) as connection:
        vendor_hook(connection)
        yield Desk(Found(connection))


@pytest.fixture(scope="module")
def registered(new_cloud: LabCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    folder = tmp_path_factory.mktemp("registered")
    (folder / "shares.ini").write_text(shares([new_cloud]))
    state = folder / "state"
    state.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(SHARES, str(folder / "shares.ini"))
        patch.setenv("no_proxy", "*")
        stack.enter_context(places.locked(f"{new_cloud.name}.coriolis"))
        identity = stack.enter_context(new_cloud.connect()).identity
        _forget(identity)
        stack.callback(_forget, identity)
        user = identity.create_user(name=USER, password=PASSWORD, domain_id="default")
        project, role = identity.find_project("service"), identity.find_role("service")
        identity.assign_project_role_to_user(project, user, role)
        trustee = identity.create_user(name=TRUSTEE, password=PASSWORD, domain_id="default")
        _enter(identity, stack.enter_context(running(state, settings(new_cloud.auth()["auth_url"]))))
        yield Registered(lab=new_cloud, folder=folder, trustee=trustee.id)


def _enter(identity: Any, standalone: Standalone) -> None:
    """Puts it into the catalog."""
    found = json.loads((standalone.state / "standalone.json").read_text())["url"].rpartition("/")[0]
    service = identity.create_service(name=USER, type=KIND)
    for interface in ("public", "internal", "admin"):
        url = f"{found}/%(project_id)s"
        identity.create_endpoint(service_id=service.id, interface=interface, region_id=REGION, url=url)


def _forget(identity: Any) -> None:
    """All that the fixture makes; perhaps of a session that was killed."""
    for service in list(identity.services(type=KIND)):
        identity.delete_service(service)  # with its endpoints
    for user in list(identity.users()):
        if user.name in (USER, TRUSTEE):
            identity.delete_user(user)


@pytest.fixture(scope="module")
def member(registered: Registered) -> Iterator[Member]:
    with member_of(registered.lab, RANGE) as made:
        yield made


@contextlib.contextmanager
def secret_of(member: Member, info: dict[str, Any]) -> Iterator[str]:
    """The reference of a secret in the cloud's Barbican, stored by the user."""
    keys = member.sdk.key_manager
    made = keys.create_secret(name="site", payload=json.dumps(info), payload_content_type="text/plain")
    try:
        yield made.secret_ref
    finally:
        keys.delete_secret(made.secret_id)


def test_the_service_is_found_and_keeps_projects_apart(registered: Registered, member: Member) -> None:
    made = registered.run(member, "endpoint", "create", "--name", "o", "--type", "null", "--connection-info", "{}")
    with desk_of(member.info) as desk, desk_of(registered.lab.auth(member=True)) as others:
        assert [one["id"] for one in desk.ask("GET", "/endpoints")["endpoints"]] == [made["id"]]
        assert others.ask("GET", "/endpoints")["endpoints"] == []
        answer = others.standalone.client.request(f"/endpoints/{made['id']}", "GET", raise_exc=False)
        assert answer.status_code == 404
        desk.ask("DELETE", f"/endpoints/{made['id']}")


def test_a_job_acts_for_its_user_in_the_cloud_of_the_service(registered: Registered, member: Member) -> None:
    """What the endpoint is, is in Barbican, and has no credentials: the user's own token, and then a trust, open the
    secret and make the server."""
    with places.locked("images"):
        guest = build_guest(places.LAB / "images", content.GUEST)
        ova = build_ova(guest, places.LAB / "images", Machine(name="delegated"))
    with secret_of(member, {"region_name": REGION}) as reference, desk_of(member.info) as desk:
        words = ("endpoint", "create", "--name", "here", "--type", "openstack", "--connection-secret", reference)
        here = registered.run(member, *words, "--skip-validation")["id"]
        wait_for(lambda: answered(desk, here), PATIENCE)
        assert registered.trusts() == []  # a question is asked with the token itself
        order = {
            "origin_endpoint_id": desk.endpoint("ova", {"path": str(ova)}),
            "destination_endpoint_id": here,
            "instances": ["delegated"],
            "network_map": {"VM Network": "site"},
            "storage_mappings": {"default": "fast"},
            "destination_environment": {"verification": "full"},
        }
        path = f"/migrations/{desk.ask('POST', '/migrations', {'migration': order})['migration']['id']}"
        (trust,) = registered.trusts()
        own = (member.sdk.current_user_id, member.sdk.current_project_id)
        assert (trust["trustor_user_id"], trust["project_id"], trust["impersonation"]) == (*own, True)
        _revoke(registered, desk)
        done = desk.finished(path, "migration")
        (disk,) = done["transfer_result"]["delegated"]["integrity"]["disks"]
        assert disk["source_digest"] == disk["target_digest"]
        server = member.server("delegated")
        assert (server.user_id, server.project_id) == own
        wait_for(lambda: registered.trusts() == [], PATIENCE)
        said = member.until_said(server, "coriolis-guest: ready")
        assert f"data ok {guest.data_digest}" in said
    assert member.seen() == ["port", "server", "volume"]


def answered(desk: Desk, endpoint: str) -> bool:
    """Whether the user's own network is found there. On a busy machine, Barbican may not answer at once."""
    answer = desk.standalone.client.request(f"/endpoints/{endpoint}/networks", "GET", raise_exc=False)
    if answer.status_code == 503:
        return False
    assert answer.status_code == 200, answer.text
    return "site" in {one["name"] for one in answer.json()["networks"]}


def _revoke(registered: Registered, desk: Desk) -> None:
    """Ends the token with which the job was submitted."""
    assert isinstance(desk.standalone, Found)
    token = desk.standalone.connection.auth_token
    with registered.lab.connect() as admin:
        answer = admin.identity.delete("/auth/tokens", headers={"X-Subject-Token": token})
    assert answer.status_code == 204
