# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document, made from the route table and the JSON schemas that the service itself uses."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from typing import Any

from coriolis.api import cursor
from coriolis.api.answers import EVENT_STREAM
from coriolis.api.dispatch import Route
from coriolis.api.errors import FAULTS
from coriolis.api.schemas.answers import TEXT, record

Json = Any

PREFIX = "/v1/{project_id}"
VERSION = "1.0"

_HOLE = re.compile(r"\{([^}]+)\}")
_NAMES: Json = {"type": "array", "items": {"type": "string"}}
_WHOLE: Json = {"type": "integer", "minimum": 0}
_SINCE: Json = {"type": "string", "pattern": cursor.PATTERN}
_SECONDS: Json = {"type": "number", "minimum": 0}
_BASE64: Json = {"type": "string", "contentEncoding": "base64url"}

# name of a query parameter -> (its schema, what it does)
QUERY: dict[str, tuple[Json, str]] = {
    "marker": ({"type": "string"}, "Id of the last object of the page before; one that is not there is ignored"),
    "limit": (_WHOLE, "At most so many objects"),
    "sort_key": (_NAMES, "Fields to sort by; can be given several times"),
    "sort_dir": ({"type": "array", "items": {"enum": ["asc", "desc"]}}, "One direction for each sort_key, or for all"),
    "status": (_NAMES, "Only objects with one of these statuses"),
    "name": ({"type": "string"}, "Only what has this text in its name, in upper or lower case"),
    "env": (_BASE64, "Options of the environment as a JSON object; unknown keys are ignored"),
    "options": (_BASE64, "Names of the options that are wanted, as a JSON list"),
    "refresh": ({"type": "boolean"}, "Accepted for older clients: what a platform says is never older than the call"),
    "since": (_SINCE, "Wait until there are events after the one with this id, or after an answer's since; give those"),
    "timeout": (_SECONDS, "Wait at most so many seconds"),
    "all_projects": ({"type": "boolean"}, "Those of all projects, for administrators"),
    "dry_run": ({"type": "boolean"}, "Check and plan only, make nothing"),
    "delete_disks": ({"type": "boolean"}, "Also delete its disks on the destination"),
    "show_deleted": ({"type": "boolean"}, "Also what was deleted"),
    "show_expired": ({"type": "boolean"}, "Also what has expired"),
    "include_task_info": ({"type": "boolean"}, "Also what tasks have found out about each instance"),
}

_PATH: dict[str, Json] = {
    "instance": {**_BASE64, "minLength": 1},
    "type": {"type": "integer", "minimum": 0},
    "platform": {"type": "string", "minLength": 1, "maxLength": 64},
    "project_id": {"type": "string", "minLength": 1, "maxLength": 64},
}
_ID: Json = {"type": "string", "format": "uuid"}

ERROR = record(
    {
        "error": record(
            {
                "fault": {"type": "string", "enum": [*FAULTS.values(), "computeFault"]},
                "code": {"type": "integer", "minimum": 400, "maximum": 599},
                "message": TEXT,
                "reason": {"type": "string", "description": "Stable name of the error"},
                "field": {"type": "string", "description": "What was wrong in the request"},
            },
            optional=("reason", "field"),
        )
    }
)

_STREAM_HEADERS: tuple[Json, ...] = (
    {"name": "Last-Event-ID", "in": "header", "schema": _SINCE, "description": "Go on after this event"},
)
_CREATE_HEADERS: tuple[Json, ...] = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "description": "The same key and body again give the same object",
    },
)

_EVERY = (400, 404, 503)  # a bad query or path; the database may be away
_SCOPED = (401, 403, 429)
_WITH_BODY = (405, 409, 413, 415, 502)  # workers check much of what is sent: a provider may lack the part, or break


def document(routes: Iterable[Route]) -> dict[str, Json]:
    """The whole document. Paths are those below a project; each works without the project as well."""
    paths: dict[str, dict[str, Json]] = {}
    for route in routes:
        paths.setdefault(path_of(route), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Coriolis",
            "version": VERSION,
            "summary": "Cloud migration as a service",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
            "schemas": {"Error": ERROR},
            "responses": {
                "Error": {
                    "description": "An error; its message tells the cause and the cure",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
        },
    }


def path_of(route: Route) -> str:
    """The whole path of a route, with its holes."""
    return route.path if route.policy is None else PREFIX + route.path


def operation_id(route: Route) -> str:
    """Unique and stable: ``get_endpoints_endpoint_id_instances``."""
    return "_".join([route.method.lower(), *(re.sub(r"\W+", "_", part).strip("_") for part in route.segments)])


def _operation(route: Route) -> dict[str, Json]:
    operation: dict[str, Json] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": ["versions" if route.policy is None else str(route.policy).split(":")[1]],
        "parameters": [*_holes(route), *_queries(route), *_headers(route)],
        "responses": _responses(route),
    }
    if route.policy is None:
        operation["security"] = []
    else:
        operation["x-policy"] = route.policy
    if route.schema is not None:
        content = {"application/json": {"schema": dict(route.schema)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _holes(route: Route) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH.get(name, _ID)}
        for name in _HOLE.findall(path_of(route))
    ]


def _queries(route: Route) -> list[Json]:
    found = []
    for name in route.query:
        schema, description = QUERY[name]
        found.append({"name": name, "in": "query", "schema": schema, "description": description})
    return found


def _headers(route: Route) -> tuple[Json, ...]:
    streams = _STREAM_HEADERS if EVENT_STREAM in route.produces else ()
    return (*streams, *(_CREATE_HEADERS if route.repeatable else ()))


def statuses(route: Route) -> list[int]:
    """What a route can answer, its own status first."""
    wrong = set(_EVERY) | set(route.fails)
    if route.policy is not None:
        wrong |= set(_SCOPED)
    if route.schema is not None:
        wrong |= set(_WITH_BODY)
    if route.method == "DELETE":
        wrong.add(409)
    also = [200] if route.status == 204 and route.answer is not None else []
    return [route.status, *also, *sorted(wrong)]


def _responses(route: Route) -> dict[str, Json]:
    return {
        str(status): _good(route, status) if status < 300 else {"$ref": "#/components/responses/Error"}
        for status in statuses(route)
    }


def _good(route: Route, status: int) -> Json:
    answer: dict[str, Json] = {"description": http.HTTPStatus(status).phrase}
    if route.answer is not None and status != http.HTTPStatus.NO_CONTENT:
        answer["content"] = {kind: {"schema": _shown_as(kind, route)} for kind in route.produces}
    return answer


def _shown_as(kind: str, route: Route) -> Json:
    return dict(route.answer or {}) if kind == "application/json" else {"type": "string"}
