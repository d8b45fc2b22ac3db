# SPDX-License-Identifier: Apache-2.0
"""The event loop under the engine: NBD commands and thread jobs go out, their ends come back as events.

Everything but the thread jobs happens in the thread that calls `turn`. Connections are polled by us and not
by libnbd, because several of them and the threads have to be waited for at once.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import os
import queue
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from coriolis.dataplane.nbd import Connection, Failed, libnbd

_TICK_MS = 200
_READ, _WRITE = 1, 2  # libnbd's AIO directions
_HANGUP = select.POLLHUP | select.POLLERR

_Jobs = queue.SimpleQueue[tuple[Callable[[], None], Callable[[], None]] | None]


class Lost(Exception):
    """A connection cannot be used any more."""

    def __init__(self, connection: Connection, failed: Failed) -> None:
        super().__init__(str(failed))
        self.connection, self.failed = connection, failed


class Loop:
    """Owns ``connections``, ``threads`` threads and one more for what mostly waits, until `close`."""

    def __init__(self, connections: Iterable[Connection], threads: int) -> None:
        self._by_fd = {c.handle.aio_get_fd(): c for c in connections}
        self._fds = {id(connection): fd for fd, connection in self._by_fd.items()}
        self._touched = set(self._by_fd)  # whose direction may have changed
        self._directions: dict[int, int] = {}
        self._events: collections.deque[Callable[[], None]] = collections.deque()
        self._asleep = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._jobs: _Jobs = queue.SimpleQueue()
        self._slow_jobs: _Jobs = queue.SimpleQueue()
        self._queues = [self._jobs] * threads + [self._slow_jobs]  # of each thread
        self._threads = [
            threading.Thread(target=self._serve, args=(jobs,), name=f"dataplane-{i}", daemon=True)
            for i, jobs in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()

    def read(self, connection: Connection, view: memoryview, offset: int, *, then: Callable[[int], None]) -> None:
        """Reads into ``view``. ``then`` gets an errno, 0 for success, in `turn` or `drain`. Raises `Lost`."""
        if connection.channel is None:
            self._transfer(connection, connection.handle.aio_pread, view[:], offset, then)
        else:
            connection.channel.read(view, offset, lambda code: self._post(partial(then, code)))

    def write(self, connection: Connection, view: memoryview, offset: int, *, then: Callable[[int], None]) -> None:
        """Writes ``view``, which must not change before the end."""
        self._transfer(connection, connection.handle.aio_pwrite, view[:], offset, then)

    def zero(self, connection: Connection, length: int, offset: int, *, then: Callable[[int], None]) -> None:
        """Makes a range read as zeros."""
        self._command(connection, connection.handle.aio_zero, length, offset, then=then)

    def flush(self, connection: Connection, *, then: Callable[[int], None]) -> None:
        """Makes durable what was written before."""
        self._command(connection, connection.handle.aio_flush, then=then)

    def _transfer(
        self,
        connection: Connection,
        start: Callable[..., Any],
        view: memoryview,
        offset: int,
        then: Callable[[int], None],
    ) -> None:
        """``view`` is ours alone: once the command has ended, nobody should have it any more."""
        ended = partial(_ended, weakref.ref(view), then)
        self._command(connection, start, libnbd.Buffer.from_buffer(view), offset, then=ended)

    def _command(
        self, connection: Connection, start: Callable[..., Any], *args: Any, then: Callable[[int], None]
    ) -> None:
        def done(error: Any) -> int:
            code = int(error.value)
            self._events.append(partial(then, code))  # libnbd is inside of its state machine: only note it
            return 1

        self._touched.add(self._fds[id(connection)])
        try:
            start(*args, completion=done)
        except libnbd.Error as error:
            raise Lost(connection, connection.failed(error)) from None

    def thread(self, work: Callable[[], None], then: Callable[[], None], *, slow: bool = False) -> None:
        """Runs ``work`` in a thread; its exception, if any, is raised by `turn` in place of calling ``then``.

        ``slow``: it waits more than it computes, so it must not keep other work from a thread.
        """
        (self._slow_jobs if slow else self._jobs).put((work, then))

    def drain(self) -> bool:
        """Handles the events that are there; True when there was one."""
        some = bool(self._events)
        while self._events:
            self._events.popleft()()
        return some

    def turn(self) -> None:
        """Waits for an event, but at most some moments, lets libnbd work, and handles what came. Raises `Lost`.

        A read arrives in pieces of what a socket holds; only its end is an event, so the pieces cost little.
        """
        deadline = time.monotonic() + _TICK_MS / 1000
        while True:
            for fd in self._touched:
                self._register(fd)
            self._touched.clear()
            self._asleep = True  # before looking at the events: a thread adds its event before it looks at this
            ready = self._poll.poll(0 if self._events else _TICK_MS)
            self._asleep = False
            for fd, flags in ready:
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    self._notify(fd, flags)
            if self._events or not ready or time.monotonic() > deadline:
                break
        self.drain()

    def close(self, *, wait: bool) -> None:
        """Ends the threads; ``wait`` is False when one of them may hang in the kernel for ever."""
        for jobs in (self._jobs, self._slow_jobs):
            with contextlib.suppress(queue.Empty):
                while True:
                    jobs.get_nowait()
        for jobs in self._queues:
            jobs.put(None)
        for thread in self._threads if wait else ():
            thread.join()
        for connection in self._by_fd.values():
            connection.close()
        if wait:
            os.close(self._wake)

    def _serve(self, jobs: _Jobs) -> None:
        """One thread's life."""
        while (job := jobs.get()) is not None:
            work, then = job
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again in the loop's thread
                then = partial(_raise, error)
            self._post(then)

    def _post(self, event: Callable[[], None]) -> None:
        """From any thread."""
        self._events.append(event)
        if self._asleep:
            self._asleep = False
            os.eventfd_write(self._wake, 1)

    def _register(self, fd: int) -> None:
        connection = self._by_fd[fd]
        direction = connection.handle.aio_get_direction()
        if not direction:
            raise Lost(connection, Failed(f"{connection.label}: the server hung up", errno.ECONNRESET))
        if self._directions.get(fd) != direction:
            self._directions[fd] = direction
            wanted = (select.POLLIN if direction & _READ else 0) | (select.POLLOUT if direction & _WRITE else 0)
            self._poll.register(fd, wanted)

    def _notify(self, fd: int, flags: int) -> None:
        connection, direction = self._by_fd[fd], self._directions[fd]
        self._touched.add(fd)
        try:
            if flags & (select.POLLIN | _HANGUP) and direction & _READ:
                connection.handle.aio_notify_read()
            elif flags & (select.POLLOUT | _HANGUP) and direction & _WRITE:
                connection.handle.aio_notify_write()
        except libnbd.Error as error:
            raise Lost(connection, connection.failed(error)) from None


def _ended(view: weakref.ref[memoryview], then: Callable[[int], None], code: int) -> None:
    """Lets go of what libnbd's binding forgot to let go of: 1.14 keeps a reference to each buffer for ever, which is
    200 bytes per request, and the memory that the buffer is in. One that it still uses cannot be released.
    """
    left = view()
    if left is not None:
        with contextlib.suppress(BufferError):
            left.release()
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(left))
    then(code)


def _raise(error: BaseException) -> None:
    raise error
