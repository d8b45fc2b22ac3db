# SPDX-License-Identifier: Apache-2.0
"""The contents of a fresh Keystone: service users, the catalog, and a plain member of a project."""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

from tests.lab.places import PASSWORD, REGION
from tests.lab.settings import CATALOG
from tests.lab.spec import CloudSpec

MEMBER_USER = MEMBER_PROJECT = "lab-member"
# Of Barbican; nobody but admin has them unless a test gives them.
_BARBICAN_ROLES = ("creator", "audit", "observer", "key-manager:service-admin")


def call(
    spec: CloudSpec, method: str, service: str, path: str, body: Any = None, token: str = ""
) -> tuple[dict[str, Any], Message]:
    """Ask a service of the cloud. Raises urllib.error.HTTPError, or URLError when nobody listens."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(spec.url(service, path), method=method, data=data)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("X-Auth-Token", token)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        text = answer.read()
        return json.loads(text) if text else {}, answer.headers


def admin_token(spec: CloudSpec) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": scope}}
    return str(call(spec, "POST", "keystone", "/v3/auth/tokens", body)[1]["X-Subject-Token"])


def make_keys(var: Path) -> None:
    """Fernet keys as keystone-manage would write them: 0 is the next one, 1 signs."""
    for repository in ("keystone/fernet", "keystone/credential"):
        for number in ("0", "1"):
            path = var / repository / number
            if not path.exists():
                path.touch(mode=0o600)
                path.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


class Register:
    """Fills a Keystone that ``keystone-manage bootstrap`` made."""

    def __init__(self, spec: CloudSpec) -> None:
        self._spec, self._token = spec, admin_token(spec)

    def fill(self) -> None:
        roles = {role["name"]: role["id"] for role in self._get("/v3/roles")["roles"]}
        if "service" not in roles:
            roles["service"] = self._make("role", name="service")
        for name in _BARBICAN_ROLES:
            self._make("role", name=name)
        project = self._make("project", name="service", domain_id="default")
        for user, entries in CATALOG.items():
            user_id = self._user(user, project)
            for role in ("admin", "service"):
                self._grant(project, user_id, roles[role])
            for kind, name, path in entries:
                self._entry(user, kind, name, path)
        member = self._make("project", name=MEMBER_PROJECT, domain_id="default")
        self._grant(member, self._user(MEMBER_USER, member), roles["member"])

    def _entry(self, user: str, kind: str, name: str, path: str) -> None:
        service = self._make("service", name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            url = self._spec.url(user, path)
            self._make("endpoint", service_id=service, interface=interface, region_id=REGION, url=url)

    def _user(self, name: str, project: str) -> str:
        return self._make("user", name=name, password=PASSWORD, domain_id="default", default_project_id=project)

    def _grant(self, project: str, user: str, role: str) -> None:
        call(self._spec, "PUT", "keystone", f"/v3/projects/{project}/users/{user}/roles/{role}", None, self._token)

    def _get(self, path: str) -> dict[str, Any]:
        return call(self._spec, "GET", "keystone", path, None, self._token)[0]

    def _make(self, kind: str, **body: Any) -> str:
        answer, _ = call(self._spec, "POST", "keystone", f"/v3/{kind}s", {kind: body}, self._token)
        return str(answer[kind]["id"])


def every_agent_reports(spec: CloudSpec) -> bool:
    """Whether each Nova and Cinder service that answers no HTTP has said that it is up."""
    token = admin_token(spec)
    found = call(spec, "GET", "nova", "/v2.1/os-services", None, token)[0]["services"]
    up = {(entry["host"], entry["binary"]) for entry in found if entry["state"] == "up"}
    wanted = {(host, "nova-compute") for host in spec.host_names}
    if not wanted <= up or not {"nova-scheduler", "nova-conductor"} <= {binary for _, binary in up}:
        return False
    nodes = call(spec, "GET", "nova", "/v2.1/os-hypervisors", None, token)[0]["hypervisors"]
    if len(nodes) < spec.hosts:  # the scheduler maps new hosts into the cell every few seconds
        return False
    project = call(spec, "GET", "keystone", "/v3/projects?name=admin", None, token)[0]["projects"][0]["id"]
    found = call(spec, "GET", "cinder", f"/v3/{project}/os-services", None, token)[0]["services"]
    backends = {*spec.backends, *spec.additions.cinder_backends}
    return {f"lab@{name}" for name in backends} <= {entry["host"] for entry in found if entry["state"] == "up"}
