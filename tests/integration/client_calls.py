# SPDX-License-Identifier: Apache-2.0
"""Every call of the existing command line, as data.

A form of a command is one or two requests. Holes in paths and bodies (``{transfer}``) are filled from what earlier
answers gave: see ``Form.keep``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any


def b64(value: Json) -> str:
    """Of a text, or of the JSON of anything else: URL-safe, with its padding."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. ``key``: of the answer's envelope; None where the client ignores the body."""

    method: str
    path: str
    key: str | None = None
    kind: str = ""  # of the objects in the answer: a name in KEYS; "" where nothing is asked of them
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Json = None
    accept: str = "*/*"


@dataclass(frozen=True, kw_only=True)
class Form:
    """``keep``: the name under which the id of the first call's object is kept. ``wait``: for what, afterwards."""

    words: str
    calls: tuple[Call, ...]
    keep: str = ""
    wait: str = ""


def form(words: str, request: str, *, keep: str = "", wait: str = "", **more: Any) -> Form:
    """A form of one request: method and path."""
    method, path = request.split(" ", 1)
    return Form(words=words, keep=keep, wait=wait, calls=(Call(method=method, path=path, **more),))


ENV = {"env": b64({"unknown_to_all": 1, "title": "of the form"})}
_NO_SCRIPTS = {"global": {}, "instances": {}}
_LAST = {"limit": 10, "sort_key": "number", "sort_dir": "desc"}
_EXECUTION = "/transfers/{transfer}/executions/{execution}"


def _crud(noun: str, path: str, create: Json, update: Json) -> tuple[Form, ...]:
    """The five of an object of administration; deletion comes last."""
    one = f"{path}/{{{noun}}}"
    return (
        form(f"{noun} create", f"POST {path}", keep=noun, body={noun: create}, key=noun, kind=noun),
        form(f"{noun} list", f"GET {path}", key=f"{noun}s", kind=noun),
        form(f"{noun} show", f"GET {one}", key=noun, kind=noun),
        form(f"{noun} update", f"PUT {one}", body={noun: update}, key=noun, kind=noun),
        form(f"{noun} delete", f"DELETE {one}"),
    )


_SCHEMAS = tuple(
    form(f"provider schema list {name}", f"GET /providers/{{platform}}/schemas/{number}", key="schemas")
    for name, number in (
        ("connection", 16),
        ("destination", 4),
        ("source", 8),
        ("source_minion_pool", 524288),
        ("destination_minion_pool", 1048576),
    )
)

_ENDPOINT = {"description": "made by a client", "mapped_regions": []}
ENDPOINTS: tuple[Form, ...] = (
    Form(
        words="endpoint create",
        keep="endpoint",
        calls=(
            Call(
                method="POST",
                path="/endpoints",
                key="endpoint",
                kind="endpoint",
                body={"endpoint": {"name": "spare", "type": "{platform}", "connection_info": "{info}", **_ENDPOINT}},
            ),
            Call(
                method="POST",
                path="/endpoints/{endpoint}/actions",
                body={"validate-connection": None},
                key="validate-connection",
                kind="verdict",
            ),
        ),
    ),
    form("endpoint list", "GET /endpoints", key="endpoints", kind="endpoint"),
    form("endpoint show", "GET /endpoints/{endpoint}", key="endpoint", kind="endpoint"),
    form(
        "endpoint update",
        "PUT /endpoints/{endpoint}",
        body={"endpoint": {"description": "renamed", "name": "spare one"}},
        key="endpoint",
        kind="endpoint",
    ),
    form(
        "endpoint validate connection",
        "POST /endpoints/{endpoint}/actions",
        body={"validate-connection": None},
        key="validate-connection",
        kind="verdict",
    ),
    form(
        "endpoint instance list",
        "GET /endpoints/{origin}/instances",
        query={"limit": 100, "refresh": "True", **ENV},
        key="instances",
        kind="instance in a list",
    ),
    form(
        "endpoint instance show",
        "GET /endpoints/{origin}/instances/{instance_b64}",
        query=ENV,
        key="instance",
        kind="instance",
    ),
    form("endpoint network list", "GET /endpoints/{destination}/networks", query=ENV, key="networks", kind="network"),
    form(
        "endpoint storage list",
        "GET /endpoints/{destination}/storage",
        query={"env": b64(None)},
        key="storage",
        kind="storage",
    ),
    *(
        form(
            f"endpoint {side} {what}options list",
            f"GET /endpoints/{{{place}}}/{side}-{what.replace(' ', '-')}options",
            query={**ENV, "options": b64(["anything"])},
            key=f"{side}_{what.replace(' ', '_')}options",
            kind="option",
        )
        for side, place in (("source", "origin"), ("destination", "destination"))
        for what in ("", "minion pool ")
    ),
    form("endpoint export inventory", "GET /endpoints/{origin}/inventory", query=ENV, accept="text/csv"),
    form("endpoint delete", "DELETE /endpoints/{endpoint}"),
    form("provider list", "GET /providers", key="providers"),
    *_SCHEMAS,
)

ADMINISTRATION: tuple[Form, ...] = (
    *_crud("region", "/regions", {"name": "here", "description": ""}, {"description": "there", "enabled": True}),
    *_crud(
        "service",
        "/services",
        {"host": "{host}", "binary": "coriolis-client-calls", "topic": "coriolis_worker", "mapped_regions": []},
        {"enabled": False},
    ),
    form("diagnostics get", "GET /diagnostics", key="diagnostics", kind="diagnostics"),
)

TRANSFERS: tuple[Form, ...] = (
    form(
        "transfer create",
        "POST /transfers",
        keep="transfer",
        key="transfer",
        kind="transfer",
        body={
            "transfer": {
                "origin_endpoint_id": "{origin}",
                "destination_endpoint_id": "{destination}",
                "source_environment": {},
                "destination_environment": {},
                "instances": ["{instance}"],
                "scenario": "replica",
                "network_map": "{networks}",
                "notes": None,
                "storage_mappings": {"default": "{storage}", "backend_mappings": [], "disk_mappings": []},
                "user_scripts": _NO_SCRIPTS,
                "clone_disks": None,
                "skip_os_morphing": None,
            }
        },
    ),
    form(
        "transfer list",
        "GET /transfers",
        query={"limit": 25, "sort_key": ["updated_at"], "sort_dir": ["desc"]},
        key="transfers",
        kind="transfer in a list",
    ),
    form(
        "transfer execute",
        "POST /transfers/{transfer}/executions",
        keep="execution",
        wait="execution",
        body={"execution": {"shutdown_instances": False, "auto_deploy": False}},
        key="execution",
        kind="execution",
    ),
    Form(
        words="transfer show",
        calls=(
            Call(
                method="GET",
                path="/transfers/{transfer}",
                query={"include_task_info": "true"},
                key="transfer",
                kind="transfer with info",
            ),
            Call(
                method="GET",
                path="/transfers/{transfer}/executions",
                query=_LAST,
                key="executions",
                kind="execution in a list",
            ),
        ),
    ),
    form(
        "transfer execution list",
        "GET /transfers/{transfer}/executions",
        query={"limit": 10, "sort_keys": "number", "sort_dirs": "desc"},
        key="executions",
        kind="execution in a list",
    ),
    form("transfer execution show", f"GET {_EXECUTION}", key="execution", kind="execution"),
    form(
        "transfer update",
        "PUT /transfers/{transfer}",
        keep="execution",
        wait="execution",
        body={"transfer": {"notes": "seen", "user_scripts": _NO_SCRIPTS}},
        key="execution",
        kind="execution",
    ),
)

SCHEDULES: tuple[Form, ...] = (
    form(
        "transfer schedule create",
        "POST /transfers/{transfer}/schedules",
        keep="schedule",
        body={
            "schedule": {"minute": 0, "hour": 0, "dom": 1, "month": 1, "dow": 0},
            "enabled": False,
            "shutdown_instance": False,
            "auto_deploy": False,
            "expiration_date": "2099-12-31T23:59:59.000Z",
        },
        key="schedule",
        kind="schedule",
    ),
    form(
        "transfer schedule list",
        "GET /transfers/{transfer}/schedules",
        query={"show_expired": "False"},
        key="schedules",
        kind="schedule",
    ),
    form("transfer schedule show", "GET /transfers/{transfer}/schedules/{schedule}", key="schedule", kind="schedule"),
    form(
        "transfer schedule update",
        "PUT /transfers/{transfer}/schedules/{schedule}",
        body={"schedule": {"hour": 1}, "enabled": False},
        key="schedule",
        kind="schedule",
    ),
    form("transfer schedule delete", "DELETE /transfers/{transfer}/schedules/{schedule}"),
)

_DEPLOYMENT = {"clone_disks": True, "force": False, "skip_os_morphing": True, "user_scripts": _NO_SCRIPTS}
DEPLOYMENTS: tuple[Form, ...] = (
    form(
        "deployment create",
        "POST /deployments",
        keep="deployment",
        wait="deployment",
        body={"deployment": {"transfer_id": "{transfer}", **_DEPLOYMENT}},
        key="deployment",
        kind="deployment",
    ),
    form("deployment list", "GET /deployments", query={"limit": 25}, key="deployments", kind="deployment in a list"),
    form(
        "deployment show",
        "GET /deployments/{deployment}",
        query={"include_task_info": "true"},
        key="deployment",
        kind="deployment with info",
    ),
    Form(
        words="deployment cancel",
        keep="deployment 2",
        wait="deployment 2",
        calls=(
            Call(
                method="POST",
                path="/deployments",
                body={"deployment": {"transfer_id": "{transfer}", **_DEPLOYMENT}},
                key="deployment",
                kind="deployment",
            ),
            Call(method="POST", path="/deployments/{deployment 2}/actions", body={"cancel": {"force": False}}),
        ),
    ),
    form("deployment delete", "DELETE /deployments/{deployment}"),
    Form(
        words="transfer execution cancel",
        keep="execution 2",
        wait="execution 2",
        calls=(
            Call(
                method="POST",
                path="/transfers/{transfer}/executions",
                body={"execution": {"shutdown_instances": False, "auto_deploy": False}},
                key="execution",
                kind="execution",
            ),
            Call(
                method="POST",
                path="/transfers/{transfer}/executions/{execution 2}/actions",
                body={"cancel": {"force": False}},
            ),
        ),
    ),
    form(
        "transfer disks delete",
        "POST /transfers/{transfer}/actions",
        keep="execution 3",
        wait="execution 3",
        body={"delete-disks": None},
        key="execution",
        kind="execution",
    ),
    form("transfer execution delete", f"DELETE {_EXECUTION}"),
    form("transfer delete", "DELETE /transfers/{transfer}"),
)

_POOL = "/minion_pools/{pool}"
POOLS: tuple[Form, ...] = (
    form(
        "minion pool create",
        "POST /minion_pools",
        keep="pool",
        body={
            "minion_pool": {
                "name": "readers",
                "platform": "source",
                "os_type": "linux",
                "endpoint_id": "{origin}",
                "environment_options": "{pool_environment}",
                "skip_allocation": True,
                "minimum_minions": 1,
                "maximum_minions": 1,
                "minion_max_idle_time": 1,
                "minion_retention_strategy": "delete",
                "notes": None,
            }
        },
        key="minion_pool",
        kind="minion pool",
    ),
    form("minion pool list", "GET /minion_pools", key="minion_pools", kind="minion pool in a list"),
    form("minion pool show", f"GET {_POOL}", key="minion_pool", kind="minion pool"),
    form(
        "minion pool update",
        f"PUT {_POOL}",
        body={"minion_pool": {"notes": "for reading"}},
        key="minion_pool",
        kind="minion pool",
    ),
    *(
        form(
            f"minion pool {action}",
            f"POST {_POOL}/actions",
            wait="pool",
            body={action: arguments},
            key="minion_pool",
            kind="minion pool",
        )
        for action, arguments in (("allocate", None), ("refresh", None), ("deallocate", {"force": False}))
    ),
    form("minion pool delete", f"DELETE {_POOL}"),
)

FORMS: tuple[Form, ...] = (*ENDPOINTS, *ADMINISTRATION, *TRANSFERS, *SCHEDULES, *DEPLOYMENTS, *POOLS)


def filled(value: Json, holes: Mapping[str, Json]) -> Json:
    """The holes of a path or a body. A text that is one hole alone becomes the kept value, whatever it is."""
    if isinstance(value, str):
        if value.startswith("{") and value.endswith("}") and value[1:-1] in holes:
            return holes[value[1:-1]]
        for name, content in holes.items():
            value = value.replace(f"{{{name}}}", content) if isinstance(content, str) else value
        return value
    if isinstance(value, dict):
        return {key: filled(item, holes) for key, item in value.items()}
    return [filled(item, holes) for item in value] if isinstance(value, list) else value
