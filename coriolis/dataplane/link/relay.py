# SPDX-License-Identifier: Apache-2.0
"""The process on each side of a link: ``python -m coriolis.dataplane.link ORDER``.

``ORDER`` is a JSON file, of paths and names; secrets stay in the files that it names. The process writes the file
``pid`` beside it once it is ready, and ``port`` where it offers. A thread serves each way of each connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import secrets
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from coriolis.dataplane.link import greeting
from coriolis.dataplane.link.credentials import BadCredentials, Credentials, names_of, server_context
from coriolis.dataplane.link.frames import BadFrame, Mode
from coriolis.dataplane.link.greeting import BESIDE, FROM, PROBE, TO, Hello, Refused
from coriolis.dataplane.link.pump import inwards, outwards
from coriolis.dataplane.link.secure import PlainSocket, SecureSocket, Way

_WAITING = 64  # connections that have not said yet who they are
_PAIRS = 64  # first halves that wait for their second one
_LOCAL_BYTES = 1 << 20  # that may wait in the local socket: fewer, longer turns of both sides


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """``role``: offer or reach. ``address``: where to listen, up to ``last_port``, or whom to reach.

    ``local``: the unix socket of the export, or the one to make. ``peers``: the names of those who may reach, or the
    one name of who offers. ``beside``: a file with what is told to peers who ask for it.
    """

    role: str
    address: tuple[str, int]
    local: str
    peers: tuple[str, ...]
    mode: Mode = "auto"
    last_port: int = 0
    beside: str | None = None
    credentials: Credentials | None = None


def join(local: socket.socket, to: Way, from_: Way, pumps: tuple[Callable[[], None], ...]) -> None:
    """Runs the pumps until one of them ends, and then ends the others."""
    local.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_BYTES)
    ends = (PlainSocket(local), to, from_)

    def run(pump: Callable[[], None]) -> None:
        try:
            pump()
        except (OSError, BadFrame) as error:
            if not isinstance(error, (ConnectionError, ssl.SSLError)):
                _say(f"a connection broke off: {error}")
        finally:
            for end in ends:
                with contextlib.suppress(OSError):
                    end.cut()

    threads = [threading.Thread(target=run, args=(pump,), daemon=True) for pump in pumps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for end in ends:
        end.close()


# ---- the side that offers


class Offering:
    """Accepts peers, and joins each two ways of a connection with a connection to the export."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._context = None if order.credentials is None else server_context(order.credentials)
        self._lock = threading.Lock()
        self._halves: dict[tuple[str, str], tuple[Hello, Way]] = {}
        self._waiting = threading.BoundedSemaphore(_WAITING)

    def run(self, listener: socket.socket) -> None:
        while True:
            plain, _ = listener.accept()
            self._waiting.acquire()
            threading.Thread(target=self._meet, args=(plain,), daemon=True).start()

    def _meet(self, plain: socket.socket) -> None:
        connection: Way = PlainSocket(plain)
        try:
            plain.settimeout(greeting.SECONDS)
            greeting.tune(plain)
            connection, who = self._identify(plain)
            hello = greeting.hear(connection)
            if hello.way == BESIDE and self._order.beside is None:
                raise Refused("nothing is told beside the export")
        except Refused as refused:
            _say(f"refused: {refused}")
            greeting.refuse(connection, str(refused))
            connection.close()
            return
        except (OSError, ssl.SSLError) as error:
            _say(f"refused: {error}")
            connection.close()
            return
        finally:
            self._waiting.release()
        greeting.accept(connection)
        connection.settimeout(None)
        if hello.way in (PROBE, BESIDE):
            self._answer(hello, connection)
        else:
            self._pair((hello.id, who), hello, connection)

    def _answer(self, hello: Hello, connection: Way) -> None:
        try:
            if hello.way == BESIDE:
                greeting.tell(connection, Path(self._order.beside or "").read_bytes())
        except (OSError, ssl.SSLError) as error:
            _say(f"a connection broke off: {error}")
        finally:
            connection.close()

    def _identify(self, plain: socket.socket) -> tuple[Way, str]:
        """The connection, and who is on it. :raises Refused: nobody we know"""
        if self._context is None:
            return PlainSocket(plain), "clear"
        secure = SecureSocket(plain, self._context, server_hostname=None)
        names = names_of(secure.peer())
        if not names & set(self._order.peers):
            greeting.refuse(secure, f"{', '.join(sorted(names)) or 'a nameless peer'} may not use this export")
            secure.close()
            raise Refused(f"{', '.join(sorted(names))} is not {' or '.join(self._order.peers)}")
        return secure, hashlib.sha256(secure.certificate()).hexdigest()

    def _pair(self, key: tuple[str, str], hello: Hello, connection: Way) -> None:
        with self._lock:
            other = self._halves.pop(key, None)
            if other is None:
                self._halves[key] = (hello, connection)
                while len(self._halves) > _PAIRS:
                    self._halves.pop(next(iter(self._halves)))[1].close()
                return
        to, from_ = (connection, other[1]) if hello.way == TO else (other[1], connection)
        local = socket.socket(socket.AF_UNIX)
        try:
            local.connect(self._order.local)
        except OSError as error:
            _say(f"the export is gone: {error}")
            local.close()
            to.close()
            from_.close()
            return
        join(local, to, from_, (lambda: inwards(to, local), lambda: outwards(local, from_, hello.mode)))


# ---- the side that reaches


def reach(order: Order, listener: socket.socket) -> None:
    """Gives each local connection one of its own to the other side."""
    while True:
        local, _ = listener.accept()
        threading.Thread(target=_carry, args=(order, local), daemon=True).start()


def _carry(order: Order, local: socket.socket) -> None:
    pair = secrets.token_hex(16)
    ways: list[Way] = []
    try:
        for way in (TO, FROM):
            ways.append(dial(order, Hello(way=way, id=pair)))
    except (OSError, Refused, BadCredentials) as error:
        _say(f"not reached: {error}")
        local.close()
        for end in ways:
            end.close()
        return
    to, from_ = ways
    join(local, to, from_, (lambda: outwards(local, to, order.mode), lambda: inwards(from_, local)))


def dial(order: Order, hello: Hello) -> Way:
    """Reaches the other side. :raises Refused: by either side. :raises OSError: nobody is there"""
    hello = dataclasses.replace(hello, mode=order.mode)
    return greeting.dial(order.address, order.peers[0], order.credentials, hello)


# ---- the process


def main(path: Path) -> int:
    order = read(path)
    try:
        if order.role == "offer":
            listener = _listen(order)
            offering = Offering(order)
            (path.parent / "port").write_text(str(listener.getsockname()[1]))
            _ready(path)
            offering.run(listener)
        else:
            dial(order, Hello(way=PROBE, id=secrets.token_hex(16))).close()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(order.local)
            listener.listen(_WAITING)
            _ready(path)
            reach(order, listener)
    except (OSError, Refused, BadCredentials) as error:
        _say(str(error))
        return 1
    return 0


def _listen(order: Order) -> socket.socket:
    """On the first port that is free. :raises OSError: none is"""
    host, first = order.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, order.last_port + 1):
        try:
            return socket.create_server((host, port), family=family, backlog=_WAITING)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no port of {first}-{order.last_port} is free on {host}")


def read(path: Path) -> Order:
    data = json.loads(path.read_text())
    files = data.pop("credentials")
    credentials = None if files is None else Credentials(**{name: Path(file) for name, file in files.items()})
    host, port = data.pop("address")
    return Order(**{**data, "peers": tuple(data["peers"])}, address=(host, port), credentials=credentials)


def write(path: Path, order: Order) -> None:
    data = dataclasses.asdict(order)
    path.write_text(json.dumps(data, default=str))


def _ready(path: Path) -> None:
    new = path.parent / "pid.new"
    new.write_text(str(os.getpid()))
    new.rename(path.parent / "pid")


def _say(text: str) -> None:
    sys.stderr.write(f"link: {text}\n")
    sys.stderr.flush()
