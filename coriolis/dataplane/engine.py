# SPDX-License-Identifier: Apache-2.0
"""The engine: leaves flow from an NBD source through a digest to a target, many in flight.

One thread runs the loop and owns all NBD connections; a few threads digest, and write to local files. libnbd, BLAKE3 and
pwrite work on the same buffers and without the GIL, so bytes never become Python objects. What a leaf's digest
means, and what is to be written, is decided by a `Policy`: copying, comparing and digesting are policies.

    read (aio) -> digest, decide (thread) -> write (thread for files, aio for NBD) -> settle -> checkpoint

A checkpoint flushes the target and then lets the policy store what was settled before the flush began. It overlaps
with the flow; `window` bounds the bytes that are read or written but not yet stored.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import mmap
import os
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from coriolis.dataplane.digest import leaf_digest
from coriolis.dataplane.errors import Cancelled, DataplaneError, SourceError, SourceShrank, Stalled
from coriolis.dataplane.extents import LeafRun, leaf_span
from coriolis.dataplane.nbd import Connection, Failed, libnbd
from coriolis.dataplane.target import FileTarget, sink_failed
from coriolis.dataplane.types import (
    LEAF_SIZE,
    CancelCheck,
    CopyOptions,
    Extent,
    Kind,
    Progress,
    ProgressCallback,
)

_TICK_MS = 200
_ZERO_STEP = 1 << 30  # longest single zero request


class Policy(Protocol):
    """What a run of the engine is for. `decide` is called in threads, all else in the loop's thread."""

    def runs(self) -> Iterator[LeafRun]:
        """DATA leaves to read, ZERO runs to make zero on the target, UNCHANGED runs that only have to be settled."""

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        """The parts of a leaf to write (DATA) or to zero (ZERO). Changes nothing."""

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        """The target now holds this run; returns the record to store at the next checkpoint."""

    def store(self, records: list[bytes]) -> None:
        """Makes records durable; called in a thread, after a flush that covered them."""


@dataclasses.dataclass(slots=True)
class Counters:
    """Bytes so far. ``settled`` includes what needed no work."""

    settled: int = 0
    read: int = 0
    written: int = 0
    skipped: int = 0
    resumed: int = 0


@dataclasses.dataclass(slots=True)
class _Slot:
    view: memoryview
    run: LeafRun | None = None
    length: int = 0
    pending: int = 0
    digest: bytes | None = None
    writes: tuple[Extent, ...] = ()


class Engine:
    """One pass over one disk. `run` may be called once."""

    def __init__(
        self,
        sources: list[Connection],
        target: FileTarget | list[Connection] | None,
        policy: Policy,
        size: int,
        *,
        options: CopyOptions,
        counters: Counters,
        progress: ProgressCallback | None,
        cancelled: CancelCheck | None,
    ) -> None:
        self._sources, self._policy, self._size = sources, policy, size
        self._file = target if isinstance(target, FileTarget) else None
        self._sinks: list[Connection] = target if isinstance(target, list) else []
        self._options, self._counters = options, counters
        self._progress, self._cancelled = progress, cancelled
        memory = memoryview(mmap.mmap(-1, options.requests * LEAF_SIZE))
        self._free = [_Slot(memory[i * LEAF_SIZE : (i + 1) * LEAF_SIZE]) for i in range(options.requests)]
        self._runs = policy.runs()
        self._next: LeafRun | None = None
        self._exhausted = False
        self._busy = 0  # slots and zero requests under way
        self._turn = 0
        self._events: collections.deque[Callable[[], None]] = collections.deque()
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="dataplane")
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._registered: dict[int, int] = {}
        self._by_fd: dict[int, Connection] = {c.handle.aio_get_fd(): c for c in (*sources, *self._sinks)}
        self._records: list[bytes] = []
        self._unstored = self._unsettled = self._flushing = 0
        self._flushes = 0
        self._now = self._moved = self._reported = self._stored = time.monotonic()
        self._rates: collections.deque[tuple[float, int]] = collections.deque(maxlen=16)

    def run(self) -> None:
        """Returns when everything is settled, flushed and stored; raises `DataplaneError`."""
        try:
            while True:
                self._issue()
                while self._events:
                    self._events.popleft()()
                self._checkpoint()
                if self._exhausted and not self._busy and not self._events:
                    break
                self._wait()
            while self._flushing or self._records:
                self._checkpoint(force=True)
                self._wait()
                while self._events:
                    self._events.popleft()()
            self._report(force=True)
        except Stalled:
            self._pool.shutdown(wait=False, cancel_futures=True)  # a thread may hang in the kernel for ever
            raise
        except BaseException:
            self._end()
            raise
        self._end()

    def _end(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        os.close(self._wake)

    # -- reading

    def _issue(self) -> None:
        while not self._exhausted:
            run = self._next or next(self._runs, None)
            self._next = run
            if run is None:
                self._exhausted = True
                return
            in_flight = self._unsettled + self._unstored
            if in_flight and in_flight + LEAF_SIZE > self._options.redo_limit:
                self._checkpoint(force=True)
                return
            if run.kind is not Kind.DATA:
                if self._busy > 4 * self._options.requests:
                    return
                self._next = None
                self._zero_run(run)
            elif self._free:
                self._next = None
                self._read(self._free.pop(), run)
            else:
                return

    def _read(self, slot: _Slot, run: LeafRun) -> None:
        start, slot.length = leaf_span(run.index, self._size)
        slot.run, slot.digest, slot.writes = run, None, ()
        self._busy += 1
        self._unsettled += slot.length
        wanted = [part for part in run.parts if part.kind is not Kind.ZERO]
        for part in run.parts:
            if part.kind is Kind.ZERO:
                low = part.offset - start
                slot.view[low : low + part.length] = bytes(part.length)
        slot.pending = len(wanted) or 1
        source = self._sources[self._turn % len(self._sources)]
        self._turn += 1
        for part in wanted:
            low = part.offset - start
            buffer = libnbd.Buffer.from_buffer(slot.view[low : low + part.length])
            done = self._completion(lambda code, p=part, c=source: self._read_done(slot, p, c, code))
            self._start(lambda b=buffer, p=part, d=done, c=source: c.handle.aio_pread(b, p.offset, completion=d), source)
        if not wanted:
            self._events.append(lambda: self._read_done(slot, None, source, 0))

    def _read_done(self, slot: _Slot, part: Extent | None, source: Connection, code: int) -> None:
        if code:
            raise read_error(source, part, code, self._size)
        if part is not None:
            self._counters.read += part.length
        slot.pending -= 1
        if slot.pending == 0:
            self._in_thread(lambda: self._work(slot), lambda _: self._worked(slot))

    # -- digest and write

    def _work(self, slot: _Slot) -> None:
        """In a thread: digest, decide, and write when the target is a file."""
        assert slot.run is not None
        view = slot.view[: slot.length]
        slot.digest = leaf_digest(view)
        slot.writes = self._policy.decide(slot.run, slot.digest)
        if self._file is None:
            return
        start = slot.run.index * LEAF_SIZE
        for part in slot.writes:
            if part.kind is Kind.ZERO:
                self._file.zero(part.offset, part.length)
            else:
                self._file.write(view[part.offset - start : part.end - start], part.offset)

    def _worked(self, slot: _Slot) -> None:
        if not self._sinks or not slot.writes:
            self._slot_settled(slot)
            return
        assert slot.run is not None
        slot.pending = len(slot.writes)
        start = slot.run.index * LEAF_SIZE
        sink = self._sinks[slot.run.index % len(self._sinks)]
        for part in slot.writes:
            done = self._completion(lambda code, c=sink: self._write_done(slot, c, code))
            if part.kind is Kind.ZERO:
                self._start(lambda p=part, d=done: sink.handle.aio_zero(p.length, p.offset, completion=d), sink)
                continue
            buffer = libnbd.Buffer.from_buffer(slot.view[part.offset - start : part.end - start])
            self._start(lambda b=buffer, p=part, d=done: sink.handle.aio_pwrite(b, p.offset, completion=d), sink)

    def _write_done(self, slot: _Slot, sink: Connection, code: int) -> None:
        if code:
            raise sink_failed(Failed(f"{sink.label}: {os.strerror(code)}", code))
        slot.pending -= 1
        if slot.pending == 0:
            self._slot_settled(slot)

    def _slot_settled(self, slot: _Slot) -> None:
        assert slot.run is not None
        self._counters.written += sum(p.length for p in slot.writes if p.kind is not Kind.ZERO)
        self._unsettled -= slot.length
        if self._settled(slot.run, slot.digest, slot.length):
            self._unstored += slot.length
        slot.run = None
        self._free.append(slot)

    def _zero_run(self, run: LeafRun) -> None:
        offset, length = leaf_span(run.index, self._size, run.count)
        whole = range(offset, offset + length, _ZERO_STEP) if run.kind is Kind.ZERO else ()
        steps = [Extent(o, min(_ZERO_STEP, offset + length - o), Kind.ZERO) for o in whole]
        self._busy += 1
        left = len(steps) or 1

        def step_done(code: int = 0) -> None:
            nonlocal left
            if code:
                raise sink_failed(Failed(f"{self._sinks[0].label}: {os.strerror(code)}", code))
            left -= 1
            if left == 0:
                self._counters.skipped += length
                self._settled(run, None, length)

        for step in steps:
            if self._file is not None:
                file = self._file
                self._in_thread(lambda s=step: file.zero(s.offset, s.length), lambda _: step_done())
            elif self._sinks:
                sink = self._sinks[0]
                done = self._completion(step_done)
                self._start(lambda s=step, d=done: sink.handle.aio_zero(s.length, s.offset, completion=d), sink)
            else:
                self._events.append(step_done)
        if not steps:
            self._events.append(step_done)

    def _settled(self, run: LeafRun, digest: bytes | None, length: int) -> bool:
        record = self._policy.settled(run, digest)
        if record is not None:
            self._records.append(record)
        self._busy -= 1
        self._counters.settled += length
        self._moved = self._now
        return record is not None

    # -- checkpoints

    def _checkpoint(self, *, force: bool = False) -> None:
        """Starts to flush and store what is settled, unless that is under way or not yet worth it."""
        due = self._unstored >= self._options.flush_bytes or self._now - self._stored > self._options.flush_seconds
        if self._flushing or not self._records or not (due or force):
            return
        batch, self._records = self._records, []
        covered = self._unstored
        self._flushing = 1

        def stored(_: Any) -> None:
            self._unstored -= covered
            self._flushing = 0
            self._moved = self._stored = self._now

        if self._sinks:
            self._flush_sinks(lambda: self._in_thread(lambda: self._policy.store(batch), stored))
        else:
            self._in_thread(lambda: self._flush_and_store(batch), stored)

    def _flush_and_store(self, batch: list[bytes]) -> None:
        if self._file is not None:
            self._file.flush()
        self._policy.store(batch)

    def _flush_sinks(self, then: Callable[[], None]) -> None:
        left = len(self._sinks)

        def flushed(code: int, sink: Connection) -> None:
            nonlocal left
            if code:
                raise sink_failed(Failed(f"{sink.label}: flush: {os.strerror(code)}", code))
            left -= 1
            if left == 0:
                then()

        for sink in self._sinks:
            if not sink.handle.can_flush():
                self._events.append(lambda s=sink: flushed(0, s))
                continue
            done = self._completion(lambda code, s=sink: flushed(code, s))
            self._start(lambda s=sink, d=done: s.handle.aio_flush(completion=d), sink)

    # -- the loop's machinery

    def _completion(self, then: Callable[[int], None]) -> Callable[[Any], int]:
        """libnbd calls back inside of its own state machine: only note it there."""

        def done(error: Any) -> int:
            code = int(error.value)
            self._events.append(lambda: then(code))
            return 1

        return done

    def _start(self, command: Callable[[], Any], connection: Connection) -> None:
        try:
            command()
        except libnbd.Error as error:
            raise self._lost(connection, connection.failed(error)) from None

    def _in_thread(self, work: Callable[[], None], then: Callable[[Any], None]) -> None:
        def finished(future: Future[None]) -> None:
            if not future.cancelled():
                self._events.append(lambda: then(future.result()))
                os.eventfd_write(self._wake, 1)

        self._pool.submit(work).add_done_callback(finished)

    def _wait(self) -> None:
        """Sleeps until a connection or a thread has something, then lets libnbd work."""
        for fd, connection in self._by_fd.items():
            self._register(fd, connection)
        events = [] if self._events else self._poll.poll(_TICK_MS)
        self._now = time.monotonic()
        for fd, flags in events:
            if fd == self._wake:
                os.eventfd_read(self._wake)
                continue
            connection = self._by_fd[fd]
            try:
                _notify(connection.handle, flags)
            except libnbd.Error as error:
                raise self._lost(connection, connection.failed(error)) from None
            if connection.handle.aio_is_dead() or connection.handle.aio_is_closed():
                raise self._lost(connection, Failed(f"{connection.label}: the server hung up", errno.ECONNRESET))
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("stopped as asked; what is journalled stays, so that the copy can go on later")
        if self._now - self._moved > self._options.stall_seconds:
            raise Stalled(self._stall_message())
        self._report()

    def _register(self, fd: int, connection: Connection) -> None:
        direction = connection.handle.aio_get_direction()
        wanted = (select.POLLIN if direction & 1 else 0) | (select.POLLOUT if direction & 2 else 0)
        if self._registered.get(fd) != wanted:
            self._poll.register(fd, wanted)
            self._registered[fd] = wanted

    def _lost(self, connection: Connection, failed: Failed) -> DataplaneError:
        if connection in self._sinks:
            return sink_failed(failed)
        return SourceError(f"{failed}; look after the server of the source, then run again: the copy goes on")

    def _stall_message(self) -> str:
        waiting = "the target" if self._flushing else f"{self._busy} requests"
        return (
            f"nothing moved for {self._options.stall_seconds:.0f} s while waiting for {waiting} "
            f"({self._sources[0].label}); look after the storage and the network, then run again: the copy goes on"
        )

    def _report(self, *, force: bool = False) -> None:
        if self._progress is None or (not force and self._now - self._reported < self._options.progress_seconds):
            return
        self._reported = self._now
        counters = self._counters
        self._rates.append((self._now, counters.read))
        (then, before), (now, after) = self._rates[0], self._rates[-1]
        self._progress(
            Progress(
                total=self._size,
                done=counters.settled + counters.resumed,
                read=counters.read,
                written=counters.written,
                skipped=counters.skipped,
                resumed=counters.resumed,
                rate=(after - before) / (now - then) if now > then else 0.0,
            )
        )


def _notify(handle: Any, flags: int) -> None:
    direction = handle.aio_get_direction()
    if flags & (select.POLLIN | select.POLLHUP | select.POLLERR) and direction & 1:
        handle.aio_notify_read()
    elif flags & select.POLLOUT and direction & 2:
        handle.aio_notify_write()
    elif flags & (select.POLLHUP | select.POLLERR):
        handle.aio_notify_read()


def read_error(source: Connection, part: Extent | None, code: int, size: int) -> SourceError:
    """A failed read: whether the source became shorter is asked of its size, where it still answers."""
    where = f"{part.length} bytes at offset {part.offset}" if part else "a leaf"
    if code in (errno.EINVAL, errno.ENOSPC) and part is not None:
        return SourceShrank(f"{source.label}: no {where} although the disk was announced with {size} bytes")
    return SourceError(f"{source.label}: reading {where} failed: {os.strerror(code)}; look after the source's storage")
