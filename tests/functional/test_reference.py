# SPDX-License-Identifier: Apache-2.0
"""The samples of the API reference are real answers of the service.

After a change of the wire, write them anew: ``WRITE_API_SAMPLES=1 python -m pytest tests/functional/test_reference.py``
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from webtest import TestApp

from coriolis.api.routes import ROUTES
from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import transfers
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.conductor import ingest
from coriolis.providers import registry
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import Register
from coriolis.runtime import local_token
from coriolis.store import sessions
from coriolis.store.engine import Database
from tests.functional.copied import copy_disks
from tests.functional.desk import PREFIX, PROJECT, Desk
from tests.functional.graph import finish, grow
from tests.functional.test_transfers import finish as end_run
from tools.api_fields import FIELDS
from tools.api_reference import answer_fields, noun_of, request_fields, sample_name

SAMPLES = Path(__file__).resolve().parents[2] / "api-refs/source/samples"
SAME_AS_OTHERS = (  # endings of paths
    "/detail",
    "/action",
    "/v1/openapi.json",
    "/executions/{execution_id}/certificate",
    "/deployments/{deployment_id}/certificate",
)

LIBVIRT_SESSION = "22222222-2222-4222-8222-222222222222"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SIGNATURE = re.compile(r'"value": "[A-Za-z0-9+/]{86}=="')
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")


class Recorder:
    """Asks, and keeps what was sent and answered, with ids and times that are the same in each run."""

    def __init__(self, api: TestApp) -> None:
        self._api = api
        self._ids: dict[str, str] = {PROJECT: PROJECT}
        self.files: dict[str, str] = {}

    def ask(self, method: str, template: str, body: Any = None, query: str = "", **holes: str) -> Any:
        """One request; the route is named by its method and template."""
        route = next(r for r in ROUTES if (r.method, r.path) == (method, template))
        prefix = "" if route.policy is None else PREFIX
        path = prefix + re.sub(r"\{([^}]+)\}", lambda hole: holes[hole[1]], template) + query
        content = b"" if body is None else json.dumps(body).encode()
        answer = self._api.request(path, method=method, body=content, content_type="application/json")
        assert answer.status_int == route.status
        name = sample_name(route)
        if body is not None:
            self._keep(f"{name}.request.json", body)
        if answer.body:
            self._keep(f"{name}.response.json", answer.json)
            return answer.json
        return None

    def _keep(self, name: str, content: Any) -> None:
        text = _UUID.sub(self._stable, json.dumps(content))
        text = _TIME.sub("2026-11-21T10:00:00.000000", text)
        text = _MOMENT.sub("2026-11-21T10:00:31.500Z", text)
        text = _SIGNATURE.sub('"value": "c2lnbmVkIGJ5IHRoZSBrZXkgYWJvdmU="', text)
        self.files[name] = json.dumps(_sorted(json.loads(text)), indent=2) + "\n"

    def _stable(self, found: re.Match[str]) -> str:
        return self._ids.setdefault(found[0], f"c0110115-0000-4000-8000-{len(self._ids):012d}")


def _sorted(value: Any) -> Any:
    """Parents of a task have no order of their own."""
    if isinstance(value, dict):
        return {key: sorted(item) if key == "depends_on" else _sorted(item) for key, item in value.items()}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def record(api: TestApp, db: Database) -> dict[str, str]:
    """A short life of two endpoints and a migration."""
    done = Recorder(api)
    done.ask("GET", "/")
    done.ask("GET", "/v1")
    done.ask("GET", "/providers")
    done.ask("GET", "/providers/{platform}/schemas/{type}", platform="null", type="16")
    _endpoints(done)
    _migration(done, db)
    _sites(done, db)
    _bandwidth_budgets(done)
    _schedules(done, db)
    _transfers(done, db)
    _minion_pools(done, db)
    return done.files


def _endpoints(done: Recorder) -> None:
    info = {"instances": 3}
    body = {"name": "old cloud", "type": "null", "connection_info": info, "description": "To be emptied"}
    key = done.ask("POST", "/endpoints", {"endpoint": body})["endpoint"]["id"]
    done.ask("PUT", "/endpoints/{endpoint_id}", {"endpoint": {"description": "Almost empty"}}, endpoint_id=key)
    done.ask("GET", "/endpoints/{endpoint_id}", endpoint_id=key)
    done.ask("GET", "/endpoints")
    done.ask("POST", "/endpoints/{endpoint_id}/actions", {"validate-connection": None}, endpoint_id=key)
    done.ask("GET", "/endpoints/{endpoint_id}/instances", endpoint_id=key, query="?limit=2")
    instance = "bnVsbC0wMDAwMDAx"
    done.ask("GET", "/endpoints/{endpoint_id}/instances/{instance}", endpoint_id=key, instance=instance)
    done.ask("GET", "/endpoints/{endpoint_id}/networks", endpoint_id=key)
    done.ask("GET", "/endpoints/{endpoint_id}/storage", endpoint_id=key)
    done.ask("GET", "/endpoints/{endpoint_id}/inventory", endpoint_id=key)
    for part in ("source", "destination", "source-minion-pool", "destination-minion-pool"):
        done.ask("GET", f"/endpoints/{{endpoint_id}}/{part}-options", endpoint_id=key)
    done.ask("DELETE", "/endpoints/{endpoint_id}", endpoint_id=key)


def _bandwidth_budgets(done: Recorder) -> None:
    body = {
        "name": "to Berlin",
        "scope": "link",
        "target": {"source_region": "munich", "destination_region": "berlin"},
        "bytes_per_second": 200_000_000,
        "time_zone": "Europe/Berlin",
        "windows": [
            {
                "days": ["mon", "tue", "wed", "thu", "fri"],
                "start": "08:00",
                "end": "18:00",
                "bytes_per_second": 20_000_000,
            }
        ],
    }
    budget = done.ask("POST", "/bandwidth_budgets", {"bandwidth_budget": body})["bandwidth_budget"]
    holes = {"bandwidth_budget_id": budget["id"]}
    change = {"windows": [], "streams": 8, "backoff_factor": 3.0}
    done.ask("PUT", "/bandwidth_budgets/{bandwidth_budget_id}", {"bandwidth_budget": change}, **holes)
    done.ask("GET", "/bandwidth_budgets/{bandwidth_budget_id}", **holes)
    done.ask("GET", "/bandwidth_budgets")
    done.ask("DELETE", "/bandwidth_budgets/{bandwidth_budget_id}", **holes)


def _migration(done: Recorder, db: Database) -> None:
    body = {
        "origin": {"type": "null", "connection_info": {"instances": 3}},
        "destination": {
            "type": "null",
            "connection_info": {"seed": 1},
            "target_environment": {"network_map": {"VM Network": "null-network"}},
        },
        "instances": ["null-0000001"],
        "replication_count": 1,
        "notes": "The web server",
    }
    key = done.ask("POST", "/migrations", {"migration": body})["migration"]["id"]
    grow(db, key, events_each=1, items_each=1)
    done.ask("GET", "/migrations", query="?limit=1")
    shown = done.ask("GET", "/migrations/{migration_id}", migration_id=key)["migration"]
    below = {"migration_id": key, "task_id": shown["tasks"][0]["id"]}
    done.ask("GET", "/migrations/{migration_id}/tasks", query="?limit=1", migration_id=key)
    done.ask("GET", "/migrations/{migration_id}/tasks/{task_id}", **below)
    done.ask("GET", "/migrations/{migration_id}/tasks/{task_id}/progress_updates", **below)
    done.ask("GET", "/migrations/{migration_id}/events", query="?limit=2", migration_id=key)
    done.ask("POST", "/migrations/{migration_id}/actions", {"cancel": {"force": False}}, migration_id=key)
    copy_disks(db, key)
    done.ask("GET", "/migrations/{migration_id}/certificate", migration_id=key)
    done.ask("GET", "/certificate_key")
    finish(db, key, "CANCELED")
    done.ask("DELETE", "/migrations/{migration_id}", migration_id=key)


def _schedules(done: Recorder, db: Database) -> None:
    """Of a transfer; what changes with the date of the run is left out of the samples."""
    me = Caller(user_id=local_token.USER_ID, project_id=PROJECT)
    new = [NewEndpoint(name=name, type="null", sealed=name) for name in ("old cloud", "new cloud")]
    ends = [endpoint_commands.create(db, me, one).id for one in new]
    spec = transfers.NewTransfer(origin=ends[0], destination=ends[1], instances=("null-0000001",))
    transfer = {"transfer_id": transfers.create(db, me, spec).id}
    every = "/transfers/{transfer_id}/schedules"
    body = {"schedule": {"hour": 2, "minute": 30}, "expiration_date": "2096-01-31T12:00:00Z"}
    key = done.ask("POST", every, body, **transfer)["schedule"]["id"]
    one = {"schedule_id": key, **transfer}
    change = {"schedule": {"hour": 2, "minute": 30, "dow": 0}, "shutdown_instance": True}
    done.ask("PUT", f"{every}/{{schedule_id}}", change, **one)
    done.ask("GET", f"{every}/{{schedule_id}}", **one)
    done.ask("GET", every, **transfer)
    done.ask("DELETE", f"{every}/{{schedule_id}}", **one)


def _transfers(done: Recorder, db: Database) -> None:
    """A transfer that is executed, changed and deployed, and whose disks are deleted then."""
    ends = [
        done.ask("POST", "/endpoints", {"endpoint": {"name": name, "type": "null", "connection_info": {"seed": seed}}})
        for seed, name in enumerate(("old cloud", "new cloud"))
    ]
    body = {
        "origin_endpoint_id": ends[0]["endpoint"]["id"],
        "destination_endpoint_id": ends[1]["endpoint"]["id"],
        "instances": ["null-0000001"],
        "network_map": {"VM Network": "null-network"},
        "notes": "The web server",
    }
    key = done.ask("POST", "/transfers", {"transfer": body})["transfer"]["id"]
    one, runs, each = (
        {"transfer_id": key},
        "/transfers/{transfer_id}/executions",
        {"transfer_id": key, "execution_id": ""},
    )
    order = {"execution": {"shutdown_instances": False, "auto_deploy": False}}
    each["execution_id"] = done.ask("POST", runs, order, **one)["execution"]["id"]
    done.ask("POST", f"{runs}/{{execution_id}}/actions", {"cancel": {"force": False}}, **each)
    end_run(db, key)
    done.ask("GET", runs, query="?limit=1", **one)
    done.ask("GET", f"{runs}/{{execution_id}}", **each)
    done.ask("GET", f"{runs}/{{execution_id}}/events", query="?limit=2", **each)
    done.ask("GET", "/transfers", query="?limit=1")
    done.ask("GET", "/transfers/{transfer_id}", query="?include_task_info=true", **one)
    done.ask("PUT", "/transfers/{transfer_id}", {"transfer": {"notes": "The old web server"}}, **one)
    end_run(db, key)
    done.ask("DELETE", f"{runs}/{{execution_id}}", **each)
    _deployment(done, db, key)
    done.ask("POST", "/transfers/{transfer_id}/actions", {"delete-disks": None}, **one)
    end_run(db, key)
    done.ask("DELETE", "/transfers/{transfer_id}", **one)


def _minion_pools(done: Recorder, db: Database) -> None:
    info = {"connection_uri": "qemu:///system"}
    body = {"name": "cellar", "type": "libvirt", "connection_info": info}
    endpoint = done.ask("POST", "/endpoints", {"endpoint": body})["endpoint"]["id"]
    pool = {
        "name": "readers",
        "endpoint_id": endpoint,
        "platform": "source",
        "os_type": "linux",
        "environment_options": {"image": "/srv/images/minion.qcow2"},
        "maximum_minions": 2,
        "minion_max_idle_time": 600,
        "skip_allocation": True,
    }
    key = done.ask("POST", "/minion_pools", {"minion_pool": pool})["minion_pool"]["id"]
    one = {"minion_pool_id": key}
    done.ask("PUT", "/minion_pools/{minion_pool_id}", {"minion_pool": {"notes": "For the old cloud"}}, **one)
    done.ask("GET", "/minion_pools/{minion_pool_id}", **one)
    done.ask("GET", "/minion_pools")
    done.ask("POST", "/minion_pools/{minion_pool_id}/actions", {"allocate": None}, **one)


def _deployment(done: Recorder, db: Database, transfer_id: str) -> None:
    body = {"transfer_id": transfer_id, "clone_disks": True, "skip_os_morphing": True}
    key = done.ask("POST", "/deployments", {"deployment": body})["deployment"]["id"]
    one = {"deployment_id": key}
    done.ask("GET", "/deployments/{deployment_id}", **one)
    done.ask("GET", "/deployments/{deployment_id}/events", query="?limit=2", **one)
    done.ask("GET", "/deployments", query="?limit=1")
    done.ask("POST", "/deployments/{deployment_id}/actions", {"cancel": {"force": False}}, **one)
    end_run(db, key, "CANCELED")
    done.ask("DELETE", "/deployments/{deployment_id}", **one)


def _sites(done: Recorder, db: Database) -> None:
    """A region, a host with a worker, and one that is prepared."""
    specs = {
        "release_tag": "1.0.0",
        "hostname": "worker-1",
        "python": "3.11.2",
        "os_info": ["ID=debian", "VERSION_ID=12"],
        "ip_addresses": [{"eth0": {"ipv4": ["192.0.2.17"], "ipv6": []}}],
        "packages": ["coriolis==1.0.0"],
    }
    worker = Register(host="worker-1", pid=4711, regions=("north",), providers={"null": ["inventory"]}, specs=specs)
    ingest.register(db, worker, lease_seconds=30.0, sync_seconds=5.0)
    key = done.ask("POST", "/regions", {"region": {"name": "south", "description": "The old site"}})["region"]["id"]
    done.ask("PUT", "/regions/{region_id}", {"region": {"enabled": False}}, region_id=key)
    done.ask("GET", "/regions/{region_id}", region_id=key)
    done.ask("GET", "/regions")
    body = {
        "host": "worker-2",
        "binary": "coriolis-worker",
        "topic": "coriolis_worker",
        "mapped_regions": [key],
        "enabled": True,
    }
    service = done.ask("POST", "/services", {"service": body})["service"]["id"]
    changed = {"service": {"enabled": False, "mapped_regions": []}}
    done.ask("PUT", "/services/{service_id}", changed, service_id=service)
    done.ask("GET", "/services/{service_id}", service_id=service)
    done.ask("GET", "/services")
    done.ask("DELETE", "/services/{service_id}", service_id=service)
    done.ask("DELETE", "/regions/{region_id}", region_id=key)
    done.ask("GET", "/diagnostics")


def _serve_libvirt(db: Database, bus: LocalBus, desk: Desk) -> None:
    """A worker with libvirt, whose provider makes minions; no platform is asked for the samples."""
    capabilities = sorted(map(str, registry.load("libvirt").capabilities))
    with db.writer() as conn:
        sessions.start(
            conn,
            LIBVIRT_SESSION,
            host="cellar",
            pid=2,
            regions=[],
            providers={"libvirt": capabilities},
            slots=2,
            release="0",
            now=db.utcnow(),
        )
    bus.serve(messages.WORKER, LIBVIRT_SESSION, {"provider": desk})


def test_samples_are_what_the_service_says(api: TestApp, db: Database, desk: Desk, bus: LocalBus) -> None:
    _serve_libvirt(db, bus, desk)
    made = record(api, db)
    if os.environ.get("WRITE_API_SAMPLES"):
        for old in SAMPLES.glob("*.json"):
            old.unlink()
        for name, text in made.items():
            (SAMPLES / name).write_text(text)
    kept = {path.name: path.read_text() for path in SAMPLES.glob("*.json")}
    assert kept == made


def test_every_route_has_samples() -> None:
    for route in ROUTES:
        if not route.path.endswith(SAME_AS_OTHERS):
            expected = "request" if route.status == 204 else "response"
            if route.method != "DELETE":
                assert (SAMPLES / f"{sample_name(route)}.{expected}.json").exists(), route


def test_every_noun_has_one_page() -> None:
    pages = [path.read_text() for path in SAMPLES.parent.glob("*.rst")]
    shown = [noun for page in pages for noun in re.findall(r"^\.\. routes:: (\w+)$", page, re.MULTILINE)]
    assert sorted(shown) == sorted({noun_of(route) for route in ROUTES})


def test_every_field_is_described_and_no_other() -> None:
    found = [(noun_of(r), one) for r in ROUTES for one in (*request_fields(r), *answer_fields(r))]
    assert [(noun, one.name) for noun, one in found if not one.meaning] == []
    names = {one.name for _, one in found if one.place == "body"}
    endings = {".".join(name.split(".")[start:]) for name in names for start in range(name.count(".") + 1)}
    assert sorted(set(FIELDS) - endings) == []
