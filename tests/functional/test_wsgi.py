# SPDX-License-Identifier: Apache-2.0
"""The server in front of the application."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from coriolis.runtime.wsgi import WsgiService


def application(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def service() -> Iterator[WsgiService]:
    service = WsgiService(application, address="127.0.0.1", port=0, threads=2)
    service.start()
    yield service
    service.stop()


def ask(service: WsgiService, line: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_answers(service: WsgiService) -> None:
    assert ask(service, b"GET / HTTP/1.1").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("line", [b"GET http://[/v1 HTTP/1.1", b"GET", b"GET / HTTP/9.9"])
def test_a_broken_request_line_is_the_callers_mistake(service: WsgiService, line: bytes) -> None:
    answer = ask(service, line)
    assert answer.split(b" ", 2)[1] in (b"400", b"505")
    assert b"Traceback" not in answer


def test_a_taken_address_is_said_at_once(service: WsgiService) -> None:
    with pytest.raises(OSError, match="in use"):
        WsgiService(application, address="127.0.0.1", port=service.port, threads=1).bind()
