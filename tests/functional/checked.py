# SPDX-License-Identifier: Apache-2.0
"""A client that holds every good answer against what its route declares, whatever a test asks for."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator
from webtest import TestApp, TestRequest, TestResponse

from coriolis.api import openapi
from coriolis.api.dispatch import MethodNotAllowed, Route, Table
from coriolis.api.routes import ROUTES
from coriolis.api.wire import path_of
from coriolis.domain.errors import Invalid, NotFound

_TABLE = Table(ROUTES)
_VALIDATORS = {id(r): Draft202012Validator(dict(r.answer)) for r in ROUTES if r.answer is not None}


def route_of(method: str, environ: dict[str, Any]) -> Route | None:
    """None: there is no such path, or not for this method."""
    try:
        return _TABLE.find(method, path_of(environ)).route
    except (Invalid, NotFound, MethodNotAllowed):
        return None


def check(route: Route, status: int, content_type: str, content: Any) -> None:
    """The status is a declared one, and the body has the declared form. ``content``: a JSON value, or None."""
    known = (*openapi.statuses(route), 500)  # no route declares its bugs
    assert status in known, f"{route.method} {route.path} answers {status}, which is not declared"
    if status == route.status and content is not None:
        assert content_type in route.produces
        error = next(_VALIDATORS[id(route)].iter_errors(content), None)
        assert error is None, f"{route.method} {route.path}: {error and (list(error.absolute_path), error.message)}"


class CheckedApp(TestApp):
    """``webtest.TestApp`` that does so."""

    def do_request(self, req: TestRequest, status: Any = None, expect_errors: Any = None) -> TestResponse:
        answer = super().do_request(req, status, expect_errors)
        route = route_of(req.method, req.environ)
        if route is not None:
            is_json = answer.content_type == "application/json" and answer.body
            check(route, answer.status_int, answer.content_type, answer.json if is_json else None)
        return answer
