# SPDX-License-Identifier: Apache-2.0
"""Connection info in a real Barbican, behind a real Keystone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from keystoneauth1 import session
from keystoneauth1.identity import v3

from coriolis.domain.errors import Invalid, Unavailable
from coriolis.rpc.messages import Endpoint
from coriolis.runtime import secrets
from tests.integration import keystone_server
from tests.integration.keystone_server import Keystone, environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # the first run installs Keystone and Barbican

_LOAD = "from paste.deploy import loadapp; application = loadapp('config:{paste}')"
INFO = {"host": "vcenter", "username": "me", "password": "s\u00e9cret"}


@dataclass
class Safe:
    keystone: Keystone
    url: str

    def session_of(self, user: str, project: str) -> session.Session:
        auth = v3.Password(
            auth_url=self.keystone.url,
            username=user,
            password=self.keystone.passwords[user],
            project_name=project,
            user_domain_id="default",
            project_domain_id="default",
        )
        return session.Session(auth=auth)

    def fetch(self, user: str, project: str) -> secrets.FetchSecret:
        return secrets.barbican(self.session_of(user, project), endpoint=self.url)

    def store(self, payload: str) -> str:
        """As a console does. Gives the reference."""
        headers = {"X-Auth-Token": self.keystone.token("mine", "ours")}
        body = {"payload": payload, "payload_content_type": "text/plain", "algorithm": "aes", "bit_length": 256}
        answer = requests.post(f"{self.url}/v1/secrets", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["secret_ref"])


@contextlib.contextmanager
def barbican(directory: Path, port: int, keystone: Keystone) -> Iterator[str]:
    """A Barbican process with its data below ``directory``."""
    url = f"http://127.0.0.1:{port}"
    home = directory / ".barbican"
    home.mkdir()
    config = home / "barbican.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"""[DEFAULT]
host_href = {url}
db_auto_create = true
[database]
connection = sqlite:///{directory}/barbican.sqlite
[secretstore]
enabled_secretstore_plugins = store_crypto
[crypto]
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
kek = {Fernet.generate_key().decode()}
[queue]
enable = false
[keystone_authtoken]
auth_type = password
auth_url = {keystone.url}
username = admin
password = {keystone.admin_password}
project_name = admin
user_domain_id = default
project_domain_id = default
"""
    )
    paste = environment() / "etc/barbican/barbican-api-paste.ini"
    load = _LOAD.format(paste=paste)
    with keystone_server.serve(load, url, port, {"HOME": str(directory)}, directory / "barbican.out"):
        yield url


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Safe]:
    directory = tmp_path_factory.mktemp("barbican")
    with keystone_server.running(directory, free_port()) as keystone:
        for user, name in (("mine", "ours"), ("other", "theirs")):
            keystone.user(user, keystone.project(name), "member")
        with barbican(directory, free_port(), keystone) as url:
            yield Safe(keystone, url)


def vault(fetch: secrets.FetchSecret) -> secrets.Vault:
    return secrets.Vault([Fernet.generate_key().decode()], fetch)


def test_a_reference_is_opened(safe: Safe) -> None:
    account = Endpoint(type="vmware", secret_ref=safe.store(json.dumps(INFO)))
    assert vault(safe.fetch("mine", "ours")).open(account) == INFO


def test_a_secret_of_another_project_is_refused(safe: Safe) -> None:
    account = Endpoint(type="vmware", secret_ref=safe.store(json.dumps(INFO)))
    with pytest.raises(Invalid, match="refuses") as caught:
        vault(safe.fetch("other", "theirs")).open(account)
    assert "vcenter" not in caught.value.message


@pytest.mark.parametrize("rest", ["/v1/secrets/99999999-9999-4999-8999-999999999999", "/v1/secrets/x", "", "/other"])
def test_references_to_nothing(safe: Safe, rest: str) -> None:
    with pytest.raises(Invalid, match="refuses"):
        vault(safe.fetch("mine", "ours")).open(Endpoint(type="vmware", secret_ref=safe.url + rest))


def test_a_secret_that_is_no_object(safe: Safe) -> None:
    with pytest.raises(Invalid, match="JSON object"):
        vault(safe.fetch("mine", "ours")).open(Endpoint(type="vmware", secret_ref=safe.store("hello")))


def test_a_reference_cannot_send_the_token_elsewhere(safe: Safe, free_port: Callable[[], int]) -> None:
    """The host in a reference is the user's word: the token goes to the configured Barbican only."""
    key = safe.store(json.dumps(INFO)).rsplit("/", 1)[1]
    account: Any = Endpoint(type="vmware", secret_ref=f"http://127.0.0.1:{free_port()}/v1/secrets/{key}")
    assert vault(safe.fetch("mine", "ours")).open(account) == INFO


def test_a_barbican_that_is_away(safe: Safe, free_port: Callable[[], int]) -> None:
    fetch = secrets.barbican(safe.session_of("mine", "ours"), endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="Barbican"):
        vault(fetch).open(Endpoint(type="vmware", secret_ref=safe.store(json.dumps(INFO))))
