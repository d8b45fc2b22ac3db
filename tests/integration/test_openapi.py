# SPDX-License-Identifier: Apache-2.0
"""schemathesis goes over the OpenAPI document of a running service: no 5xx, no status and no body that is not in it."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from coriolis.api import openapi
from coriolis.api.routes import ROUTES
from coriolis.runtime.local_token import PROJECT_ID
from tests.service import standalone_process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

EXAMPLES = 8  # of each operation, in each mode
WANTED = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


@dataclass(frozen=True)
class Target:
    """A service with one of everything."""

    root: str
    token: str = field(repr=False)
    ids: dict[str, str] = field(default_factory=lambda: {"project_id": PROJECT_ID})

    spare: dict[str, str] = field(default_factory=dict)  # for updates, after which a thing may be of no more use

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Auth-Token": self.token, "Accept": "application/json"}

    def show(self, path: str) -> Any:
        answer = requests.get(f"{self.root}/v1/{PROJECT_ID}{path}", headers=self.headers, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def make(self, noun: str, path: str, body: Any) -> dict[str, Any]:
        """Something to aim at; its id is kept."""
        answer = requests.post(f"{self.root}/v1/{PROJECT_ID}{path}", json=body, headers=self.headers, timeout=60)
        assert answer.ok, answer.text
        made: dict[str, Any] = answer.json()[noun]
        self.ids[f"{noun}_id"] = made["id"]
        return made


def _fill(target: Target) -> None:
    """Everything below the null provider, which costs nothing."""
    body = {"name": "old", "type": "null", "connection_info": {"instances": 3, "disk_size_bytes": 4096}}
    old = target.make("endpoint", "/endpoints", {"endpoint": body})["id"]
    new = target.make("endpoint", "/endpoints", {"endpoint": {**body, "name": "new"}})["id"]
    job = {"origin_endpoint_id": old, "destination_endpoint_id": new, "instances": ["null-0000001"]}
    tasks = target.make("migration", "/migrations", {"migration": job})["tasks"]
    target.ids["task_id"] = tasks[0]["id"] if tasks else str(uuid.UUID(int=0))
    spare = target.make("endpoint", "/endpoints", {"endpoint": {**body, "name": "spare", "connection_info": {}}})["id"]
    target.ids["endpoint_id"] = old
    target.spare["endpoint_id"] = spare
    transfer = {**job, "origin_endpoint_id": spare, "scenario": "replica"}
    key = target.make("transfer", "/transfers", {"transfer": transfer})["id"]
    target.make("execution", f"/transfers/{key}/executions", {"execution": {}})
    target.make("schedule", f"/transfers/{key}/schedules", {"schedule": {"minute": 0}, "enabled": False})
    _deploy(target, {**job, "destination_endpoint_id": spare})
    target.make("region", "/regions", {"region": {"name": "here"}})
    service = {"host": "elsewhere", "binary": "coriolis-worker", "topic": "coriolis_worker"}
    target.make("service", "/services", {"service": service})
    budget = {"name": "slow", "scope": "link", "target": {"source_region": "a"}, "bytes_per_second": 1_000_000}
    target.make("bandwidth_budget", "/bandwidth_budgets", {"bandwidth_budget": budget})


def _deploy(target: Target, job: dict[str, Any]) -> None:
    """A deployment wants a transfer that was executed to its end."""
    known = dict(target.ids)
    key = target.make("transfer", "/transfers", {"transfer": job})["id"]
    path = f"/transfers/{key}/executions"
    run = f"{path}/{target.make('execution', path, {'execution': {}})['id']}"
    deadline = time.monotonic() + 120
    while (status := target.show(run)["execution"]["status"]) != "COMPLETED":
        assert status == "RUNNING"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    target.ids.update(known)
    target.make("deployment", "/deployments", {"deployment": {"transfer_id": key}})


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    scratch = Path(tempfile.mkdtemp(prefix="cor-openapi-"))
    try:
        with standalone_process.running(scratch / "state") as standalone:
            url = str(standalone.client.get_endpoint_data().url)  # type: ignore[union-attr]
            made = Target(url.split("/v1")[0], (standalone.state / "token").read_text().strip())
            _fill(made)
            yield made
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


DOCUMENT: Any = schemathesis.openapi.from_dict(openapi.document(ROUTES))
OPERATIONS = [found.ok() for found in DOCUMENT.get_all_operations()]


# Deletions last, as they take away what the others aim at. What takes nothing from the caller cannot be asked wrongly.
CASES = [
    pytest.param(found, mode, id=f"{found.label}-{mode.name.lower()}")
    for found in sorted(OPERATIONS, key=lambda one: one.method.upper() == "DELETE")
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or "{" in found.path
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_what_the_document_says(target: Target, operation: Any, mode: GenerationMode) -> None:
    """Most requests aim at something that is there; the ids, token and queries of the others are whatever they are."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), wild=st.integers(0, 7), plain=st.booleans())
    def ask(case: Any, wild: int, plain: bool) -> None:
        holes = case.path_parameters or {}
        if wild:
            there = {**target.ids, **(target.spare if operation.method.upper() == "PUT" else {})}
            holes.update({name: key for name, key in there.items() if name in holes})
            case.headers.update(target.headers)
        if plain:
            case.query = {}
        if isinstance(case.query, dict) and "since" in case.query:
            case.query["timeout"] = 0  # it has nothing to wait for
        answer = case.call(base_url=target.root, headers=target.headers, timeout=120)
        case.validate_response(answer, checks=list(WANTED))
        assert "Traceback" not in answer.text

    ask()
