# SPDX-License-Identifier: Apache-2.0
"""Serves a WSGI application with a pool of threads."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from cheroot import errors, server, wsgi
from cheroot.makefile import MakeFile
from cheroot.ssl.builtin import BuiltinSSLAdapter

MAX_HEAD_BYTES = 65536
_BACKLOG = 1024  # connections that wait to be accepted
_NO_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 48\r\n\r\n"
    b"This port speaks HTTPS, and the request was HTTP"
)


class _Patience:
    """A socket of which each read ends at ``until`` (on the monotonic clock), however slowly bytes come in. cheroot's
    own time limit begins anew with every byte, so that a few slow clients could hold all threads."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.until: float | None = None

    def recv_into(self, *arguments: Any) -> int:
        if self.until is None:
            return int(self._connection.recv_into(*arguments))
        usual = self._connection.gettimeout()
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left if usual is None else min(left, usual))
        try:
            return int(self._connection.recv_into(*arguments))
        finally:
            self._connection.settimeout(usual)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Request(server.HTTPRequest):
    """Answers 400 to a request line that the URL parser refuses, where cheroot would answer 500."""

    def parse_request(self) -> None:
        patience: _Patience = self.conn.patience
        patience.until = time.monotonic() + self.server.head_seconds
        self.conn.shake_hands(self.server.head_seconds)
        super().parse_request()
        patience.until = time.monotonic() + self.server.body_seconds

    def read_request_line(self) -> bool:
        try:
            return bool(super().read_request_line())  # type: ignore[no-untyped-call]
        except ValueError:
            self.simple_response("400 Bad Request", "Malformed Request-URI")
            return False


class _Connection(server.HTTPConnection):
    RequestHandlerClass = _Request

    def __init__(self, of: Any, connection: Any, makefile: Any = MakeFile) -> None:
        self.patience = _Patience(connection)

        def make(given: Any, mode: str, size: int) -> Any:
            return makefile(self.patience if "r" in mode else given, mode, size)

        super().__init__(of, connection, make)
        self._is_greeted = not isinstance(connection, ssl.SSLSocket)

    def shake_hands(self, seconds: float) -> None:
        """The TLS handshake, once. :raises FatalSSLAlert: it does not come about; the connection is closed"""
        if self._is_greeted:
            return
        self._is_greeted = True
        usual = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.socket.do_handshake()
        except OSError as error:
            if isinstance(error, ssl.SSLError) and "HTTP_REQUEST" in str(error.reason):
                with contextlib.suppress(OSError):
                    socket.socket.sendall(self.socket, _NO_TLS)  # below TLS
            raise errors.FatalSSLAlert(*error.args) from error
        finally:
            self.socket.settimeout(usual)


class _LateHandshake(BuiltinSSLAdapter):
    """Leaves the handshake to the thread that serves the connection. cheroot does it where it accepts connections, so
    that one client that is slow in it would keep all others waiting."""

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, do_handshake_on_connect=False, server_side=True)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class _Server(wsgi.Server):
    head_seconds = 10.0
    body_seconds = 60.0
    #: cheroot keeps 10 open, and has 5 wait to be accepted. Hundreds of clients that poll would connect anew for each
    #: request, and the kernel would drop so many of these that some wait for half a minute.
    keep_alive_conn_limit = 500


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
        head_seconds: float = 10.0,
        body_seconds: float = 60.0,
        certificate_file: str | None = None,
        key_file: str | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """``head_seconds``: from the first byte of a request to the end of its head; ``body_seconds``: from there to
        the end of its body. ``on_stop``: ends the answers that go on for long."""
        self._server = _Server(
            (address, port), application, numthreads=threads, server_name=address, request_queue_size=_BACKLOG
        )
        self._server.ConnectionClass = _Connection
        self._server.head_seconds = head_seconds
        self._server.body_seconds = body_seconds
        self._server.max_request_header_size = MAX_HEAD_BYTES
        if certificate_file:
            self._server.ssl_adapter = _LateHandshake(certificate_file, key_file)
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
