# SPDX-License-Identifier: Apache-2.0
"""Existing clients work unchanged: each of their calls, over HTTP, against a running service with real providers."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from coriolis.api.routes import ROUTES
from tests import ovf_packages
from tests.integration import client_needs as needs
from tests.integration import tiny_guest
from tests.integration.client_calls import (
    ADMINISTRATION,
    DEPLOYMENTS,
    ENDPOINTS,
    FORMS,
    POOLS,
    SCHEDULES,
    TRANSFERS,
    Call,
    Form,
    b64,
    filled,
)
from tests.integration.libvirt_host import LibvirtHost, running
from tests.integration.libvirt_lab import Lab
from tests.service import standalone_process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ENDED = {"COMPLETED", "ERROR", "CANCELED", "ALLOCATED", "DEALLOCATED"}
WAITS = {
    "execution": ("/transfers/{transfer}/executions/{execution}", "execution"),
    "execution 2": ("/transfers/{transfer}/executions/{execution 2}", "execution"),
    "execution 3": ("/transfers/{transfer}/executions/{execution 3}", "execution"),
    "deployment": ("/deployments/{deployment}", "deployment"),
    "deployment 2": ("/deployments/{deployment 2}", "deployment"),
    "pool": ("/minion_pools/{pool}", "minion_pool"),
}
WAIT_SECONDS = 300.0


@dataclass
class Client:
    """Sends what the existing command line sends, and collects what the clients would stumble over."""

    url: str
    token: str = field(repr=False)
    holes: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def ask(self, call: Call) -> Any:
        """:returns: the JSON of the answer, or its text"""
        headers = {"X-Auth-Token": self.token, "Accept": call.accept, "Content-Type": "application/json"}
        answer = requests.request(
            call.method,
            self.url + filled(call.path, self.holes),
            params={name: filled(value, self.holes) for name, value in call.query.items()},
            json=filled(call.body, self.holes),
            headers=headers,
            timeout=120,
        )
        assert answer.ok, f"{call.method} {call.path}: {answer.status_code} {answer.text[:500]}"
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.json() if is_json and answer.content else answer.text

    def run(self, form: Form) -> None:
        for number, call in enumerate(form.calls):
            answer = self.ask(call)
            if number == 0 and form.keep:
                assert call.key is not None
                self.holes[form.keep] = answer[call.key]["id"]
            self.check(f"{form.words}: {call.method} {call.path}", call, answer)
        if form.wait:
            self.wait(form)

    def check(self, where: str, call: Call, answer: Any) -> None:
        if call.key is None:
            return
        assert isinstance(answer, dict), where
        assert call.key in answer, where
        content = answer[call.key]
        for thing in content if isinstance(content, list) else [content]:
            problems = [*needs.key_faults(call.kind, thing)] if call.kind else []
            problems += needs.web_faults(thing)
            self.faults += [f"{where}: {problem}" for problem in problems]

    def wait(self, form: Form) -> None:
        path, key = WAITS[form.wait]
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            thing = self.ask(Call(method="GET", path=path))[key]
            self.faults += [f"{form.words}, meanwhile: {problem}" for problem in needs.web_faults(thing)]
            status = thing.get("status") or thing.get("last_execution_status")
            if status in ENDED:
                break
            assert time.monotonic() < deadline, f"{form.words} is still {status}"
            time.sleep(0.2)
        good = {"COMPLETED", "ALLOCATED", "DEALLOCATED"} | ({"CANCELED"} if "cancel" in form.words else set())
        assert status in good, f"{form.words}: {thing}"

    def run_all(self, forms: Iterable[Form]) -> None:
        for form in forms:
            self.run(form)
        assert self.faults == []


@dataclass(frozen=True)
class Site:
    """The service, a libvirt with a domain ``g``, an empty libvirt, and an OVA."""

    url: str
    token: str = field(repr=False)
    endpoints: Mapping[str, str]
    info: Mapping[str, Mapping[str, Any]]

    def client(self, origin: str = "libvirt") -> Client:
        instance, networks = {"libvirt": ("g", {"user": "user"}), "ova": ("web", {"VM Network": "user"})}[origin]
        return Client(
            self.url,
            self.token,
            {
                "platform": origin,
                "info": dict(self.info[origin]),
                "origin": self.endpoints[origin],
                "destination": self.endpoints["new"],
                "instance": instance,
                "instance_b64": b64(instance),
                "networks": networks,
                "storage": "default",
                "host": socket.gethostname(),
                "pool_environment": {"image": "minion.qcow2", "memory_mb": 64, "accel": "tcg"},
            },
        )


@pytest.fixture(scope="module")
def new_host() -> Iterator[LibvirtHost]:
    directory = Path(tempfile.mkdtemp(prefix="lv2-"))
    try:
        with running(directory, name="target") as host:
            host.define_pool()
            yield host
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def site(libvirt_host: LibvirtHost, new_host: LibvirtHost) -> Iterator[Site]:
    scratch = Path(tempfile.mkdtemp(prefix="cor-calls-"))
    lab = Lab(host=libvirt_host, scratch=scratch)
    lab.define("g")
    lab.start("g")
    tiny_guest.qcow2_disk(libvirt_host.pool / "minion.qcow2")
    lab.raw.storagePoolLookupByName("default").refresh()
    ova = ovf_packages.ova(scratch / "web.ova", ovf_packages.content(3 << 20))
    info = {
        "libvirt": {**libvirt_host.connection_info, "shutdown_grace_seconds": 1},
        "new": {**new_host.connection_info, "shutdown_grace_seconds": 1},
        "ova": {"path": str(ova)},
    }
    try:
        with standalone_process.running(scratch / "state") as standalone:
            client = standalone.client
            endpoints = {
                name: client.create_endpoint(
                    name=name, type="ova" if name == "ova" else "libvirt", connection_info=content
                ).id
                for name, content in info.items()
            }
            url = str(client.get_endpoint_data().url)  # type: ignore[union-attr]
            token = (standalone.state / "token").read_text().strip()
            yield Site(url.rstrip("/"), token, endpoints, info)
    finally:
        lab.clear()
        lab.close()
        shutil.rmtree(scratch)


pytestmark.append(pytest.mark.skipif(os.geteuid() != 0, reason="libvirt needs root"))


def served(*nouns: str) -> pytest.MarkDecorator:
    """For the calls of nouns that the service has."""
    missing = set(nouns) - {segment for route in ROUTES for segment in route.segments}
    return pytest.mark.skipif(bool(missing), reason=f"not served: {', '.join(sorted(missing))}")


def test_the_table_has_every_form() -> None:
    assert len(FORMS) == len({form.words for form in FORMS}) == 61


@pytest.mark.parametrize("origin", ["libvirt", "ova"])
def test_endpoints_and_providers(site: Site, origin: str) -> None:
    client = site.client(origin)
    client.run_all(ENDPOINTS)
    providers = client.ask(Call(method="GET", path="/providers"))["providers"]
    types = {endpoint["type"] for endpoint in client.ask(Call(method="GET", path="/endpoints"))["endpoints"]}
    assert types <= set(providers), "an endpoint whose provider is not listed"
    for platform in types:
        schema = client.ask(Call(method="GET", path=f"/providers/{platform}/schemas/16"))["schemas"]
        assert schema["connection_info_schema"]["oneOf"][0]["type"] == "object"


@served("regions", "services", "diagnostics")
def test_regions_services_and_diagnostics(site: Site) -> None:
    site.client().run_all(ADMINISTRATION)


@served("transfers", "deployments")
@pytest.mark.parametrize("origin", ["libvirt", "ova"])
def test_transfers_and_deployments(site: Site, origin: str) -> None:
    site.client(origin).run_all((*TRANSFERS, *DEPLOYMENTS))


@served("schedules")
def test_schedules(site: Site) -> None:
    site.client().run_all((TRANSFERS[0], *SCHEDULES))


@served("minion_pools")
def test_minion_pools(site: Site) -> None:
    site.client().run_all(POOLS)


def test_errors_have_a_code_and_a_message(site: Site) -> None:
    """Both clients show ``error.message``; 401 would send the browser to its login page."""
    headers = {"X-Auth-Token": site.token}
    nothing = "00000000-0000-4000-8000-00000000dead"
    for path in ("endpoints", "transfers", "deployments", "regions", "services", "minion_pools"):
        answer = requests.get(f"{site.url}/{path}/{nothing}", headers=headers, timeout=60)
        assert answer.status_code == 404
        assert set(answer.json()["error"]) >= {"code", "message"}
        assert answer.json()["error"]["message"]
    assert requests.get(f"{site.url}/endpoints", headers={"X-Auth-Token": "bad"}, timeout=60).status_code == 401
