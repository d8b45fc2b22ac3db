# SPDX-License-Identifier: Apache-2.0
"""The server in front of the application."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coriolis.runtime.wsgi import WsgiService

DAY = dt.timedelta(days=1)


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


def test_many_clients_connect_at_once_and_stay(service: WsgiService) -> None:
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=20)) for _ in range(200)
        ]
        for _ in range(2):
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for client in clients:
                answer = b""
                while not answer.endswith(b"\r\n\r\nok"):
                    got = client.recv(4096)
                    assert got, answer
                    answer += got
                assert answer.startswith(b"HTTP/1.1 200")
                assert b"connection: close" not in answer.lower()


def test_none_is_turned_away_while_the_service_is_busy() -> None:
    """The kernel drops whoever comes to a full queue, and the client tries again after seconds only."""
    service = WsgiService(application, address="127.0.0.1", port=0, threads=1)
    service.bind()  # nobody accepts yet
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10))
    service.stop()


@pytest.fixture
def hurried() -> Iterator[WsgiService]:
    """One thread, and little patience."""

    def read(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    service = WsgiService(read, address="127.0.0.1", port=0, threads=1, head_seconds=1.0, body_seconds=1.0)
    service.start()
    yield service
    service.stop()


def drip(service: WsgiService, start: bytes, more: bytes) -> bytes:
    """Sends the start, and then a byte now and then until the service has had enough. Gives its answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(start)
        connection.settimeout(0.2)
        for _ in range(600):
            with contextlib.suppress(TimeoutError):
                return connection.recv(4096)
            connection.sendall(more)
    raise AssertionError("the service waits for ever")


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET / HT", b"x"),
        (b"GET / HTTP/1.1\r\nX-Slow: ", b"x"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n", b"x"),
    ],
)
def test_who_sends_byte_by_byte_is_cut_off_and_holds_nobody_up(hurried: WsgiService, start: bytes, more: bytes) -> None:
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(drip, hurried, start, more) for _ in range(3)]
        assert ask(hurried, b"GET / HTTP/1.1").startswith(b"HTTP/1.1 200 OK")
        answers = {one.result() for one in slow}
    assert {answer.split(b"\r\n")[0] for answer in answers} <= {b"HTTP/1.1 408 Request Timeout", b""}


def test_patience_begins_anew_with_each_request_of_a_connection(hurried: WsgiService) -> None:
    with socket.create_connection(("127.0.0.1", hurried.port), timeout=60) as connection:
        for _ in range(3):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(4096)
            time.sleep(0.7)


def test_a_head_without_end_is_refused(hurried: WsgiService) -> None:
    answer = ask(hurried, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 200_000)
    assert answer.startswith(b"HTTP/1.1 413")


# ---- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of localhost in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[WsgiService]:
    """Two threads, and more patience than cheroot has with a handshake."""
    path = str(certificate)
    service = WsgiService(
        application, address="127.0.0.1", port=0, threads=2, head_seconds=60, certificate_file=path, key_file=path
    )
    service.start()
    yield service
    service.stop()


def ask_securely(service: WsgiService, certificate: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        for _ in range(2):  # the connection is kept
            secured.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += secured.recv(4096)
        return answer


def test_a_slow_handshake_holds_nobody_up(secure: WsgiService, certificate: Path) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=60) as slow:
        slow.sendall(b"\x16\x03\x01")  # a handshake begins, and does not go on
        assert ask_securely(secure, certificate).startswith(b"HTTP/1.1 200 OK")
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1)  # it was not cut off to answer us
    assert ask_securely(secure, certificate).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-x\r\n"])
def test_who_speaks_no_tls_is_sent_away(secure: WsgiService, certificate: Path, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), timeout=60) as connection:
        answers: list[bytes] = []
        with contextlib.suppress(ConnectionError):  # it may be cut off at once
            connection.sendall(start)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            answers += iter(lambda: connection.recv(4096), b"")
        assert b"HTTP" not in b"".join(answers)
    assert ask_securely(secure, certificate).startswith(b"HTTP/1.1 200 OK")


def test_http_to_https_is_told(secure: WsgiService) -> None:
    answer = ask(secure, b"GET / HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"HTTPS" in answer
