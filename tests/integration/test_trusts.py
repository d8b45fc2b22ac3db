# SPDX-License-Identifier: Apache-2.0
"""Trusts against a real Keystone and a real Barbican: work goes on when the token has ended, and nothing is left."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from keystoneauth1 import loading
from keystoneauth1 import session as sessions

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import executions as execution_commands
from coriolis.commands import minion_pools as pools
from coriolis.commands import schedules, trusts
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.minion_pools import NewPool
from coriolis.domain.errors import Forbidden, Invalid, Unavailable
from coriolis.providers import registry
from coriolis.providers.api import DELEGATION, Provider, connection_schema, delegation_plugin
from coriolis.rpc.messages import Endpoint
from coriolis.runtime import secrets as vaults
from coriolis.runtime.trusts import Trustee, TrustGone, Trusts
from coriolis.store import executions
from coriolis.store import minion_pools as pool_queries
from coriolis.store import schedules as schedule_queries
from coriolis.store import trusts as queries
from coriolis.store.tables import execution
from coriolis.worker.credentials import open_endpoint
from coriolis.worker.settings import VaultSettings
from tests.integration import keystone_server
from tests.integration.keystone_server import Keystone
from tests.integration.test_barbican import INFO, barbican
from tests.unit.commands.test_schedules import end, transfer
from tests.unit.conductor.conftest import empty_database as empty_database
from tests.unit.conductor.conftest import rig as rig
from tests.unit.conductor.rig import CALLER, Rig
from tests.unit.conductor.test_minion_pools import minions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # the first run installs Keystone and Barbican

ROLES = ("member", "reader")


@dataclass
class Site:
    keystone: Keystone
    barbican: str
    directory: Path
    projects: dict[str, str]
    users: dict[str, str]

    def caller(self, name: str = "mine", project: str = "ours") -> Caller:
        return Caller(user_id=self.users[name], project_id=self.projects[project])

    def trustee(self, url: str | None = None, password: str | None = None) -> Trustee:
        auth = {
            "auth_url": url or self.keystone.url,
            "username": "coriolis",
            "password": password or self.keystone.passwords["coriolis"],
            "user_domain_id": "default",
            "project_name": "service",  # an operator writes it for the other sections; a trust takes no project
            "project_domain_id": "default",
        }
        return Trustee(auth_type="password", auth=auth)

    def vault(self, key_file: Path, trustee: Trustee | None = None) -> VaultSettings:
        found = trustee or self.trustee()
        return VaultSettings(
            key_file=str(key_file),
            barbican={"auth_type": None, "auth": {}, "endpoint": self.barbican, "region": None, "cafile": None},
            trustee={"auth_type": found.auth_type, "auth": found.auth, "cafile": None},
        )

    def store(self, payload: dict[str, Any], user: str = "mine", project: str = "ours") -> str:
        headers = {"X-Auth-Token": self.keystone.token(user, project)}
        body = {"payload": json.dumps(payload), "payload_content_type": "text/plain"}
        answer = requests.post(f"{self.barbican}/v1/secrets", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["secret_ref"])

    def in_keystone(self) -> set[str]:
        """All trusts, asked of Keystone as its administrator. It keeps expired ones until its own cleaning."""
        headers = {"X-Auth-Token": self.keystone.token("admin", "admin")}
        answer = requests.get(f"{self.keystone.url}/OS-TRUST/trusts", headers=headers, timeout=60)
        return {one["id"] for one in answer.json()["trusts"] if not one["expires_at"]}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("trusts")
    with keystone_server.running(directory, free_port()) as keystone:
        projects = {name: keystone.project(name) for name in ("ours", "theirs", "service")}
        for user, name in (("mine", "ours"), ("other", "theirs"), ("coriolis", "service")):
            keystone.user(user, projects[name], "member")
        users = {name: keystone.user_id(name) for name in ("mine", "other")}
        with barbican(directory, free_port(), keystone) as url:
            yield Site(keystone, url, directory, projects, users)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.key"
    vaults.create_keys(path)
    return path


@pytest.fixture(autouse=True)
def _nothing_is_left(site: Site) -> Iterator[None]:
    yield
    left = site.in_keystone()
    assert left == set(), "a test left trusts in Keystone"


def grant(site: Site, rig: Rig, keystone: Trusts | None = None, **more: Any) -> str:
    """Ours of a new trust of "mine" in "ours"."""
    token = more.pop("token", None) or site.keystone.token("mine", "ours")
    made = keystone or Trusts(site.trustee())
    return trusts.grant(rig.db, made, site.caller(), token=token, roles=more.pop("roles", ROLES))


def keystone_id(rig: Rig, trust_id: str) -> str:
    return rig.db.read(queries.keystone_ids, [trust_id])[trust_id]


def sweep(site: Site, rig: Rig, keystone: Trusts | None = None) -> int:
    return trusts.sweep(rig.db, keystone or Trusts(site.trustee()))


def until(condition: Callable[[], bool]) -> None:
    end_at = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end_at, "it did not come true in time"
        time.sleep(1)


def _has_ended(endpoint: Endpoint, vault: VaultSettings) -> bool:
    try:
        open_endpoint(endpoint, vault)
    except TrustGone as error:
        return "expired" in error.message
    return False


def later(rig: Rig) -> None:
    rig.clock.forward(trusts.GRACE.total_seconds() + 1)


def test_a_secret_is_read_when_the_token_has_ended(
    site: Site, rig: Rig, key_file: Path, free_port: Callable[[], int]
) -> None:
    reference = site.store(INFO)
    seconds = 15
    short = keystone_server.configure(site.directory, seconds)
    with keystone_server.serving(short, free_port()) as url:
        token = site.keystone.token("mine", "ours", url)
    made = grant(site, rig, token=token)
    endpoint = Endpoint(type="vmware", secret_ref=reference, trust=keystone_id(rig, made))
    headers = {"X-Auth-Token": token}
    until(lambda: requests.get(f"{site.barbican}/v1/secrets", headers=headers, timeout=60).status_code == 401)
    assert open_endpoint(endpoint, site.vault(key_file)) == INFO
    later(rig)
    assert sweep(site, rig) == 1


def test_a_trust_opens_no_secret_of_another_project(site: Site, rig: Rig, key_file: Path) -> None:
    made = grant(site, rig)
    foreign = site.store(INFO, "other", "theirs")
    endpoint = Endpoint(type="vmware", secret_ref=foreign, trust=keystone_id(rig, made))
    with pytest.raises(Exception, match="refuses"):
        open_endpoint(endpoint, site.vault(key_file))
    trusts.release(rig.db, Trusts(site.trustee()), made)


def test_a_trust_that_has_ended_is_told(site: Site, rig: Rig, key_file: Path) -> None:
    reference = site.store(INFO)
    made = grant(site, rig)
    endpoint = Endpoint(type="vmware", secret_ref=reference, trust=keystone_id(rig, made))
    trusts.release(rig.db, Trusts(site.trustee()), made)
    with pytest.raises(TrustGone, match="Submit the job again"):
        open_endpoint(endpoint, site.vault(key_file))


def test_an_expired_trust_is_told(site: Site, rig: Rig, key_file: Path) -> None:
    reference = site.store(INFO)
    rig.clock.now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    brief = Trusts(site.trustee(), lifetime=dt.timedelta(seconds=20))
    made = grant(site, rig, brief)
    endpoint = Endpoint(type="vmware", secret_ref=reference, trust=keystone_id(rig, made))
    assert open_endpoint(endpoint, site.vault(key_file)) == INFO
    until(lambda: _has_ended(endpoint, site.vault(key_file)))
    later(rig)
    assert sweep(site, rig) == 1


def test_without_a_trust_and_without_credentials_nothing_is_read(site: Site, key_file: Path) -> None:
    with pytest.raises(Exception, match="trust"):
        open_endpoint(Endpoint(type="vmware", secret_ref=site.store(INFO)), site.vault(key_file))


def test_a_trust_lasts_as_long_as_its_execution(site: Site, rig: Rig) -> None:
    job = transfer(rig)
    made = grant(site, rig)
    with rig.db.writer() as conn:
        caller = Caller(user_id="user", project_id="project", trust_id=made)
        execution_commands.start(
            conn, caller, job, rig.clock(), key="e" * 36, shutdown_instances=False, auto_deploy=False
        )
    later(rig)
    assert sweep(site, rig) == 0
    assert keystone_id(rig, made) in site.in_keystone()
    end(rig, job)
    assert sweep(site, rig) == 1
    assert rig.db.read(executions.latest, [job])[job].trust_id == made


def test_a_trust_ends_at_once_with_its_work(site: Site, rig: Rig) -> None:
    """Only a trust that nothing has used yet waits for a request that may still be under way."""
    job, unused = transfer(rig), grant(site, rig)
    caller = Caller(user_id="user", project_id="project", trust_id=grant(site, rig))
    with rig.db.writer() as conn:
        execution_commands.start(
            conn, caller, job, rig.clock(), key="f" * 36, shutdown_instances=False, auto_deploy=False
        )
    assert sweep(site, rig) == 0
    end(rig, job)
    assert sweep(site, rig) == 1
    assert keystone_id(rig, unused) in site.in_keystone()
    later(rig)
    assert sweep(site, rig) == 1


def test_a_trust_lasts_as_long_as_its_schedule_and_what_that_started(site: Site, rig: Rig) -> None:
    job = transfer(rig)
    made = grant(site, rig)
    caller = Caller(user_id="user", project_id="project", trust_id=made)
    row = schedules.create(rig.db, caller, job, schedules.NewSchedule(calendar={"minute": 0}, auto_deploy=True))
    later(rig)
    assert sweep(site, rig) == 0
    rig.clock.forward(3600)
    rig.worker(kind="ova")
    assert schedules.fire(rig.db, schedules.due(rig.db, limit=1)[0]) is schedules.Outcome.STARTED
    with rig.db.writer() as conn:
        schedule_queries.delete(conn, row.id)
    assert sweep(site, rig) == 0
    end(rig, job)
    assert sweep(site, rig) == 0, "the deployment still waits"
    with rig.db.writer() as conn:
        conn.execute(execution.update().values(state="CANCELED"))
    assert sweep(site, rig) == 1


def test_a_trust_of_a_crashed_request_is_found(site: Site, rig: Rig) -> None:
    """The process died between Keystone's answer and our second line."""
    made = grant(site, rig)
    lost = keystone_id(rig, made)
    rig.db.write(queries.made, made, None)
    younger = grant(site, rig)
    assert sweep(site, rig) == 0
    later(rig)
    waiting = grant(site, rig)
    rig.db.write(queries.made, waiting, None)
    assert sweep(site, rig) == 1, "the younger one is unneeded; the lost one cannot be told apart yet"
    assert lost in site.in_keystone()
    later(rig)
    assert sweep(site, rig) == 2
    assert lost not in site.in_keystone()
    assert rig.db.read(queries.keystone_ids, [younger, made, waiting]) == {}


def test_a_job_that_was_never_made(site: Site, rig: Rig) -> None:
    made = grant(site, rig)
    assert sweep(site, rig) == 0
    later(rig)
    assert sweep(site, rig) == 1
    assert rig.db.read(queries.keystone_ids, [made]) == {}


def test_keystone_refuses_what_the_user_does_not_have(site: Site, rig: Rig) -> None:
    with pytest.raises(Forbidden, match="Keystone refuses"):
        grant(site, rig, roles=("admin",))
    assert rig.db.read(queries.of, site.users["mine"], site.projects["ours"]) == []


def test_only_the_named_roles_are_handed_on(site: Site, rig: Rig) -> None:
    narrow = Trusts(site.trustee(), roles=["reader"])
    made = grant(site, rig, narrow)
    headers = {"X-Auth-Token": site.keystone.token("mine", "ours")}
    path = f"{site.keystone.url}/OS-TRUST/trusts/{keystone_id(rig, made)}"
    found = requests.get(path, headers=headers, timeout=60).json()["trust"]
    assert [role["name"] for role in found["roles"]] == ["reader"]
    assert found["impersonation"] is True
    trusts.release(rig.db, narrow, made)


def test_a_keystone_that_is_away(site: Site, rig: Rig, key_file: Path, free_port: Callable[[], int]) -> None:
    reference = site.store(INFO)
    away = Trusts(site.trustee(url=f"http://127.0.0.1:{free_port()}/v3"))
    with pytest.raises(Unavailable, match="Keystone does not answer"):
        grant(site, rig, away)
    made = grant(site, rig)
    with pytest.raises(Unavailable, match="Keystone"):
        away.delete(keystone_id(rig, made))
    trusts.release(rig.db, away, made)
    later(rig)
    with pytest.raises(Unavailable):
        sweep(site, rig, away)
    endpoint = Endpoint(type="vmware", secret_ref=reference, trust=keystone_id(rig, made))
    trustee = site.trustee(url=f"http://127.0.0.1:{free_port()}/v3")
    with pytest.raises(Unavailable):
        open_endpoint(endpoint, site.vault(key_file, trustee))
    assert open_endpoint(endpoint, site.vault(key_file)) == INFO
    assert sweep(site, rig) == 2


def test_the_trustees_password_is_nowhere_to_be_read(site: Site) -> None:
    assert site.keystone.passwords["coriolis"] not in repr(site.trustee())
    assert site.keystone.passwords["coriolis"] not in repr(site.vault(Path("/nowhere")))


# ---- a provider that acts for the user, and questions of the API ---------------------------------------------------

FIELDS = {"type": "object", "properties": {"cloud": {"type": "string"}, "password": {"format": "password"}}}


def own_cloud() -> Provider:
    return dataclasses.replace(
        registry.load("null"), connection_schema=connection_schema(dict(FIELDS), acts_for_user=True)
    )


def lent(site: Site, key_file: Path, user: str = "mine", project: str = "ours", token: str | None = None) -> str:
    """What the API sends with a question of this user."""
    own = vaults.Lent(token=token or site.keystone.token(user, project), project_id=site.projects[project])
    return vaults.Vault(vaults.load_keys(key_file)).seal_token(own)


def acts_as(info: dict[str, Any]) -> tuple[str, str]:
    """User and project of who a provider is that does as ``domain.delegation`` tells."""
    options = dict(info[DELEGATION])
    plugin: Any = loading.get_plugin_loader(delegation_plugin(options))
    cafile = options.pop("cafile")
    session = sessions.Session(auth=plugin.load_from_options(**options), verify=cafile or True)
    return str(session.get_user_id()), str(session.get_project_id())


def test_a_provider_acts_for_the_user_of_a_job(site: Site, rig: Rig, key_file: Path) -> None:
    made = grant(site, rig)
    sealed = vaults.Vault(vaults.load_keys(key_file)).seal({"cloud": "ours"})
    endpoint = Endpoint(type="null", sealed=sealed, trust=keystone_id(rig, made))
    info = open_endpoint(endpoint, site.vault(key_file), own_cloud())
    assert acts_as(info) == (site.users["mine"], site.projects["ours"])
    assert info["cloud"] == "ours"
    trusts.release(rig.db, Trusts(site.trustee()), made)


def test_a_provider_acts_for_the_user_of_a_question(site: Site, key_file: Path) -> None:
    sealed = vaults.Vault(vaults.load_keys(key_file)).seal({"cloud": "ours"})
    endpoint = Endpoint(type="null", sealed=sealed, token=lent(site, key_file))
    info = open_endpoint(endpoint, site.vault(key_file), own_cloud())
    assert acts_as(info) == (site.users["mine"], site.projects["ours"])


def test_with_credentials_of_its_own_it_acts_for_nobody(site: Site, key_file: Path) -> None:
    sealed = vaults.Vault(vaults.load_keys(key_file)).seal({"cloud": "ours", "password": "its own"})
    endpoint = Endpoint(type="null", sealed=sealed, token=lent(site, key_file))
    assert DELEGATION not in open_endpoint(endpoint, site.vault(key_file), own_cloud())


def test_a_question_reads_secrets_with_the_callers_token(site: Site, key_file: Path) -> None:
    """Although the service has credentials that read more: those of the other project's user."""
    vault = site.vault(key_file)
    assert vault.barbican is not None
    auth = {**site.trustee().auth, "username": "other", "password": site.keystone.passwords["other"]}
    auth.update(project_name="theirs")
    vault = dataclasses.replace(vault, barbican={**vault.barbican, "auth_type": "password", "auth": auth})
    mine, foreign = site.store(INFO), site.store(INFO, "other", "theirs")
    assert open_endpoint(Endpoint(type="null", secret_ref=foreign), vault) == INFO
    token = lent(site, key_file)
    assert open_endpoint(Endpoint(type="null", secret_ref=mine, token=token), vault) == INFO
    with pytest.raises(Invalid, match="refuse"):
        open_endpoint(Endpoint(type="null", secret_ref=foreign, token=token), vault)


def test_a_question_whose_token_has_ended_is_told(site: Site, key_file: Path) -> None:
    reference = site.store(INFO)
    token = site.keystone.token("mine", "ours")
    site.keystone.revoke(token)
    endpoint = Endpoint(type="null", secret_ref=reference, token=lent(site, key_file, token=token))
    with pytest.raises(Invalid, match="token of this request") as caught:
        open_endpoint(endpoint, site.vault(key_file))
    assert token not in str(caught.value)


def test_a_pool_keeps_its_trust_until_it_has_no_machines(site: Site, rig: Rig) -> None:
    rig.worker(kind="fake")
    end_id = endpoint_commands.create(rig.db, CALLER, NewEndpoint(name="e", type="fake", sealed="s")).id
    first, second = grant(site, rig), grant(site, rig)
    spec = NewPool(
        name="p", endpoint_id=end_id, platform="source", os_type="linux", maximum_minions=2, minion_max_idle_time=60
    )
    pool = pools.create(rig.db, dataclasses.replace(CALLER, trust_id=first), spec)
    rig.run(minions)
    later(rig)
    assert sweep(site, rig) == 1  # the second one, which nothing uses
    assert keystone_id(rig, first) in site.in_keystone(), "the pool retires machines by itself"
    assert second not in rig.db.read(queries.keystone_ids, [first, second])
    third = grant(site, rig)
    pools.deallocate(rig.db, dataclasses.replace(CALLER, trust_id=third), pool.id)
    rig.worker(kind="fake")  # the lease of the first one has run out
    rig.run(minions, until="delete_kept")
    assert [one.destination.trust for one in rig.held if one.destination] == [keystone_id(rig, third)]
    for one in rig.held:
        rig.end(one, **minions(one))
    rig.run(minions)
    assert rig.db.read(pool_queries.get, pool.id, None).status == "DEALLOCATED"
    later(rig)
    assert sweep(site, rig) == 2
