# SPDX-License-Identifier: Apache-2.0
"""A real Keystone from PyPI on loopback: SQLite, Fernet tokens, in a virtual environment beside ours (with Barbican).

The environment is made once (about a minute) and kept below the virtual environment that runs the tests.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

RELEASES = ("keystone==30.0.0", "barbican==23.0.0", "waitress>=3")
# OpenStack services read the arguments of the process as their own: they are taken away before the import.
_SERVE = """
import sys
port = int(sys.argv.pop())
sys.argv = ["service"]
{load}
from waitress import serve
serve(application, host="127.0.0.1", port=port, threads=4)
"""
_LOAD = "from keystone.wsgi.api import application"
_START_SECONDS = 60
_CALL_SECONDS = 60


def environment() -> Path:
    """The virtual environment with Keystone; made when it is not there."""
    home = Path(sys.prefix) / "keystone"
    with open(Path(sys.prefix) / "keystone.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        ready = home / ("." + ",".join(RELEASES))
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            subprocess.run([str(home / "bin/pip"), "install", "-q", *RELEASES], check=True)
            ready.touch()
    return home


@dataclass
class Keystone:
    """A running server. ``admin_password`` belongs to the user admin of the project admin."""

    url: str
    admin_password: str = field(repr=False)
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    admin_token: str = field(default="", repr=False)

    def token(self, user: str, project: str, url: str | None = None) -> str:
        """A new token of the user, scoped to the project (both by name)."""
        password = self.admin_password if user == "admin" else self.passwords[user]
        domain = {"id": "default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        answer = requests.post(f"{url or self.url}/auth/tokens", json=body, timeout=_CALL_SECONDS)
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def revoke(self, token: str) -> None:
        headers = {"X-Auth-Token": self.token("admin", "admin"), "X-Subject-Token": token}
        requests.delete(f"{self.url}/auth/tokens", headers=headers, timeout=_CALL_SECONDS).raise_for_status()

    def project(self, name: str) -> str:
        """Make a project; gives its id."""
        return str(self._admin("POST", "projects", {"project": {"name": name}})["project"]["id"])

    def user(self, name: str, project_id: str, role: str) -> None:
        """Make a user who has a role in a project."""
        self.passwords[name] = secrets.token_urlsafe(16)
        body = {"user": {"name": name, "password": self.passwords[name]}}
        key = self._admin("POST", "users", body)["user"]["id"]
        found = self._admin("GET", f"roles?name={role}")["roles"][0]["id"]
        self._admin("PUT", f"projects/{project_id}/users/{key}/roles/{found}")

    def user_id(self, name: str) -> str:
        return str(self._admin("GET", f"users?name={name}")["users"][0]["id"])

    def offer(self, kind: str, url: str) -> None:
        """Put a service into the catalog; ``url`` may hold ``%(project_id)s``."""
        made = self._admin("POST", "services", {"service": {"type": kind, "name": kind}})["service"]["id"]
        body = {"service_id": made, "interface": "public", "url": url, "region_id": "here"}
        self._admin("POST", "endpoints", {"endpoint": body})

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        self.admin_token = self.admin_token or self.token("admin", "admin")
        headers = {"X-Auth-Token": self.admin_token}
        answer = requests.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=_CALL_SECONDS)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextlib.contextmanager
def running(directory: Path, port: int) -> Iterator[Keystone]:
    """A fresh Keystone with its data in ``directory``."""
    password = secrets.token_urlsafe(16)
    config = configure(directory, 3600)
    url = f"http://127.0.0.1:{port}/v3"
    user = pwd.getpwuid(os.geteuid()).pw_name
    owner = ("--keystone-user", user, "--keystone-group", user)
    shutil.copy(_empty_database(), directory / "keystone.sqlite")
    _manage(config, "fernet_setup", *owner)
    _manage(config, "credential_setup", *owner)
    addresses = [word for kind in ("public", "internal", "admin") for word in (f"--bootstrap-{kind}-url", url)]
    words = (*addresses, "--bootstrap-region-id", "here")
    _manage(config, "bootstrap", *words, variables={"OS_BOOTSTRAP_PASSWORD": password})
    with serving(config, port):
        yield Keystone(url=url, admin_password=password)


def _empty_database() -> Path:
    """The tables without rows: they take half a minute to make, so they are kept beside the environment."""
    kept = environment() / "empty.sqlite"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as place:
            _manage(configure(Path(place), 3600), "db_sync")
            os.replace(Path(place) / "keystone.sqlite", kept)
    return kept


def configure(directory: Path, token_seconds: int) -> Path:
    """A configuration file over the same data, with tokens that live so long."""
    path = directory / f"keystone-{token_seconds}.conf"
    path.write_text(
        f"""[DEFAULT]
log_file = {directory}/keystone.log
[database]
connection = sqlite:///{directory}/keystone.sqlite
[identity]
password_hash_rounds = 4
[token]
expiration = {token_seconds}
[fernet_tokens]
key_repository = {directory}/fernet
[fernet_receipts]
key_repository = {directory}/fernet
[credential]
key_repository = {directory}/credential
"""
    )
    return path


@contextlib.contextmanager
def serving(config: Path, port: int) -> Iterator[str]:
    """A Keystone process over a configuration; gives its URL."""
    url = f"http://127.0.0.1:{port}/v3"
    variables = {"HOME": str(config.parent), "OS_KEYSTONE_CONFIG_FILES": str(config)}
    with serve(_LOAD, url, port, variables, config.with_suffix(".out")):
        yield url


@contextlib.contextmanager
def serve(load: str, url: str, port: int, variables: dict[str, str], output: Path) -> Iterator[None]:
    """A process of the environment that serves what the code in ``load`` calls ``application``."""
    with open(output, "wb") as log:
        process = subprocess.Popen(
            [str(environment() / "bin/python"), "-c", _SERVE.format(load=load), str(port)],
            env={"PATH": "/usr/bin:/bin", **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(url, process, output)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _manage(config: Path, command: str, *words: str, variables: dict[str, str] | None = None) -> None:
    subprocess.run(
        [str(environment() / "bin/keystone-manage"), "--config-file", str(config), command, *words],
        env={"PATH": "/usr/bin:/bin", "HOME": str(config.parent), **(variables or {})},
        check=True,
        capture_output=True,
    )


def _wait(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=_CALL_SECONDS).status_code < 500:
                return
        time.sleep(0.2)
    raise RuntimeError("The service does not start:\n" + output.read_text()[-4000:])
