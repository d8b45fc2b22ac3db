# SPDX-License-Identifier: Apache-2.0
"""What clients send that a strict server would refuse, and what must be refused: over HTTP, with real platforms.

One row for each rule of the wire contract about forms (paths, queries, bodies, base64, paging), with what is to come of
it. Rows that name ``libvirt`` and ``ova`` are asked of both.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from coriolis.runtime.local_token import PROJECT_ID
from tests import ovf_packages
from tests.integration.client_calls import b64
from tests.integration.libvirt_host import LibvirtHost
from tests.integration.libvirt_lab import Lab
from tests.service import standalone_process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NOBODY = "99999999-9999-4999-8999-999999999999"
MACHINES = ("alpha", "beta", "gamma")


@dataclass(frozen=True)
class Site:
    """A service with an endpoint on a real libvirt and one on a folder of OVAs, each with three machines."""

    root: str
    token: str = field(repr=False)
    endpoints: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"X-Auth-Token": self.token, **more.pop("headers", {})}
        path = path.format(**self.endpoints, project=PROJECT_ID, nobody=NOBODY)
        return requests.request(method, self.root + path, headers=headers, timeout=120, **more)


@pytest.fixture(scope="module")
def site(libvirt_host: LibvirtHost) -> Iterator[Site]:
    scratch = Path(tempfile.mkdtemp(prefix="cor-lenient-"))
    lab = Lab(host=libvirt_host, scratch=scratch)
    packages = scratch / "packages"
    packages.mkdir()
    try:
        for name in MACHINES:
            lab.define(name)
            ovf_packages.ova(packages / f"{name}.ova", ovf_packages.content(1 << 20), name=name)
        with standalone_process.running(scratch / "state") as standalone:
            url = str(standalone.client.get_endpoint_data().url)  # type: ignore[union-attr]
            made = Site(url.split("/v1")[0], (standalone.state / "token").read_text().strip())
            for kind, info in (("libvirt", libvirt_host.connection_info), ("ova", {"path": str(packages)})):
                endpoint = standalone.client.create_endpoint(name=kind, type=kind, connection_info=dict(info))
                made.endpoints[kind] = endpoint.id
            yield made
    finally:
        lab.clear()
        lab.close()
        shutil.rmtree(scratch, ignore_errors=True)


Check = Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Row:
    """``source``: section of the contract. ``check``: what the JSON of the answer has to fulfil."""

    source: str
    request: str
    status: int = 200
    check: Check = lambda content: True
    more: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.source} {self.request}"


def row(source: str, request: str, status: int = 200, check: Check = lambda content: True, **more: Any) -> Row:
    return Row(source=source, request=request, status=status, check=check, more=more)


def _error(field_name: str | None = None) -> Check:
    """An error body with its three keys, about this field."""

    def check(content: Any) -> bool:
        error = content["error"]
        return bool({"fault", "code", "message"} <= set(error) and error["message"]) and (
            field_name is None or error["field"] == field_name
        )

    return check


def _ids(content: Any) -> list[str]:
    return [one["id"] for one in content["instances"]]


def _has(count: int, key: str = "instances") -> Check:
    return lambda content: len(content[key]) == count


P = "/v1/{project}"
_JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

TRANSPORT = (
    row("1.1 version documents need no path below", "GET /v1"),
    row("1.1 and the root answers", "GET /"),
    row("1.1 project in the path", f"GET {P}/endpoints"),
    row("2.6 no project in the path", "GET /v1/endpoints"),
    row("1.1 another project", f"GET /v1/{NOBODY}/endpoints", 400, _error("project_id")),
    row("1.1 suffix", f"GET {P}/endpoints.json"),
    row("1.1 suffix of one object", f"GET {P}/endpoints/{{libvirt}}.json"),
    row("1.1 slash at the end", f"GET {P}/endpoints/"),
    row("1.1 new has no handler", f"GET {P}/endpoints/new", 404, _error()),
    row("1.1 edit has no handler", f"GET {P}/endpoints/{{libvirt}}/edit", 404, _error()),
    row("1.1 detail of endpoints", f"GET {P}/endpoints/detail", 404, _error()),
    row("1.1 no PATCH", f"PATCH {P}/endpoints/{{libvirt}}", 405, _error(), json={}),
    row("1.1 content type without a body", f"GET {P}/endpoints", headers=_JSON),
    row("1.1 a body on GET", f"GET {P}/endpoints", data=b"{", headers=_JSON),
    row("1.1 no body", f"POST {P}/endpoints", 400, _error()),
    row("1.1 an empty body", f"PUT {P}/endpoints/{{libvirt}}", 400, _error(), data=b"", headers=_JSON),
    row("1.1 no JSON", f"POST {P}/endpoints", 400, _error(), data=b"{", headers=_JSON),
    row("1.1 another media type", f"POST {P}/endpoints", 415, _error(), data=b"a=1", headers=_FORM),
    row("1.1 envelope", f"POST {P}/endpoints", 400, _error("endpoint"), json={}),
    row("1.1 actions with no key", f"POST {P}/endpoints/{{libvirt}}/actions", 400, _error(), json={}),
    row("1.1 actions with two", f"POST {P}/endpoints/{{libvirt}}/actions", 400, _error(), json={"a": 1, "b": 1}),
    row(
        "1.1 unknown action", f"POST {P}/endpoints/{{libvirt}}/actions", 400, _error("explode"), json={"explode": None}
    ),
    row("1.1 errors are JSON whatever is accepted", f"GET {P}/nothing", 404, _error(), headers={"Accept": "text/csv"}),
    row("3.7 a bad token", f"GET {P}/endpoints", 401, _error(), headers={"X-Auth-Token": "bad"}),
)

PAGING = (
    row("1.2 no limit", f"GET {P}/endpoints", check=_has(2, "endpoints")),
    row("1.2 limit", f"GET {P}/endpoints?limit=1", check=_has(1, "endpoints")),
    row("1.2 limit of nothing", f"GET {P}/endpoints?limit=0", check=_has(0, "endpoints")),
    row("1.2 limit that is none", f"GET {P}/endpoints?limit=x", 400, _error("limit")),
    row("1.2 a negative limit", f"GET {P}/endpoints?limit=-1", 400, _error("limit")),
    row("1.2 a huge limit", f"GET {P}/endpoints?limit=999999999999", check=_has(2, "endpoints")),
    row("1.2 marker", f"GET {P}/endpoints?marker={{ova}}", check=lambda c: [e["id"] for e in c["endpoints"]] != []),
    row("1.2 unknown marker", f"GET {P}/endpoints?marker={NOBODY}", check=_has(2, "endpoints")),
    row("1.2 marker that is no id", f"GET {P}/endpoints?marker=x%27y", check=_has(2, "endpoints")),
    row("1.2 sort_key alone", f"GET {P}/endpoints?sort_key=id", check=_has(2, "endpoints")),
    row(
        "1.2 fewer directions", f"GET {P}/endpoints?sort_key=name&sort_key=id&sort_dir=asc", check=_has(2, "endpoints")
    ),
    row(
        "1.2 more directions",
        f"GET {P}/endpoints?sort_key=name&sort_dir=asc&sort_dir=asc",
        400,
        _error("sort_dir"),
    ),
    row("1.2 unknown direction", f"GET {P}/endpoints?sort_dir=up", 400, _error("sort_dir")),
    row("1.2 unknown key", f"GET {P}/endpoints?sort_key=colour", 400, _error("sort_key")),
    row(
        "2.3 plural names",
        f"GET {P}/endpoints?sort_keys=name&sort_dirs=asc",
        check=lambda c: [e["name"] for e in c["endpoints"]] == ["libvirt", "ova"],
    ),
    row(
        "2.3 newest first",
        f"GET {P}/endpoints",
        check=lambda c: [e["name"] for e in c["endpoints"]] == ["ova", "libvirt"],
    ),
    row("3.2 unknown query keys", f"GET {P}/endpoints?show_everything=1&_=2", check=_has(2, "endpoints")),
    row("10.2 PENDING is a status", f"GET {P}/migrations?status=PENDING"),
    row("10.2 UNEXECUTED is a status", f"GET {P}/transfers?status=UNEXECUTED"),
    row("10.2 DEADLOCKED is a status", f"GET {P}/transfers?status=DEADLOCKED"),
    row("1.2 unknown status", f"GET {P}/transfers?status=NO_SUCH", 400, _error("status")),
)

ENDPOINTS = (
    row("1.4 unknown keys of an update", f"PUT {P}/endpoints/{{libvirt}}", json={"endpoint": {"x": 1, "type": "y"}}),
    row("1.4 beside the envelope", f"PUT {P}/endpoints/{{libvirt}}", json={"endpoint": {}, "more": 1}),
    row(
        "3.4 null description",
        f"PUT {P}/endpoints/{{libvirt}}",
        check=lambda c: c["endpoint"]["description"] == "",
        json={"endpoint": {"description": None}},
    ),
    row(
        "2.6 mapped_regions is never null",
        f"PUT {P}/endpoints/{{libvirt}}",
        check=lambda c: c["endpoint"]["mapped_regions"] == [],
        json={"endpoint": {"mapped_regions": None}},
    ),
    row("1.1 unknown id", f"GET {P}/endpoints/{NOBODY}", 404, _error()),
    row("1.1 no id at all", f"GET {P}/endpoints/x", 404, _error()),
    row("10.2 PUT of an unknown id", f"PUT {P}/endpoints/{NOBODY}", 404, _error(), json={"endpoint": {}}),
    row("1.4 unknown platform", f"POST {P}/endpoints", 400, _error("endpoint.type"),
        json={"endpoint": {"name": "x", "type": "vmwear", "connection_info": {}}}),
    row("1.10 unknown provider", f"GET {P}/providers/vmwear/schemas/16", 404, _error()),
    row("1.10 a number without schema", f"GET {P}/providers/libvirt/schemas/32", check=lambda c: c == {"schemas": {}}),
    row("1.10 a retired number", f"GET {P}/providers/libvirt/schemas/2048", check=lambda c: c == {"schemas": {}}),
)  # fmt: skip

_RAW = b64({"title": "t", "separate_vm": True, "minion_pool_id": None, "nested": {"a": [1]}})
PLATFORM = (
    row("1.3 limit", "GET /v1/endpoints/{%s}/instances?limit=2", check=_has(2)),
    row("1.3 limit of nothing", "GET /v1/endpoints/{%s}/instances?limit=0", check=_has(0)),
    row("1.3 bad limit", "GET /v1/endpoints/{%s}/instances?limit=x", 400, _error("limit")),
    row("1.3 name in any case", "GET /v1/endpoints/{%s}/instances?name=BET", check=_has(1)),
    row("1.3 name of nobody", "GET /v1/endpoints/{%s}/instances?name=null", check=lambda c: c == {"instances": []}),
    row("1.3 refresh in words", "GET /v1/endpoints/{%s}/instances?refresh=True", check=_has(3)),
    row("1.3 refresh that is no boolean", "GET /v1/endpoints/{%s}/instances?refresh=maybe", check=_has(3)),
    row("1.3 marker after the end", "GET /v1/endpoints/{%s}/instances?marker=zzzz", check=_has(0)),
    row("2.3 env of null", f"GET /v1/endpoints/{{%s}}/instances?env={b64(None)}", check=_has(3)),
    row("2.3 a console's raw env", f"GET /v1/endpoints/{{%s}}/instances?env={_RAW}", check=_has(3)),
    row("1.1 env without padding", f"GET /v1/endpoints/{{%s}}/instances?env={_RAW.rstrip('=')}", check=_has(3)),
    row("1.1 env that is no base64", "GET /v1/endpoints/{%s}/instances?env=%%21", 400, _error("env")),
    row("1.1 env that is no JSON", "GET /v1/endpoints/{%s}/instances?env=AAAA", 400, _error("env")),
    row("1.1 env that is a list", f"GET /v1/endpoints/{{%s}}/instances?env={b64([])}", 400, _error("env")),
    row("1.1 options that are an object", f"GET /v1/endpoints/{{%s}}/source-options?options={b64({})}", 400,
        _error("options")),
    row("1.1 options of null", f"GET /v1/endpoints/{{%s}}/source-options?options={b64(None)}"),
    row("1.1 options of nobody", f"GET /v1/endpoints/{{%s}}/source-options?options={b64(['x'])}",
        check=_has(0, "source_options")),
    row("3.5 by name", f"GET /v1/endpoints/{{%s}}/instances/{b64('beta')}",
        check=lambda c: c["instance"]["name"] == "beta"),
    row("3.5 without padding", f"GET /v1/endpoints/{{%s}}/instances/{b64('beta').rstrip('=')}"),
    row("3.5 padding as percent signs", f"GET /v1/endpoints/{{%s}}/instances/{b64('beta').replace('=', '%%3D')}"),
    row("3.5 the other alphabet", "GET /v1/endpoints/{%s}/instances/4pyT%%2F4p", 400, _error()),
    row("1.1 no base64", "GET /v1/endpoints/{%s}/instances/%%21", 400, _error("instance")),
    row("1.1 unknown instance", f"GET /v1/endpoints/{{%s}}/instances/{b64('nobody/😀')}", 404, _error()),
    row("1.3 validate", "POST /v1/endpoints/{%s}/actions", check=lambda c: c["validate-connection"]["valid"] is True,
        json={"validate-connection": None}),
    row("1.3 CSV as one JSON text", "GET /v1/endpoints/{%s}/inventory", check=lambda c: c.count("\r\n") == 4),
)  # fmt: skip


def _answer(site: Site, wanted: Row, request: str) -> requests.Response:
    method, _, path = request.partition(" ")
    answer = site.ask(method, path, **wanted.more)
    assert answer.status_code == wanted.status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    assert wanted.check(answer.json()), answer.text
    return answer


@pytest.mark.parametrize("wanted", [*TRANSPORT, *PAGING, *ENDPOINTS], ids=str)
def test_forms(site: Site, wanted: Row) -> None:
    _answer(site, wanted, wanted.request)


@pytest.mark.parametrize("platform", ["libvirt", "ova"])
@pytest.mark.parametrize("wanted", PLATFORM, ids=str)
def test_forms_of_a_platform(site: Site, wanted: Row, platform: str) -> None:
    _answer(site, wanted, wanted.request % platform)


@pytest.mark.parametrize("platform", ["libvirt", "ova"])
def test_pages_of_a_platform_end(site: Site, platform: str) -> None:
    """A console stops at a page that is shorter than its limit."""
    seen: list[str] = []
    while True:
        marker = f"&marker={quote(seen[-1])}" if seen else ""
        page = _ids(site.ask("GET", f"/v1/endpoints/{{{platform}}}/instances?limit=2{marker}").json())
        seen += page
        if len(page) < 2:
            break
    assert len(seen) == len(set(seen)) == len(MACHINES)


@pytest.mark.parametrize("platform", ["libvirt", "ova"])
def test_instances_by_id_as_well(site: Site, platform: str) -> None:
    for key in _ids(site.ask("GET", f"/v1/endpoints/{{{platform}}}/instances").json()):
        answer = site.ask("GET", f"/v1/endpoints/{{{platform}}}/instances/{b64(key)}")
        assert answer.json()["instance"]["id"] == key


@pytest.mark.parametrize("platform", ["libvirt", "ova"])
def test_the_inventory_as_csv(site: Site, platform: str) -> None:
    answer = site.ask("GET", f"/v1/endpoints/{{{platform}}}/inventory", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    heading, *lines = [line.split(",")[1] for line in answer.text.splitlines()]
    assert (heading, sorted(lines)) == ("name", sorted(MACHINES))
    assert answer.text == site.ask("GET", f"/v1/endpoints/{{{platform}}}/inventory").json()


def test_options_of_a_real_host(site: Site) -> None:
    options = {
        one["name"]: one
        for one in site.ask("GET", "/v1/endpoints/{libvirt}/destination-options").json()["destination_options"]
    }
    assert [value["name"] for value in options["storage_pool"]["values"]] == ["default"]
    assert options["storage_pool"]["config_default"] == "default"
    assert "user" in [value["name"] for value in options["network"]["values"]]
    assert options["disk_bus"]["values"][0] == options["disk_bus"]["config_default"] == "virtio"
    assert "tcg" in options["accel"]["values"]
    some = site.ask("GET", f"/v1/endpoints/{{libvirt}}/destination-options?options={b64(['network'])}").json()
    assert [one["name"] for one in some["destination_options"]] == ["network"]
    files = site.ask("GET", "/v1/endpoints/{ova}/source-options").json()["source_options"]
    assert {"firmware_type", "os_type", "disk_bus"} <= {one["name"] for one in files}


def test_an_unreachable_platform_is_no_fault_of_ours(site: Site) -> None:
    body = {"endpoint": {"name": "gone", "type": "ova", "connection_info": {"path": "/nowhere/at/all"}}}
    key = site.ask("POST", "/v1/endpoints", json=body).json()["endpoint"]["id"]
    verdict = site.ask("POST", f"/v1/endpoints/{key}/actions", json={"validate-connection": None})
    assert verdict.status_code == 200
    assert verdict.json()["validate-connection"]["valid"] is False
    assert "/nowhere/at/all" in verdict.json()["validate-connection"]["message"]
    for rest in ("instances", "inventory", f"instances/{b64('x')}", "source-options"):
        answer = site.ask("GET", f"/v1/endpoints/{key}/{rest}")
        assert answer.status_code == 400, answer.text
    assert site.ask("DELETE", f"/v1/endpoints/{key}").status_code == 204


def test_ten_megabytes_of_notes(site: Site) -> None:
    """The answer comes although the server has not read it all."""
    body = {"migration": {"instances": ["x"], "notes": "x" * 10_000_000}}
    answer = site.ask("POST", "/v1/migrations", json=body)
    assert answer.status_code == 413
    assert _error()(answer.json())
