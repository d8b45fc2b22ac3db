# SPDX-License-Identifier: Apache-2.0
"""One object of every kind in a project, and a request for every route: for tests that walk the table."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from webtest import TestApp

from coriolis.api import policies
from coriolis.api.dispatch import Route
from coriolis.api.routes import ROUTES
from coriolis.runtime.policy import ADMIN, MEMBER, READER
from coriolis.store.engine import Database
from tests.functional.graph import grow

SCOPED = [route for route in ROUTES if route.policy is not None]
MARK = "only-for-ours"  # in every name and note of the world
RANK = {"reader": 0, "member": 1, "admin": 2}
_PERSONA = {READER: "reader", MEMBER: "member", ADMIN: "admin"}
_NEEDED = {rule.name: _PERSONA[rule.check_str] for rule in policies.list_rules() if rule.check_str in _PERSONA}
# An action of a pool is checked by its own rule, behind that of the path.
_INNER = {"/minion_pools/{minion_pool_id}/actions": "member", "/minion_pools/{minion_pool_id}/action": "member"}


def needed(route: Route) -> str:
    """The least persona that may take this route."""
    return _INNER.get(route.path) or _NEEDED[str(route.policy)]


@dataclass
class World:
    """``holes``: the ids that fit into the paths. Those of regions, services and budgets belong to no project."""

    holes: dict[str, str]
    bodies: dict[tuple[str, str], Any]

    def ask(self, api: TestApp, route: Route) -> Any:
        """A good request for this route, about the objects of the world."""
        path = "/v1" + re.sub(r"\{([^}]+)\}", lambda hole: self.holes[hole[1]], route.path)
        name = (route.method, route.path.removesuffix("s") if route.path.endswith("/actions") else route.path)
        body = json.dumps(self.bodies.get(name, {})).encode() if route.schema is not None else b""
        kind = "application/json" if body else None
        return api.request(path, method=route.method, body=body, content_type=kind, expect_errors=True)

    def is_owned(self, route: Route) -> bool:
        """Whether the path names an object of the project."""
        owned = ("migration_id", "transfer_id", "deployment_id", "endpoint_id", "minion_pool_id")
        return any(f"{{{name}}}" in route.path for name in owned)

    def leaks_in(self, text: str) -> list[str]:
        """What of the world is in an answer."""
        common = ("platform", "type", "instance", "region_id", "service_id", "bandwidth_budget_id")
        secret = [value for name, value in self.holes.items() if name not in common]
        return [word for word in (MARK, *secret) if word in text]


def build(member: TestApp, admin: TestApp, db: Database, name: str = "first") -> World:
    """Made by the project's member, and what is not a project's by an administrator. A worker of the null provider and
    one of libvirt have to be there."""

    def post(path: str, body: Any, by: TestApp = member) -> dict[str, Any]:
        answer = by.post_json(f"/v1{path}", body).json
        return dict(next(iter(answer.values())))

    ends = [
        post("/endpoints", {"endpoint": {"name": f"{MARK} {n}", "type": "null", "connection_info": {"seed": n}}})["id"]
        for n in range(2)
    ]
    job = {
        "origin_endpoint_id": ends[0],
        "destination_endpoint_id": ends[1],
        "instances": ["null-0000001"],
        "notes": MARK,
    }
    migration = post("/migrations", {"migration": job})["id"]
    grow(db, migration)
    task = member.get(f"/v1/migrations/{migration}/tasks").json["tasks"][0]["id"]
    transfer = post("/transfers", {"transfer": job})["id"]
    schedule = post(f"/transfers/{transfer}/schedules", {"schedule": {"minute": 0}, "enabled": False})["id"]
    execution = post(f"/transfers/{transfer}/executions", {"execution": {"auto_deploy": True}})["id"]
    deployment = member.get("/v1/deployments?limit=1").json["deployments"][0]
    cellar = {"name": f"{MARK} cellar", "type": "libvirt", "connection_info": {"connection_uri": "qemu:///system"}}
    pool = {
        "name": MARK,
        "endpoint_id": post("/endpoints", {"endpoint": cellar})["id"],
        "platform": "source",
        "os_type": "linux",
        "environment_options": {"image": "/srv/images/minion.qcow2"},
        "skip_allocation": True,
    }
    region = {"name": "somewhere"}
    service = {"host": f"elsewhere, {name}", "binary": "coriolis-worker", "topic": "coriolis_worker"}
    budget = {
        "name": "slow",
        "scope": "link",
        "target": {"source_region": "munich", "destination_region": "berlin"},
        "bytes_per_second": 1_000_000,
    }
    holes = {
        "endpoint_id": ends[0],
        "migration_id": migration,
        "task_id": task,
        "transfer_id": transfer,
        "execution_id": execution,
        "schedule_id": schedule,
        "deployment_id": deployment["id"],
        "minion_pool_id": post("/minion_pools", {"minion_pool": pool})["id"],
        "region_id": post("/regions", {"region": region}, admin)["id"],
        "service_id": post("/services", {"service": service}, admin)["id"],
        "bandwidth_budget_id": post("/bandwidth_budgets", {"bandwidth_budget": budget}, admin)["id"],
        "instance": "bnVsbC0wMDAwMDAx",
        "platform": "null",
        "type": "16",
    }
    return World(holes, _bodies(holes, job, pool, {**service, "host": f"yet another, {name}"}, budget))


def _bodies(holes: dict[str, str], job: Any, pool: Any, service: Any, budget: Any) -> dict[tuple[str, str], Any]:
    endpoint = {"name": "new", "type": "null", "connection_info": {}}
    cancel = {"cancel": {"force": True}}
    return {
        ("POST", "/migrations"): {"migration": job},
        ("POST", "/migrations/{migration_id}/action"): cancel,
        ("POST", "/transfers"): {"transfer": job},
        ("PUT", "/transfers/{transfer_id}"): {"transfer": {"notes": "changed"}},
        ("POST", "/transfers/{transfer_id}/action"): {"delete-disks": None},
        ("POST", "/transfers/{transfer_id}/executions"): {"execution": {}},
        ("POST", "/transfers/{transfer_id}/executions/{execution_id}/action"): cancel,
        ("POST", "/transfers/{transfer_id}/schedules"): {"schedule": {}},
        ("PUT", "/transfers/{transfer_id}/schedules/{schedule_id}"): {"enabled": True},
        ("POST", "/deployments"): {"deployment": {"transfer_id": holes["transfer_id"]}},
        ("POST", "/deployments/{deployment_id}/action"): cancel,
        ("POST", "/minion_pools"): {"minion_pool": pool},
        ("PUT", "/minion_pools/{minion_pool_id}"): {"minion_pool": {"notes": "changed"}},
        ("POST", "/minion_pools/{minion_pool_id}/action"): {"allocate": None},
        ("POST", "/endpoints"): {"endpoint": endpoint},
        ("PUT", "/endpoints/{endpoint_id}"): {"endpoint": {"name": "stolen"}},
        ("POST", "/endpoints/{endpoint_id}/action"): {"validate-connection": None},
        ("POST", "/regions"): {"region": {"name": "nowhere"}},
        ("PUT", "/regions/{region_id}"): {"region": {"enabled": False}},
        ("POST", "/services"): {"service": service},
        ("PUT", "/services/{service_id}"): {"service": {"enabled": False}},
        ("POST", "/bandwidth_budgets"): {"bandwidth_budget": budget},
        ("PUT", "/bandwidth_budgets/{bandwidth_budget_id}"): {"bandwidth_budget": {"bytes_per_second": 2_000_000}},
    }
