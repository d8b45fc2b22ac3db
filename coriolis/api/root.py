# SPDX-License-Identifier: Apache-2.0
"""The WSGI shell: pecan receives the request, the route table decides. The only module that imports pecan."""

from __future__ import annotations

from typing import Any

import pecan
import webob
from pecan.core import ExplicitPecan, RoutingState
from webob.acceptparse import create_accept_header
from webob.multidict import MultiDict

from coriolis.api import dispatch
from coriolis.api.services import Services


class PlainRequest(pecan.Request):
    """A request that pecan does not interpret: the dispatcher does, with its own limits and errors."""

    accept = create_accept_header("*/*")
    GET = MultiDict()
    params = MultiDict()
    json: dict[str, Any] = {}


class Application(ExplicitPecan):
    """Pecan without its look at the body of an answer: that would read a stream to its end."""

    def _handle_empty_response_body(self, state: RoutingState) -> None:
        if state.response.status_int in (204, 304):
            state.response.content_type = None


class Root:
    """Every path ends in the one method ``answer``."""

    def __init__(self, table: dispatch.Table, services: Services) -> None:
        self._table = table
        self._services = services

    @pecan.expose()
    def _route(self, args: list[str], request: webob.Request) -> tuple[Any, list[str]]:
        return self.answer, []

    @pecan.expose()
    def answer(self, req: webob.Request, resp: webob.Response) -> webob.Response:
        return dispatch.answer(req.environ, self._table, self._services)


def make_root(table: dispatch.Table, services: Services) -> Application:
    """The WSGI application, without middleware."""
    return Application(
        Root(table, services),
        default_renderer="json",
        guess_content_type_from_ext=False,
        force_canonical=False,
        request_cls=PlainRequest,
    )
