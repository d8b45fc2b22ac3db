# SPDX-License-Identifier: Apache-2.0
"""The real programs ``openstack`` and ``coriolis`` with a real Keystone: catalog, passwords, projects, roles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cheroot import wsgi
from cryptography.fernet import Fernet
from prometheus_client import CollectorRegistry

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Vault
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.integration import keystone_server
from tests.integration.test_keystone import conf, work

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # the first run installs Keystone

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Site:
    """``clouds``: a folder with a clouds.yaml that has a cloud for each user."""

    url: str
    passwords: dict[str, str] = field(repr=False)
    clouds: Path

    def run(self, name: str, user: str, *words: str, cloud: bool = True, fails: bool = False) -> Any:
        """:returns: JSON where it is any, else the text; standard error where it has to fail"""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
        environment |= {"HOME": str(self.clouds)} | ({"OS_CLOUD": user} if cloud else self.by_password(user))
        command = [str(BIN / name), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.clouds, env=environment)
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        if fails:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    def by_password(self, user: str) -> dict[str, str]:
        return {
            "OS_AUTH_URL": self.url,
            "OS_USERNAME": user,
            "OS_PASSWORD": self.passwords[user],
            "OS_PROJECT_NAME": user.split("-")[1],
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("plugin")
    with keystone_server.running(directory, free_port()) as keystone:
        for project in ("ours", "theirs"):
            key = keystone.project(project)
            for role in ("reader", "member", "admin"):
                keystone.user(f"{role}-{project}", key, role)
        db = Database(f"sqlite:///{directory}/coriolis.sqlite", synchronous="NORMAL")
        metadata.create_all(db.engine)
        bus = LocalBus(threads=2)
        vault = Vault([Fernet.generate_key().decode()])
        work(db, bus, vault, directory)
        login = identity.keystone(conf(directory, keystone))
        app = make_app(ApiSettings(), db, bus, vault, login, registry=CollectorRegistry())
        port = free_port()
        server = wsgi.Server(("127.0.0.1", port), app, numthreads=2)
        server.prepare()
        thread = threading.Thread(target=server.serve)
        thread.start()
        keystone.offer("migration", f"http://127.0.0.1:{port}/v1/%(project_id)s")
        made = Site(keystone.url, keystone.passwords, directory)
        clouds = {user: cloud_of(made, user) for user in keystone.passwords}
        path = directory / "clouds.yaml"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"clouds": clouds}))
        yield made
        server.stop()
        thread.join()
        bus.close()
        db.dispose()


def cloud_of(site: Site, user: str) -> dict[str, Any]:
    names = {key.removeprefix("OS_").lower(): value for key, value in site.by_password(user).items()}
    return {"auth": names, "region_name": "here", "vendor_hook": "coriolis.client:vendor_hook"}


def create(site: Site, program: tuple[str, ...], user: str, name: str, **more: Any) -> Any:
    name_, *prefix = program
    words = (*prefix, "endpoint", "create", "--name", name, "--type", "null", "--connection-info", "{}", "-f", "json")
    return site.run(name_, user, *words, **more)


PROGRAMS = [("openstack", "migration"), ("coriolis",)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[0])
@pytest.mark.parametrize("cloud", [True, False], ids=["clouds.yaml", "environment"])
def test_the_service_is_found_in_the_catalog(site: Site, program: tuple[str, ...], cloud: bool) -> None:
    name, *prefix = program
    made = create(site, program, "member-ours", "one", cloud=cloud)
    assert site.run(name, "reader-ours", *prefix, "endpoint", "show", "one", "-f", "value", "-c", "id", cloud=cloud)
    site.run(name, "member-ours", *prefix, "endpoint", "delete", made["id"], cloud=cloud)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[0])
def test_roles_and_projects_hold(site: Site, program: tuple[str, ...]) -> None:
    name, *prefix = program
    made = create(site, program, "member-ours", "hidden")
    assert "hidden" not in json.dumps(site.run(name, "member-theirs", *prefix, "endpoint", "list", "-f", "json"))
    there = site.run(name, "member-theirs", *prefix, "endpoint", "show", made["id"], fails=True)
    assert "There is no endpoint" in there
    refused = create(site, program, "reader-ours", "more", fails=True)
    assert "migration:endpoints:create" in refused
    assert site.run(name, "member-ours", *prefix, "region", "list", fails=True)
    assert site.run(name, "admin-ours", *prefix, "region", "list", "-f", "json") == []
    site.run(name, "member-ours", *prefix, "endpoint", "delete", "hidden")


def test_a_wrong_password_is_told_in_words(site: Site) -> None:
    wrong = Site(site.url, {**site.passwords, "member-ours": "wrong"}, site.clouds)
    for name, words in (("coriolis", ("endpoint", "list")), ("openstack", ("migration", "endpoint", "list"))):
        assert "401" in wrong.run(name, "member-ours", *words, cloud=False, fails=True)
