# SPDX-License-Identifier: Apache-2.0
"""Runs the relays of a link for as long as a `with` block lasts."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from coriolis.dataplane.errors import DataplaneError
from coriolis.dataplane.link import greeting
from coriolis.dataplane.link.channel import Channel
from coriolis.dataplane.link.credentials import CLEAR, Clear, Credentials
from coriolis.dataplane.link.frames import Mode
from coriolis.dataplane.link.greeting import Hello, Refused
from coriolis.dataplane.link.relay import Order, write
from coriolis.dataplane.link.secure import Way
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
) -> Iterator[Offer]:
    """Offers the export behind an ``nbd+unix`` address to peers whose certificate has one of these DNS names, on the
    first of ``ports`` that is free.

    :raises LinkFailed: it cannot listen. :raises BadCredentials: the files cannot be used
    """
    socket = parse_qs(urlsplit(uri).query).get("socket", [""])[0]
    if not socket:
        raise LinkFailed(f"only an export on a local socket can be offered, not {uri}", retryable=False)
    where = (listen, ports.start)
    with _relay(
        "offer", where, credentials, local=Path(socket), peers=tuple(peers), mode=mode, last_port=ports.stop - 1
    ) as server:
        yield Offer(port=int((server.folder / "port").read_text()), pid=server.pid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reached:
    """``uri``: a local address for all that NBD can do. ``channel``: a shorter way to read (`NbdSource.channel`)."""

    uri: str
    pid: int
    channel: Callable[[], Channel]


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
    with _relay("reach", address, credentials, local=None, peers=(name,), mode=mode, export=export) as server:
        yield Reached(
            uri=server.uri, pid=server.pid, channel=partial(_channel, address, name, credentials, export, mode)
        )


def _channel(address: tuple[str, int], name: str, credentials: Credentials | Clear, export: str, mode: Mode) -> Channel:
    known = credentials if isinstance(credentials, Credentials) else None

    def dial(hello: Hello) -> Way:
        return greeting.dial(address, name, known, dataclasses.replace(hello, mode=mode))

    try:
        return Channel(dial, export)
    except (OSError, Refused) as error:
        raise LinkFailed(f"no link to {address[0]}:{address[1]}: {error}") from None


@contextlib.contextmanager
def _relay(
    role: str,
    address: tuple[str, int],
    credentials: Credentials | Clear,
    *,
    local: Path | None,
    peers: tuple[str, ...],
    mode: Mode,
    export: str = "",
    last_port: int = 0,
) -> Iterator[Server]:
    if isinstance(credentials, Credentials):
        credentials.check()
    if credentials is CLEAR:
        _LOG.warning("disk bytes pass in clear, as configured side=%s address=%s:%d", role, *address)
    with private_folder() as folder:
        order = Order(
            role=role,
            address=address,
            local=str(local or folder / "nbd"),
            peers=peers,
            mode=mode,
            last_port=last_port,
            credentials=credentials if isinstance(credentials, Credentials) else None,
        )
        write(folder / "order", order)
        command = [sys.executable, "-m", "coriolis.dataplane.link", str(folder / "order")]
        try:
            with serve(command, folder, name=export) as server:
                yield server
        except ServerFailed as error:
            raise LinkFailed(f"no link to {address[0]}:{address[1]}: {error.reason}") from None
