# SPDX-License-Identifier: Apache-2.0
"""The client library in front of the service in this process: requests go through WSGI and not through a socket."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import openstack
import requests
from keystoneauth1 import session as ks_session
from keystoneauth1 import token_endpoint
from webtest import TestApp

from coriolis.client import Proxy
from tests.functional.desk import PREFIX

HOST = "http://coriolis.invalid"


class Adapter(requests.adapters.BaseAdapter):
    """Of the library ``requests``: answers from a WSGI application."""

    def __init__(self, api: TestApp) -> None:
        super().__init__()
        self._api = api
        self.calls: list[tuple[str, str]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.calls.append((str(request.method), path))
        body = request.body or b""
        answer = self._api.request(
            path,
            method=str(request.method),
            body=body.encode() if isinstance(body, str) else body,
            headers={name: str(value) for name, value in request.headers.items()},
            expect_errors=True,
        )
        response = requests.Response()
        response.request = request
        response.url = str(request.url)
        response.status_code = answer.status_int
        response._content = answer.body
        response.headers = requests.structures.CaseInsensitiveDict(answer.headers)
        response.encoding = "utf-8"
        return response

    def close(self) -> None:
        """Nothing is open."""


def connect(api: TestApp, token: str) -> tuple[Proxy, Adapter]:
    """The library, and the calls that it makes."""
    adapter = Adapter(api)
    plain = requests.Session()
    plain.mount("http://", adapter)
    session = ks_session.Session(auth=token_endpoint.Token(HOST + PREFIX, token), session=plain)
    proxy = Proxy(session, service_type="migration", endpoint_override=HOST + PREFIX)
    proxy._connection = openstack.connection.Connection(session=session)
    return proxy, adapter
