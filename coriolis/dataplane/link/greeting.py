# SPDX-License-Identifier: Apache-2.0
"""The first words on a connection of a link, after TLS: what it is for, and whether that is accepted.

The one who reaches says a JSON object behind its length (2 bytes); the one who offers answers ``+``, or ``-`` and why
not, behind its length. ``way`` is *to* or *from* the export; two connections of one ``id`` make one NBD connection.
Or it is *probe*, which only asks, or *beside*: the answer is what is told beside the export, behind 4 bytes of length.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import struct
from typing import Any

from coriolis.dataplane.link.credentials import Credentials, client_context
from coriolis.dataplane.link.frames import Mode
from coriolis.dataplane.link.pump import fill
from coriolis.dataplane.link.secure import PlainSocket, SecureSocket, Way

VERSION = 1
WAYS = TO, FROM, PROBE, BESIDE = "to", "from", "probe", "beside"
SECONDS = 20.0  # for TLS and the greeting together
_LENGTH = struct.Struct(">H")
_LONG = struct.Struct(">I")
_KEEP_ALIVE = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 60_000),
)


class Refused(Exception):
    """The other side does not want us, or is not who it should be. The text says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hello:
    """``id``: 32 hex digits. ``mode``: of compression, for both directions."""

    way: str
    id: str
    mode: Mode = "auto"
    version: int = VERSION


def tune(connection: socket.socket) -> None:
    """Small requests go at once, and a peer that is gone is noticed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def say(connection: Way, hello: Hello) -> None:
    data = json.dumps(dataclasses.asdict(hello)).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def hear(connection: Way) -> Hello:
    """:raises Refused: it makes no sense"""
    try:
        known: dict[str, Any] = json.loads(_text(connection))
        hello = Hello(**{field.name: known[field.name] for field in dataclasses.fields(Hello)})
    except (ValueError, KeyError, TypeError):
        raise Refused("the greeting makes no sense") from None
    if hello.version != VERSION:
        raise Refused(f"this side speaks version {VERSION} of the link, the other one {hello.version}")
    if hello.way not in WAYS or hello.mode not in ("auto", "on", "off") or len(str(hello.id)) != 32:
        raise Refused("the greeting makes no sense")
    return hello


def accept(connection: Way) -> None:
    connection.sendall(b"+")


def refuse(connection: Way, why: str) -> None:
    with contextlib.suppress(OSError):
        data = why.encode()[:1000]
        connection.sendall(b"-" + _LENGTH.pack(len(data)) + data)


def dial(address: tuple[str, int], name: str, credentials: Credentials | None, hello: Hello) -> Way:
    """A connection whose greeting was accepted.

    :raises Refused: by this side or the other one, with the reason
    :raises OSError: nobody is there
    """
    plain = socket.create_connection(address, SECONDS)
    connection: Way = PlainSocket(plain)
    try:
        tune(plain)
        if credentials is not None:
            connection = SecureSocket(plain, client_context(credentials), server_hostname=name)
        say(connection, hello)
        answer = bytearray(1)
        if not fill(connection, memoryview(answer)):
            raise Refused("the other side hung up; it may want TLS, or a certificate of another authority")
        if answer != b"+":
            raise Refused(_text(connection).decode(errors="replace"))
        connection.settimeout(None)
        return connection
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise Refused(f"the certificate of {name} is not accepted: {error.verify_message}") from None
    except ssl.SSLError as error:
        connection.close()
        raise Refused(f"no TLS with {name}: {(error.reason or str(error)).replace('_', ' ').lower()}") from None
    except ConnectionError:
        connection.close()
        raise Refused("the other side hung up; it may want TLS, or a certificate of another authority") from None
    except BaseException:
        connection.close()
        raise


def tell(connection: Way, data: bytes) -> None:
    """The answer to who asks for what is *beside*."""
    connection.sendall(_LONG.pack(len(data)) + data)


def told(connection: Way, most: int) -> bytes:
    """That answer. :raises Refused: it has more than ``most`` bytes. :raises OSError: the connection broke off"""
    connection.settimeout(SECONDS)  # for each part of it
    (size,) = _LONG.unpack(_bytes(connection, _LONG.size))
    if size > most:
        raise Refused(f"the other side has {size} bytes to tell, and {most} are heard")
    return _bytes(connection, size)


def _bytes(connection: Way, size: int) -> bytes:
    data = bytearray(size)
    if size and not fill(connection, memoryview(data)):
        raise ConnectionResetError("the link ended")
    return bytes(data)


def _text(connection: Way) -> bytes:
    length = bytearray(_LENGTH.size)
    fill(connection, memoryview(length))
    data = bytearray(_LENGTH.unpack(length)[0])
    fill(connection, memoryview(data))
    return bytes(data)
