# SPDX-License-Identifier: Apache-2.0
"""Serves a WSGI application with a pool of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cheroot import server, wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter


class _Request(server.HTTPRequest):
    """Answers 400 to a request line that the URL parser refuses, where cheroot would answer 500."""

    def read_request_line(self) -> bool:
        try:
            return bool(super().read_request_line())  # type: ignore[no-untyped-call]
        except ValueError:
            self.simple_response("400 Bad Request", "Malformed Request-URI")
            return False


class _Connection(server.HTTPConnection):
    RequestHandlerClass = _Request


class WsgiService:
    """``port`` is the real one once ``start`` has returned, also where 0 was asked for.

    :raises OSError: from ``bind`` or ``start``, when the address is taken
    """

    def __init__(
        self,
        application: Any,
        *,
        address: str,
        port: int,
        threads: int,
        certificate_file: str | None = None,
        key_file: str | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_stop``: ends the answers that go on for long."""
        self._server = wsgi.Server((address, port), application, numthreads=threads, server_name=address)
        self._server.ConnectionClass = _Connection
        if certificate_file:
            self._server.ssl_adapter = BuiltinSSLAdapter(certificate_file, key_file)
        self.application = application
        self._bound = False
        self._on_stop = on_stop
        self._thread = threading.Thread(target=self._server.serve, name="wsgi", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.bind_addr[1])

    def bind(self) -> None:
        """Takes the address, so that nobody else can. ``start`` does it where it was not done."""
        if not self._bound:
            self._server.prepare()
            self._bound = True

    def start(self) -> None:
        self.bind()
        self._thread.start()

    def stop(self) -> None:
        self._on_stop()
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
