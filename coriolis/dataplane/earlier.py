# SPDX-License-Identifier: Apache-2.0
"""Reads from the target what a leaf held in the round before, so that an increment reads only changes at the source.

A leaf of which a part has changed needs a new digest, hence all of its bytes. Those that did not change are on the
target, too, which is nearer than the source. They are not just believed: the whole old leaf must still have the digest
that the journal knows.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from coriolis.dataplane import nbd
from coriolis.dataplane.errors import DataplaneError, SinkError
from coriolis.dataplane.reader import read_exactly
from coriolis.dataplane.target import sink_failed
from coriolis.dataplane.types import CopyOptions, DiskFormat, FileSink, NbdSink, Sink


class Earlier(Protocol):
    def read(self, view: memoryview, offset: int) -> None:
        """Fills ``view``. Blocks; called from several threads. Raises `SinkError`."""


class _OfFile:
    def __init__(self, fd: int, label: str) -> None:
        self._fd, self._label = fd, label

    def read(self, view: memoryview, offset: int) -> None:
        try:
            read_exactly(self._fd, view, offset, self._label)
        except DataplaneError as error:
            raise SinkError(f"{error}") from None


class _OfExport:
    """A connection of its own, since that of the engine belongs to its loop."""

    def __init__(self, connection: nbd.Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def read(self, view: memoryview, offset: int) -> None:
        buffer = nbd.libnbd.Buffer.from_buffer(view)
        with self._lock:
            handle: Any = self._connection.handle
            try:
                self._connection.call(lambda done: handle.aio_pread(buffer, offset, completion=done), "read")
            except nbd.Failed as error:
                raise sink_failed(error) from None


@contextlib.contextmanager
def open_earlier(sink: Sink, target: object, options: CopyOptions) -> Iterator[Earlier | None]:
    """None where the target cannot be read beside its writer. ``target``: the writer of ``sink``."""
    if isinstance(sink, FileSink) and sink.format is DiskFormat.RAW:
        fd = os.open(sink.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _OfFile(fd, str(sink.path))
        finally:
            os.close(fd)
        return
    first = target[0] if isinstance(target, list) and target else None
    if not isinstance(sink, NbdSink) or not isinstance(first, nbd.Connection) or not first.handle.can_multi_conn():
        yield None  # a second connection may see older bytes, or wait for ever
        return
    try:
        connection = nbd.connect(sink.uri, timeout=options.stall_seconds)
    except nbd.Failed as error:
        raise sink_failed(error) from None
    try:
        yield _OfExport(connection)
    finally:
        connection.close()
