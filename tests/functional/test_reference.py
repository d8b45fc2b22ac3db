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
from coriolis.rpc.messages import Register
from coriolis.runtime import local_token
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, PROJECT, Desk
from tests.functional.graph import finish, grow
from tools.api_fields import FIELDS
from tools.api_reference import answer_fields, noun_of, request_fields, sample_name

SAMPLES = Path(__file__).resolve().parents[2] / "api-refs/source/samples"
SAME_AS_OTHERS = {"/migrations/detail", "/migrations/{migration_id}/action", "/v1/openapi.json"}

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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


def test_samples_are_what_the_service_says(api: TestApp, db: Database, desk: Desk) -> None:
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
        if route.path not in SAME_AS_OTHERS:
            expected = "request" if route.status == 204 else "response"
            if route.method != "DELETE":
                assert (SAMPLES / f"{sample_name(route)}.{expected}.json").exists(), route


# Nouns of the contract that the service does not have yet.
LATER = {
    "allocate", "deallocate", "dom", "dow", "endpoint_id", "environment_options", "expiration_date", "hour",
    "maintenance_trust_id", "maximum_minions", "minimum_minions", "minion_machines", "minion_max_idle_time",
    "minion_pool", "minion_pools", "minion_retention_strategy", "minute", "month", "platform", "refresh",
    "schedule", "schedules", "shared_resources", "shutdown_instance", "skip_allocation",
}  # fmt: skip


def test_every_noun_has_one_page() -> None:
    pages = [path.read_text() for path in SAMPLES.parent.glob("*.rst")]
    shown = [noun for page in pages for noun in re.findall(r"^\.\. routes:: (\w+)$", page, re.MULTILINE)]
    assert sorted(shown) == sorted({noun_of(route) for route in ROUTES})


def test_every_field_is_described_and_no_other() -> None:
    found = [(noun_of(r), one) for r in ROUTES for one in (*request_fields(r), *answer_fields(r))]
    assert [(noun, one.name) for noun, one in found if not one.meaning] == []
    names = {one.name for _, one in found if one.place == "body"}
    endings = {".".join(name.split(".")[start:]) for name in names for start in range(name.count(".") + 1)}
    assert sorted(set(FIELDS) - endings - LATER) == []
