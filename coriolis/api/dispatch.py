# SPDX-License-Identifier: Apache-2.0
"""From a path to a route, and from a request to an answer."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import webob
from webob.acceptparse import create_accept_header

from coriolis.api import body as body_reader
from coriolis.api import errors, validation
from coriolis.api.answers import Stream, Text
from coriolis.api.rates import TooManyRequests
from coriolis.api.request import ApiRequest, Query
from coriolis.api.services import Services
from coriolis.api.watch import Busy
from coriolis.api.wire import path_of
from coriolis.domain.errors import CoriolisError, Invalid, NotFound, Unauthorized
from coriolis.runtime import context as contexts

Handler = Callable[[ApiRequest, Services], Any]

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, kw_only=True)
class Route:
    """One line of the table. ``path`` is below ``/v1/{project_id}``, or whole when ``policy`` is None (public)."""

    method: str
    path: str
    handler: Handler
    policy: str | None
    summary: str
    status: int = 200
    schema: Mapping[str, Any] | None = None  # JSON schema of the request's body
    query: tuple[str, ...] = ()
    answer: Mapping[str, Any] | None = None  # JSON schema of the answer's body; with 204: of that some bodies get (200)
    produces: tuple[str, ...] = ("application/json",)  # media types of the answer; the first is the default
    action_policies: tuple[str, ...] = ()  # beyond ``policy``: the handler asks for one of them, by the action named
    repeatable: bool = False  # with the header Idempotency-Key, sent twice is made once
    fails: tuple[int, ...] = ()  # statuses beyond those that every such route has, for the documents

    @functools.cached_property
    def segments(self) -> tuple[str, ...]:
        return _split(self.path)


class MethodNotAllowed(CoriolisError):
    code = "coriolis.method_not_allowed"
    status = 405

    def __init__(self, message: str, allowed: Iterable[str]) -> None:
        super().__init__(message)
        self.allowed = sorted(allowed)


@dataclass(frozen=True, kw_only=True)
class Match:
    route: Route
    params: Mapping[str, str]
    project_id: str | None  # as in the path; None on project-less paths


class Table:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._public: list[Route] = []
        self._scoped: list[Route] = []
        for route in routes:
            (self._public if route.policy is None else self._scoped).append(route)
        self._nouns = {route.segments[0] for route in self._scoped}
        self._validators = {id(r): validation.compile_schema(r.schema) for r in self._scoped if r.schema is not None}

    def is_public(self, path: str) -> bool:
        """Whether the path needs no token."""
        parts = _split(path)
        return any(route.segments == parts for route in self._public)

    def find(self, method: str, path: str) -> Match:
        """:raises NotFound: no such path. :raises MethodNotAllowed: the path has other methods"""
        parts = _split(path)
        method = "GET" if method == "HEAD" else method
        found = self._candidates(parts)
        for match in found:
            if match.route.method == method:
                return match
        if found:
            allowed = {match.route.method for match in found}
            raise MethodNotAllowed(f"This path has {', '.join(sorted(allowed))} only", allowed)
        raise NotFound("There is no such path: GET /v1 tells the version, the reference lists the paths")

    def _candidates(self, parts: tuple[str, ...]) -> list[Match]:
        public = [Match(route=r, params={}, project_id=None) for r in self._public if r.segments == parts]
        if public or len(parts) < 2 or parts[0] != "v1" or not parts[1]:
            return public
        project_id = None if parts[1] in self._nouns else parts[1]
        rest = parts[1:] if project_id is None else parts[2:]
        found = []
        for route in self._scoped:
            params = _params(route.segments, rest)
            if params is not None:
                found.append(Match(route=route, params=params, project_id=project_id))
        return found

    def validate(self, route: Route, body: Any) -> None:
        """:raises Invalid: the body does not fit the route's schema"""
        if route.schema is not None:
            validation.check(self._validators[id(route)], body)


def _split(path: str) -> tuple[str, ...]:
    parts = path.strip("/").split("/")
    if parts[-1].endswith(".json"):
        parts[-1] = parts[-1][: -len(".json")]
    return tuple(parts) if parts != [""] else ()


def _params(template: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    if len(template) != len(parts):
        return None
    params = {}
    for expected, part in zip(template, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            params[expected.strip("{}")] = part
        elif expected != part:
            return None
    return params


def answer(environ: dict[str, Any], table: Table, services: Services) -> webob.Response:
    """The whole way of one request. Our own errors become answers here, anything else is left to the fault wrapper."""
    try:
        return _answer(environ, table, services)
    except MethodNotAllowed as error:
        return errors.response(error, [("Allow", ", ".join(error.allowed))])
    except Busy as error:
        return errors.response(error, [("Retry-After", str(error.retry_after_seconds))])
    except TooManyRequests as error:
        return errors.response(error, [("Retry-After", str(error.retry_after))])
    except CoriolisError as error:
        return errors.response(error)


def _answer(environ: dict[str, Any], table: Table, services: Services) -> webob.Response:
    path = path_of(environ)
    context = contexts.from_environ(environ)
    if not context.is_authenticated and not table.is_public(path):
        raise Unauthorized("The request needs a valid token of a project in the header X-Auth-Token")
    if services.rates is not None and context.is_authenticated:
        services.rates.count(str(context.project_id))
    match = table.find(environ["REQUEST_METHOD"], path)
    environ["coriolis.route"] = match.route.path
    route = match.route
    if route.policy is not None:
        _check_project(match, context)
        services.authority.require(
            route.policy, context, {"project_id": context.project_id, "user_id": context.user_id}
        )
    body = None
    if route.schema is not None:
        raw = body_reader.read(webob.Request(environ).body_file, services.settings.max_body_bytes)
        body = body_reader.parse(raw, environ.get("CONTENT_TYPE", ""))
        table.validate(route, body)
    request = ApiRequest(
        context=context,
        is_admin=context.is_authenticated and services.authority.is_admin(context),
        params=match.params,
        query=Query(environ.get("QUERY_STRING", "")),
        body=body,
        idempotency_key=_idempotency_key(environ),
        base_url=webob.Request(environ).application_url,
        media_type=_media_type(environ, route.produces),
        last_event_id=environ.get("HTTP_LAST_EVENT_ID"),
    )
    return _render(route, route.handler(request, services))


def _check_project(match: Match, context: contexts.RequestContext) -> None:
    if match.project_id is not None and match.project_id != context.project_id:
        raise Invalid(
            "The project in the path is not the project of the token: ask for a token of that project, "
            "or correct the path",
            field="project_id",
        )


def _idempotency_key(environ: dict[str, Any]) -> str | None:
    key = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid(
            "Idempotency-Key must have 1 to 255 visible ASCII characters: a new UUID for each new object",
            field="Idempotency-Key",
        )
    return key


def _media_type(environ: dict[str, Any], produces: Sequence[str]) -> str:
    """The caller's favourite among what the route can give; its first for a caller who wants none of them."""
    if len(produces) > 1:
        accepted = create_accept_header(environ.get("HTTP_ACCEPT")).acceptable_offers(list(produces))
        if accepted:
            return str(accepted[0][0])
    return produces[0]


def _render(route: Route, content: Any) -> webob.Response:
    if content is None:
        return webob.Response(status=204)
    status = 200 if route.status == 204 else route.status
    if isinstance(content, Text):
        body = content.body.encode("utf-8")
        return webob.Response(status=status, body=body, content_type=content.content_type, charset="UTF-8")
    if isinstance(content, Stream):
        headers = [("Content-Type", content.content_type), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]
        return webob.Response(status=status, headerlist=headers, app_iter=content.chunks)
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return webob.Response(status=status, body=body, content_type="application/json", charset="UTF-8")
