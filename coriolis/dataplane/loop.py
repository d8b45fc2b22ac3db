# SPDX-License-Identifier: Apache-2.0
"""The event loop under the engine: NBD commands and thread jobs go out, their ends come back as events.

Everything but the thread jobs happens in the thread that calls `turn`. Connections are polled by us and not
by libnbd, because several of them and the threads have to be waited for at once.
"""

from __future__ import annotations

import collections
import errno
import os
import select
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from coriolis.dataplane.nbd import Connection, Failed, libnbd

_TICK_MS = 200
_READ, _WRITE = 1, 2  # libnbd's AIO directions
_HANGUP = select.POLLHUP | select.POLLERR


class Lost(Exception):
    """A connection cannot be used any more."""

    def __init__(self, connection: Connection, failed: Failed) -> None:
        super().__init__(str(failed))
        self.connection, self.failed = connection, failed


class Loop:
    """Owns ``connections`` and ``threads`` threads until `close`."""

    def __init__(self, connections: Iterable[Connection], threads: int) -> None:
        self._by_fd = {c.handle.aio_get_fd(): c for c in connections}
        self._events: collections.deque[Callable[[], None]] = collections.deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dataplane")
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._registered: dict[int, int] = {}

    def soon(self, then: Callable[[], None]) -> None:
        """Queues an event."""
        self._events.append(then)

    def command(
        self, connection: Connection, start: Callable[..., Any], *args: Any, then: Callable[[int], None]
    ) -> None:
        """Issues a libnbd command of ``connection``; ``then`` gets its errno, 0 for success. Raises `Lost`."""

        def done(error: Any) -> int:
            code = int(error.value)
            self._events.append(lambda: then(code))  # libnbd is inside of its state machine: only note it
            return 1

        try:
            start(*args, completion=done)
        except libnbd.Error as error:
            raise Lost(connection, connection.failed(error)) from None

    def thread(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        """Runs ``work`` in a thread; its exception, if any, is raised by `turn` in place of calling
        ``then``.
        """

        def ended(future: Future[None]) -> None:
            if not future.cancelled():
                self._events.append(lambda: _finish(future, then))
                os.eventfd_write(self._wake, 1)

        self._pool.submit(work).add_done_callback(ended)

    def drain(self) -> bool:
        """Handles the events that are there; True when there was one."""
        some = bool(self._events)
        while self._events:
            self._events.popleft()()
        return some

    def turn(self) -> None:
        """Waits a moment for the outside, lets libnbd work, and handles what came of it. Raises `Lost`."""
        for fd, connection in self._by_fd.items():
            self._register(fd, connection)
        for fd, flags in self._poll.poll(0 if self._events else _TICK_MS):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._notify(self._by_fd[fd], flags)
        self.drain()

    def close(self, *, wait: bool) -> None:
        """Ends the threads; ``wait`` is False when one of them may hang in the kernel for ever."""
        self._pool.shutdown(wait=wait, cancel_futures=True)
        for connection in self._by_fd.values():
            connection.close()
        if wait:
            os.close(self._wake)

    def _register(self, fd: int, connection: Connection) -> None:
        direction = connection.handle.aio_get_direction()
        wanted = (select.POLLIN if direction & _READ else 0) | (select.POLLOUT if direction & _WRITE else 0)
        if self._registered.get(fd) != wanted:
            self._poll.register(fd, wanted)
            self._registered[fd] = wanted

    def _notify(self, connection: Connection, flags: int) -> None:
        handle = connection.handle
        direction = handle.aio_get_direction()
        try:
            if flags & (select.POLLIN | _HANGUP) and direction & _READ:
                handle.aio_notify_read()
            elif flags & (select.POLLOUT | _HANGUP) and direction & _WRITE:
                handle.aio_notify_write()
        except libnbd.Error as error:
            raise Lost(connection, connection.failed(error)) from None
        if handle.aio_is_dead() or handle.aio_is_closed():
            raise Lost(connection, Failed(f"{connection.label}: the server hung up", errno.ECONNRESET))


def _finish(future: Future[None], then: Callable[[], None]) -> None:
    future.result()
    then()
