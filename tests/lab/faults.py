# SPDX-License-Identifier: Apache-2.0
"""Faults for tests: a proxy before any service of a cloud, and a region of the catalog that leads to it.

Whoever works in that region, by the usual option ``region_name``, meets the faults; everybody else does not. Whole
services fail by ``cloud.stop("cinder-volume")``, ``cloud.processes.pause(...)`` and ``cloud.tokens_live_for(...)``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.lab.fixtures import LabCloud
from tests.lab.settings import CATALOG

_PIECE = 64 << 10
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}


@dataclasses.dataclass(kw_only=True)
class Fault:
    """What befalls the next ``times`` requests that fit; ``path`` is a regular expression.

    ``status``: answer so, without asking the service. ``hang``: no answer; the connection ends when ``released``.
    ``hold``: the service is asked when ``released``. ``cut_after``: break the connection after so many bytes of the
    request's body, or of the answer's when the request has none. ``lose_answer``:
    the service does it, and the caller never hears of it. ``hold_answer``: the service does it (then ``reached`` is
    set), and the caller hears of it when ``released``. ``when``: asked for each request that fits otherwise.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    hang: bool = False
    hold: bool = False
    cut_after: int | None = None
    lose_answer: bool = False
    hold_answer: bool = False
    when: Callable[[], bool] = lambda: True
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    met: int = 0
    reached: threading.Event = dataclasses.field(default_factory=threading.Event)
    released: threading.Event = dataclasses.field(default_factory=threading.Event)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """A request. ``status``: of the answer that the caller got; None: none. ``action``: what is asked of a thing, such
    as ``os-stop``, where its path is that of all actions."""

    method: str
    path: str
    action: str | None = None
    token: str = dataclasses.field(repr=False)
    status: int | None = None


class _CutError(Exception):
    pass


class Proxy:
    """Before one service. ``seen``: all requests that are over. ``tls``: it speaks HTTPS, as ``localhost``."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.target = port
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.place = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        scheme, host = self.place
        return f"{scheme}://{host}:{self._server.server_port}"

    def add(self, method: str, path: str, **fault: Any) -> Fault:
        """Let a fault wait for its requests; it is given back so that a test can see whether it was met."""
        made = Fault(method=method, path=path, **fault)
        with self._lock:
            self.faults.append(made)
        return made

    def clear(self) -> None:
        """Forgets faults and requests; what waits for a release goes on."""
        with self._lock:
            for fault in self.faults:
                fault.released.set()
            self.faults.clear()
            self.seen.clear()

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        self._thread.start()
        try:
            yield self
        finally:
            for fault in self.faults:
                fault.released.set()
            self._server.shutdown()
            self._server.server_close()

    def meet(self, method: str, path: str) -> Fault | None:
        """The fault that befalls this request; it counts as met."""
        with self._lock:
            for fault in self.faults:
                fits = fault.met < fault.times and fault.method in ("*", method) and re.search(fault.path, path)
                if fits and fault.when():
                    fault.met += 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *words: Any) -> None:
        pass

    def handle_any(self) -> None:
        self.close_connection = True
        self.status: int | None = None
        self.action: str | None = None
        try:
            self._meet(self.owner.meet(self.command, self.path))
        finally:
            token = self.headers.get("x-auth-token", "")
            seen = Seen(method=self.command, path=self.path, action=self.action, token=token, status=self.status)
            self.owner.seen.append(seen)

    def send_response(self, code: int, message: str | None = None) -> None:
        self.status = code
        super().send_response(code, message)

    def _meet(self, fault: Fault | None) -> None:
        if fault and (fault.hang or fault.hold):
            fault.released.wait()
        if fault and fault.hang:
            return
        if fault and fault.status is not None:
            self._answer(fault)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.owner.target, timeout=600)
        try:
            self._forward(upstream, fault)
        except (_CutError, OSError, http.client.HTTPException):
            self._break()
        finally:
            upstream.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def _answer(self, fault: Fault) -> None:
        for _ in self._body():  # a client that still writes would see a reset instead of the answer
            pass
        text = b'{"error": {"code": %d, "message": "a fault of the lab"}}' % (fault.status or 500)
        self.send_response(fault.status or 500)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(text)), **fault.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _forward(self, upstream: http.client.HTTPConnection, fault: Fault | None) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["X-Forwarded-Proto"] = self.owner.place[0]  # for the links in answers
        cut = fault.cut_after if fault else None
        has_body = "content-length" in self.headers or self._chunked
        body = _cut(self._noted(self._body()), cut if has_body else None) if has_body else None
        upstream.request(self.command, self.path, body=body, headers=headers, encode_chunked=self._chunked)
        answer = upstream.getresponse()
        if fault and fault.lose_answer:
            answer.read()
            raise _CutError
        if fault and fault.hold_answer:
            fault.reached.set()
            fault.released.wait()
        self._copy(answer, None if has_body else cut)

    def _copy(self, answer: http.client.HTTPResponse, cut: int | None) -> None:
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in _cut(_pieces(answer), cut):
            self.wfile.write(piece)

    @property
    def _chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    def _body(self) -> Iterator[bytes]:
        if self._chunked:
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("content-length", 0))
        while left > 0 and (piece := self.rfile.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece

    def _noted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same, and what they ask of a thing is noted."""
        if not self.path.partition("?")[0].endswith("/action"):
            yield from pieces
            return
        body = b"".join(pieces)
        self.action = next(iter(json.loads(body)))
        yield body

    def _break(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := answer.read(_PIECE):
        yield piece


def _cut(pieces: Iterator[bytes], after: int | None) -> Iterator[bytes]:
    passed = 0
    for piece in pieces:
        passed += len(piece)
        yield piece
        if after is not None and passed >= after:
            raise _CutError


# --- the catalog -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def proxied(
    cloud: LabCloud, *services: str, region: str | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Mapping[str, Proxy]]:
    """Proxies before these services (nova, cinder, glance ...), and a region that leads to them, called as
    ``faulty_region`` tells unless ``region`` names it.

    The other services of the region are the real ones. Needs the admin; everything is removed afterwards.
    """
    with contextlib.ExitStack() as stack:
        proxies = {name: stack.enter_context(Proxy(cloud.cloud.spec.port(name), tls).running()) for name in services}
        stack.enter_context(_region(cloud, proxies, region or faulty_region(cloud)))
        yield proxies


def faulty_region(cloud: LabCloud) -> str:
    """Its name in the catalog. Each process has its own."""
    return f"{_regions(cloud)}{os.getpid()}"


def _regions(cloud: LabCloud) -> str:
    return f"{cloud.name}-faulty-"


@contextlib.contextmanager
def _region(cloud: LabCloud, proxies: Mapping[str, Proxy], region: str) -> Iterator[None]:
    with cloud.connect() as connection:
        identity = connection.identity
        _forget_regions(identity, _regions(cloud))
        ids = {service.type: service.id for service in identity.services()}
        identity.create_region(id=region)
        made = []
        try:
            entries = [(user, *entry) for user, entries in CATALOG.items() for entry in entries]
            entries.append(("keystone", "identity", "keystone", "/v3"))
            for user, kind, _name, path in entries:
                url = proxies[user].url + path if user in proxies else cloud.url(user, path)
                made.append(
                    identity.create_endpoint(service_id=ids[kind], interface="public", region_id=region, url=url)
                )
            yield
        finally:
            for endpoint in made:
                identity.delete_endpoint(endpoint)
            identity.delete_region(region)


def _forget_regions(identity: Any, prefix: str) -> None:
    """Those of processes that were killed."""
    for region in list(identity.regions()):
        pid = region.id.removeprefix(prefix)
        if region.id.startswith(prefix) and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            for endpoint in list(identity.endpoints(region_id=region.id)):
                identity.delete_endpoint(endpoint)
            identity.delete_region(region)


# --- volumes that never come -------------------------------------------------------------------------------------


@contextlib.contextmanager
def volumes_hang(cloud: LabCloud) -> Iterator[None]:
    """New volumes stay ``creating`` while this lasts, and are made afterwards.

    Nobody takes the scheduler's message: cinder-volume stands still. After a minute Cinder calls it down, and refuses.
    """
    cloud.cloud.processes.pause("cinder-volume")
    try:
        yield
    finally:
        cloud.cloud.processes.resume("cinder-volume")


@contextlib.contextmanager
def broken_type(cloud: LabCloud) -> Iterator[str]:
    """The name of a volume type whose volumes end in ``error``: no backend has what it asks for."""
    with cloud.connect() as connection:
        name = f"lab-broken-{uuid.uuid4().hex[:8]}"
        extra = {"volume_backend_name": "nowhere"}
        made = connection.block_storage.create_type(name=name, extra_specs=extra)
        try:
            yield name
        finally:
            connection.block_storage.delete_type(made)
