# SPDX-License-Identifier: Apache-2.0
"""Runs the relays of a link for as long as a `with` block lasts."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from urllib.parse import parse_qs, urlsplit

from coriolis.dataplane.errors import DataplaneError
from coriolis.dataplane.link import greeting
from coriolis.dataplane.link.channel import Channel
from coriolis.dataplane.link.credentials import Clear, Credentials
from coriolis.dataplane.link.frames import Mode
from coriolis.dataplane.link.greeting import BESIDE, Hello, Refused
from coriolis.dataplane.link.relay import Order, dial, write
from coriolis.dataplane.server import Server, ServerFailed, private_folder, serve

_LOG = logging.getLogger(__name__)
ANY_PORT = range(1)


class LinkFailed(DataplaneError):
    """The other side cannot be reached, or one of both refuses the other."""

    retryable = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """``pid``: of the relay. ``port``: where it listens."""

    port: int
    pid: int


@contextlib.contextmanager
def offer(
    uri: str,
    *,
    peers: Sequence[str],
    credentials: Credentials | Clear,
    listen: str = "127.0.0.1",
    ports: range = ANY_PORT,
    mode: Mode = "auto",
    beside: bytes | None = None,
) -> Iterator[Offer]:
    """Offers the export behind an ``nbd+unix`` address to peers whose certificate has one of these DNS names, on the
    first of ``ports`` that is free. ``beside``: what is told to those of them who ask for it.

    :raises LinkFailed: it cannot listen. :raises BadCredentials: the files cannot be used
    """
    socket = parse_qs(urlsplit(uri).query).get("socket", [""])[0]
    if not socket:
        raise LinkFailed(f"only an export on a local socket can be offered, not {uri}", retryable=False)
    order = Order(
        role="offer",
        address=(listen, ports.start),
        local=socket,
        peers=tuple(peers),
        mode=mode,
        last_port=ports.stop - 1,
        credentials=_known(credentials),
    )
    with _relay(order, beside=beside) as server:
        yield Offer(port=int((server.folder / "port").read_text()), pid=server.pid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reached:
    """``uri``: a local address for all that NBD can do. ``channel``: a shorter way to read (`NbdSource.channel`).
    ``beside``: asks for what is told beside the export, so many bytes at most; raises `LinkFailed`, also when it is
    nothing.
    """

    uri: str
    pid: int
    channel: Callable[[], Channel]
    beside: Callable[[int], bytes]


@contextlib.contextmanager
def reach(
    address: tuple[str, int],
    *,
    name: str,
    credentials: Credentials | Clear,
    export: str = "",
    mode: Mode = "auto",
) -> Iterator[Reached]:
    """Yields a local address for what is offered there by who can prove to be ``name``. ``export``: its NBD name.

    :raises LinkFailed: with the reason of either side. :raises BadCredentials: the files cannot be used
    """
    known = _known(credentials)
    order = Order(role="reach", address=address, local="", peers=(name,), mode=mode, credentials=known)
    with _relay(order, export=export) as server:
        yield Reached(
            uri=server.uri, pid=server.pid, channel=partial(_channel, order, export), beside=partial(_beside, order)
        )


def _known(credentials: Credentials | Clear) -> Credentials | None:
    return credentials if isinstance(credentials, Credentials) else None


def _failed(order: Order, why: object) -> LinkFailed:
    return LinkFailed(f"no link to {order.address[0]}:{order.address[1]}: {why}")


def _channel(order: Order, export: str) -> Channel:
    try:
        return Channel(partial(dial, order), export)
    except (OSError, Refused) as error:
        raise _failed(order, error) from None


def _beside(order: Order, most: int) -> bytes:
    try:
        with contextlib.closing(dial(order, Hello(way=BESIDE, id=secrets.token_hex(16)))) as connection:
            return greeting.told(connection, most)
    except (OSError, Refused) as error:
        raise _failed(order, error) from None


@contextlib.contextmanager
def _relay(order: Order, *, export: str = "", beside: bytes | None = None) -> Iterator[Server]:
    if order.credentials is None:
        _LOG.warning("disk bytes pass in clear, as configured side=%s address=%s:%d", order.role, *order.address)
    else:
        order.credentials.check()
    with private_folder() as folder:
        if beside is not None:
            (folder / "beside").write_bytes(beside)
            order = dataclasses.replace(order, beside=str(folder / "beside"))
        write(folder / "order", dataclasses.replace(order, local=order.local or str(folder / "nbd")))
        command = [sys.executable, "-m", "coriolis.dataplane.link", str(folder / "order")]
        try:
            with serve(command, folder, name=export) as server:
                yield server
        except ServerFailed as error:
            raise _failed(order, error.reason) from None
