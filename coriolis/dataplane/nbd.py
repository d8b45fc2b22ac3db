# SPDX-License-Identifier: Apache-2.0
"""NBD client connections through libnbd: open, extents, and errors in our words.

Nothing here blocks for ever: libnbd's synchronous calls would wait without end on a hung server, so each
call is issued asynchronously and polled against a deadline.
"""

from __future__ import annotations

import errno
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from coriolis.dataplane import errors
from coriolis.dataplane.extents import merge, overlay
from coriolis.dataplane.types import Channel, Extent, Kind

libnbd: Any = None
try:
    libnbd = importlib.import_module("nbd")
except ImportError:  # said when it is used, so that the package imports where no disk is moved
    pass

ALLOCATION = "base:allocation"
_DIRTY = "qemu:dirty-bitmap:"
_STATUS_CHUNK = 1 << 30  # one block status question; keeps its answer small and a slow server responsive
_MOST = 32 << 20  # bytes of a request that every server takes, by the protocol's advice
_POLL_MS = 200
_AGAIN = (0.1, 0.3, 0.6)  # seconds between attempts to connect

Handle = Any


class Failed(Exception):
    """A libnbd call failed; ``code`` is an errno, 0 when there is none. Becomes a source or sink error
    above.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Connection:
    """One connection to one export. Not thread-safe: one thread owns it."""

    def __init__(self, uri: str, *, contexts: tuple[str, ...] = (), timeout: float = 60.0) -> None:
        if libnbd is None:
            raise errors.ToolMissing("the libnbd binding is missing: apt install python3-libnbd, and link it in")
        self.label = public_uri(uri)
        self.timeout = timeout
        self.channel: Channel | None = None  # a shorter way to read the same bytes
        self.handle: Handle = libnbd.NBD()
        # Not clearing each buffer before each read saves a pass over memory. What a lying server leaves unfilled
        # then holds older bytes of the same disk: the caller's buffers are new, and used for one disk only.
        self.handle.set_pread_initialize(False)
        try:
            for context in contexts:
                self.handle.add_meta_context(context)
            self.handle.aio_connect_uri(uri)
            self._poll_until(lambda: not self.handle.aio_is_connecting(), "connect")
            if not self.handle.aio_is_ready():
                raise Failed(f"{self.label}: the connection was closed while it was set up", errno.ECONNRESET)
            self.size: int = self.handle.get_size()
            self.contexts = tuple(c for c in contexts if self.handle.can_meta_context(c))
            self._learn(uri)
        except libnbd.Error as error:
            raise self.failed(error) from None

    def _learn(self, uri: str) -> None:
        """What the engine needs to know of the server, asked once."""
        handle = self.handle
        self.local = "+unix" in uri.split(":", 1)[0]  # the server is on this host
        self.least: int = handle.get_block_size(libnbd.SIZE_MINIMUM) or 1  # requests are multiples of it
        self.most: int = min(handle.get_block_size(libnbd.SIZE_MAXIMUM) or _MOST, _MOST) // self.least * self.least
        self.zeroes = bool(handle.can_zero())
        self.flushes = bool(handle.can_flush())

    def failed(self, error: Any) -> Failed:
        return Failed(f"{self.label}: {error.string}", error.errnum or 0)

    def call(self, start: Callable[[Callable[[Any], int]], Any], what: str) -> None:
        """Runs one asynchronous command to its end. ``start`` gets the completion callback."""
        done: list[int] = []

        def completed(code: Any) -> int:
            done.append(int(code.value) if hasattr(code, "value") else int(code))
            return 1

        try:
            start(completed)
            self._poll_until(lambda: bool(done), what)
        except libnbd.Error as error:
            raise self.failed(error) from None
        if done[0]:
            raise Failed(f"{self.label}: {what} failed: {errno.errorcode.get(done[0], done[0])}", done[0])

    def flush(self) -> None:
        if self.handle.can_flush():
            self.call(lambda done: self.handle.aio_flush(completion=done), "flush")

    def status(self, context: str, offset: int, length: int) -> list[tuple[int, int]]:
        """(length, flags) pairs from ``offset``: at least one, possibly for less or more than ``length``."""
        found: list[tuple[int, int]] = []

        def collect(name: str, _offset: int, entries: list[int], _error: Any) -> int:
            if name == context:
                found.extend(zip(entries[::2], entries[1::2], strict=True))
            return 0

        self.call(lambda done: self.handle.aio_block_status(length, offset, collect, completion=done), "block status")
        if not found:
            raise Failed(f"{self.label}: no answer for the context {context}", errno.EPROTO)
        return found

    def close(self) -> None:
        """Says goodbye if the server listens, and lets go."""
        if self.channel is not None:
            self.channel.close()
        handle, self.handle = self.handle, None
        if handle is not None and handle.aio_is_ready():
            try:
                handle.aio_disconnect()
            except libnbd.Error:
                pass  # it is gone: what we wanted

    def _poll_until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.timeout
        while not ready():
            if time.monotonic() > deadline:
                raise errors.Stalled(
                    f"{self.label}: no answer to {what} for {self.timeout:.0f} s; look after the server or its network"
                )
            self.handle.poll(_POLL_MS)


def connect(uri: str, *, contexts: tuple[str, ...] = (), timeout: float = 60.0) -> Connection:
    """A connection; a server that refuses or drops us while it starts is asked again for a moment."""
    for pause in _AGAIN:
        try:
            return Connection(uri, contexts=contexts, timeout=timeout)
        except Failed as error:
            if error.code not in (errno.ECONNREFUSED, errno.ECONNRESET):
                raise
            time.sleep(pause)
    return Connection(uri, contexts=contexts, timeout=timeout)


def read(connection: Connection, view: memoryview, offset: int) -> None:
    """Fills ``view``, waiting for it. Raises `Failed`."""
    buffer = libnbd.Buffer.from_buffer(view)
    connection.call(lambda done: connection.handle.aio_pread(buffer, offset, completion=done), f"reading at {offset}")


def extents(connection: Connection, size: int, bitmap: str | None = None) -> Iterator[Extent]:
    """The disk from 0 to ``size`` as a tidy list, asked for piece by piece as it is used.

    Without ``base:allocation`` everything is data. With ``bitmap``, which the connection must have
    negotiated, what is not dirty is UNCHANGED.
    """
    return merge(_pieces(connection, size, bitmap))


def dirty_context(bitmap: str) -> str:
    return _DIRTY + bitmap


def public_uri(uri: str) -> str:
    """An NBD URI without user, password and key file names, for messages."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    where = host + (f":{parts.port}" if parts.port else "") if host else "local socket"
    return f"NBD {where}{parts.path if parts.path != '/' else ''}"


def _pieces(connection: Connection, size: int, bitmap: str | None) -> Iterator[Extent]:
    offset = 0
    while offset < size:
        length = min(_STATUS_CHUNK, size - offset)
        allocation = list(_ask(connection, ALLOCATION, offset, length, _allocation_kind))
        if bitmap is None:
            yield from allocation
        else:
            changed = list(_ask(connection, dirty_context(bitmap), offset, length, _dirty_kind))
            yield from overlay(allocation, changed)
        offset += length


def _ask(
    connection: Connection, context: str, offset: int, length: int, kind_of: Callable[[int], Kind]
) -> Iterator[Extent]:
    end = offset + length
    if context not in connection.contexts:
        yield Extent(offset, length, Kind.DATA)
        return
    while offset < end:
        for piece, flags in connection.status(context, offset, end - offset):
            some = min(piece, end - offset)
            if some > 0:
                yield Extent(offset, some, kind_of(flags))
                offset += some


def _allocation_kind(flags: int) -> Kind:
    return Kind.ZERO if flags & 2 else Kind.DATA  # NBD_STATE_ZERO


def _dirty_kind(flags: int) -> Kind:
    return Kind.DATA if flags & 1 else Kind.UNCHANGED
