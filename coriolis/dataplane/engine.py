# SPDX-License-Identifier: Apache-2.0
"""The engine: leaves flow from an NBD source through a digest to a target, many in flight.

One thread runs the loop and owns all NBD connections; a few threads digest, and write to local files.
libnbd, BLAKE3 and pwrite work on the same buffers and without the GIL, so bytes never become Python
objects. What a leaf's digest means, and what is to be written, is decided by a `Policy`: copying, comparing
and digesting are policies.

    read (aio) -> digest, decide (thread) -> write (thread for files, aio for NBD) -> settle -> checkpoint

A checkpoint flushes the target and then lets the policy store what was settled before the flush began. It
overlaps with the flow; ``redo_limit`` bounds the bytes that are read or written but not yet stored.
"""

from __future__ import annotations

import collections
import ctypes
import dataclasses
import errno
import mmap
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Protocol

from coriolis.dataplane.digest import leaf_digest
from coriolis.dataplane.errors import Cancelled, DataplaneError, SourceError, SourceShrank, Stalled
from coriolis.dataplane.extents import LeafRun, leaf_span
from coriolis.dataplane.loop import Loop, Lost
from coriolis.dataplane.nbd import Connection, Failed, libnbd
from coriolis.dataplane.reader import Reader
from coriolis.dataplane.target import LocalTarget, sink_failed
from coriolis.dataplane.types import (
    LEAF_SIZE,
    CancelCheck,
    CopyOptions,
    Extent,
    Kind,
    Progress,
    ProgressCallback,
)

_ZERO_STEP = 1 << 30  # longest single zero request


class Policy(Protocol):
    """What a run of the engine is for. `decide` and `store` are called in threads, all else in the loop's
    thread.
    """

    def runs(self) -> Iterator[LeafRun]:
        """DATA leaves to read, ZERO runs to make zero on the target, UNCHANGED runs that only have to be
        settled.
        """

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        """The parts of a leaf to write (DATA) or to zero (ZERO). Changes nothing."""

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        """The target now holds this run; returns the record to store at the next checkpoint."""

    def store(self, records: list[bytes]) -> None:
        """Makes records durable, after a flush that covered them."""


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
    """A leaf under way and the memory it is in. ``pending``: commands that have not ended."""

    view: memoryview
    run: LeafRun
    length: int = 0
    pending: int = 0
    digest: bytes = b""
    writes: tuple[Extent, ...] = ()

    def part(self, extent: Extent) -> memoryview:
        low = extent.offset - self.run.index * LEAF_SIZE
        return self.view[low : low + extent.length]


class Engine:
    """One pass over one disk. `run` may be called once."""

    def __init__(
        self,
        sources: list[Connection] | Reader,
        target: LocalTarget | list[Connection] | None,
        policy: Policy,
        size: int,
        *,
        options: CopyOptions,
        counters: Counters,
        progress: ProgressCallback | None = None,
        cancelled: CancelCheck | None = None,
    ) -> None:
        self._policy, self._size = policy, size
        self._sources: list[Connection] = sources if isinstance(sources, list) else []
        self._reader = None if isinstance(sources, list) else sources
        self._label = sources[0].label if isinstance(sources, list) else sources.label
        self._file = None if isinstance(target, list) else target
        self._sinks: list[Connection] = target if isinstance(target, list) else []
        self._options, self._counters = options, counters
        self._cancelled = cancelled
        self._loop = Loop([*self._sources, *self._sinks], _threads(options, self._reader))
        memory = memoryview(mmap.mmap(-1, options.requests * LEAF_SIZE))
        self._free = [memory[i * LEAF_SIZE : (i + 1) * LEAF_SIZE] for i in range(options.requests)]
        self._runs = policy.runs()
        self._next: LeafRun | None = None
        self._exhausted = False
        self._busy = 0  # slots, and runs without data, under way
        self._turn = 0
        self._records: list[bytes] = []  # settled, not yet stored
        self._unsettled = self._unstored = 0  # bytes
        self._flushing = False
        self._now = self._moved = self._stored = time.monotonic()
        self._reporter = _Reporter(size, counters, progress, options.progress_seconds)

    def run(self) -> None:
        """Returns when everything is settled, flushed and stored; raises `DataplaneError`."""
        hung = False
        try:
            self._flow()
        except Lost as lost:
            raise self._lost(lost) from None
        except Stalled:
            hung = True
            raise
        finally:
            self._loop.close(wait=not hung)

    def _flow(self) -> None:
        while True:
            self._issue()
            self._loop.drain()
            self._checkpoint()
            if self._exhausted and not self._busy:
                break
            self._wait()
        while self._flushing or self._records:
            self._checkpoint(force=True)
            self._wait()
        self._reporter.report(self._now, force=True)

    # -- reading

    def _issue(self) -> None:
        """Starts whatever there is room for."""
        while not self._exhausted:
            self._next = run = self._next or next(self._runs, None)
            if run is None:
                self._exhausted = True
            elif run.kind is not Kind.DATA:
                if self._busy > 4 * self._options.requests:
                    return
                self._zero(run)
            elif not self._free or self._too_far_ahead() or not self._may_read(run):
                return
            else:
                self._read(run)
            self._next = None

    def _too_far_ahead(self) -> bool:
        in_flight = self._unsettled + self._unstored
        if not in_flight or in_flight + LEAF_SIZE <= self._options.redo_limit:
            return False
        self._checkpoint(force=True)
        return True

    def _may_read(self, run: LeafRun) -> bool:
        pace = self._options.pace
        if pace is None:
            return True
        length = sum(part.length for part in run.parts if part.kind is not Kind.ZERO)
        if pace.take(length, time.monotonic()):
            return True
        if not self._busy:
            self._moved = self._now  # slow because it was told to be
        return False

    def _read(self, run: LeafRun) -> None:
        length = leaf_span(run.index, self._size)[1]
        slot = _Slot(self._free.pop(), run, length)
        self._busy += 1
        self._unsettled += length
        slot.pending = 1  # until all are issued
        if self._reader is not None:
            self._all_read(slot)
            return
        source = self._sources[self._turn % len(self._sources)]
        self._turn += 1
        for part in run.parts:
            if part.kind is Kind.ZERO:
                self._counters.skipped += part.length  # `_work` clears it
                continue
            slot.pending += 1
            buffer = libnbd.Buffer.from_buffer(slot.part(part))
            then = partial(self._read_done, slot, part, source, time.monotonic())
            self._loop.command(source, source.handle.aio_pread, buffer, part.offset, then=then)
        self._all_read(slot)

    def _read_done(self, slot: _Slot, part: Extent, source: Connection, start: float, code: int) -> None:
        if code:
            raise read_error(source, part, code, self._size)
        if self._options.pace is not None:
            now = time.monotonic()
            self._options.pace.seen(now - start, part.length, now)
        self._counters.read += part.length
        self._moved = self._now
        self._all_read(slot)

    def _all_read(self, slot: _Slot) -> None:
        slot.pending -= 1
        if slot.pending == 0:
            self._loop.thread(partial(self._work, slot), partial(self._worked, slot))

    # -- digest and write

    def _work(self, slot: _Slot) -> None:
        """In a thread: read what we read ourselves, fill holes, digest, decide, and write when the target is a file."""
        for part in slot.run.parts:
            if part.kind is Kind.ZERO:
                clear(slot.part(part))
            elif self._reader is not None:
                self._reader.read(slot.part(part), part.offset)
        slot.digest = leaf_digest(slot.view[: slot.length])
        slot.writes = self._policy.decide(slot.run, slot.digest)
        if self._file is None:
            return
        for part in slot.writes:
            if part.kind is Kind.ZERO:
                self._file.zero(part.offset, part.length)
            else:
                self._file.write(slot.part(part), part.offset)

    def _worked(self, slot: _Slot) -> None:
        slot.pending = 1
        if self._reader is not None:
            data = sum(part.length for part in slot.run.parts if part.kind is not Kind.ZERO)
            self._counters.read += data
            self._counters.skipped += slot.length - data
            self._moved = self._now
        for part in slot.writes if self._sinks else ():
            slot.pending += 1
            sink = self._sinks[slot.run.index % len(self._sinks)]
            then = partial(self._write_done, slot, sink)
            if part.kind is Kind.ZERO:
                self._loop.command(sink, sink.handle.aio_zero, part.length, part.offset, then=then)
            else:
                buffer = libnbd.Buffer.from_buffer(slot.part(part))
                self._loop.command(sink, sink.handle.aio_pwrite, buffer, part.offset, then=then)
        self._write_done(slot, None, 0)

    def _write_done(self, slot: _Slot, sink: Connection | None, code: int) -> None:
        _check_write(sink, code)
        self._moved = self._now
        slot.pending -= 1
        if slot.pending:
            return
        self._counters.written += sum(p.length for p in slot.writes if p.kind is not Kind.ZERO)
        self._unsettled -= slot.length
        if self._settled(slot.run, slot.digest, slot.length):
            self._unstored += slot.length
        self._free.append(slot.view)

    def _zero(self, run: LeafRun) -> None:
        """Settles a run without data, after zeroing it where that is needed and there is a target."""
        offset, length = leaf_span(run.index, self._size, run.count)
        wanted = run.kind is Kind.ZERO and (self._file is not None or bool(self._sinks))
        steps = range(offset, offset + length, _ZERO_STEP) if wanted else range(0)
        self._busy += 1
        left = len(steps) + 1

        def step_done(sink: Connection | None, code: int) -> None:
            nonlocal left
            _check_write(sink, code)
            left -= 1
            if left == 0:
                self._counters.skipped += length
                self._settled(run, None, length)

        for at in steps:
            some = min(_ZERO_STEP, offset + length - at)
            if self._file is not None:
                self._loop.thread(partial(self._file.zero, at, some), partial(step_done, None, 0))
            else:
                sink = self._sinks[0]
                self._loop.command(sink, sink.handle.aio_zero, some, at, then=partial(step_done, sink))
        step_done(None, 0)

    def _settled(self, run: LeafRun, digest: bytes | None, length: int) -> bool:
        """Lets the policy note it; True when there is something to store."""
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
        late = self._now - self._stored > self._options.flush_seconds
        due = force or late or self._unstored >= self._options.flush_bytes
        if self._flushing or not self._records or not due:
            return
        batch, self._records = self._records, []
        self._flushing = True
        stored = partial(self._checkpointed, self._unstored)
        left = len(self._sinks) + 1

        def flushed(sink: Connection | None, code: int) -> None:
            nonlocal left
            _check_write(sink, code)
            left -= 1
            if left == 0:
                self._loop.thread(partial(self._flush_and_store, batch), stored, slow=True)

        for sink in self._sinks:
            if sink.handle.can_flush():
                self._loop.command(sink, sink.handle.aio_flush, then=partial(flushed, sink))
            else:
                flushed(sink, 0)
        flushed(None, 0)

    def _flush_and_store(self, batch: list[bytes]) -> None:
        """In a thread."""
        if self._file is not None:
            self._file.flush()
        self._policy.store(batch)

    def _checkpointed(self, covered: int) -> None:
        self._unstored -= covered
        self._flushing = False
        self._moved = self._stored = self._now

    # -- waiting

    def _wait(self) -> None:
        self._loop.turn()
        self._now = time.monotonic()
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("stopped as asked; what is journalled stays, so that the copy can go on later")
        if self._now - self._moved > self._options.stall_seconds:
            waiting = "the target's flush" if self._flushing else f"{self._busy} requests"
            raise Stalled(
                f"nothing moved for {self._options.stall_seconds:.0f} s while waiting for {waiting} "
                f"(source: {self._label}); look after storage and network, then run again: the copy goes on"
            )
        self._reporter.report(self._now)

    def _lost(self, lost: Lost) -> DataplaneError:
        if lost.connection in self._sinks:
            return sink_failed(lost.failed)
        return SourceError(f"{lost.failed}; look after the server of the source, then run again: the copy goes on")


class _Reporter:
    """Calls back with progress, not too often. The rate is that of the last few reports."""

    def __init__(self, size: int, counters: Counters, callback: ProgressCallback | None, interval: float) -> None:
        self._size, self._counters, self._callback, self._interval = size, counters, callback, interval
        self._last = 0.0
        self._points: collections.deque[tuple[float, int]] = collections.deque(maxlen=16)

    def report(self, now: float, *, force: bool = False) -> None:
        if self._callback is None or (not force and now - self._last < self._interval):
            return
        self._last = now
        counters = self._counters
        self._points.append((now, counters.read))
        (since, before), (_, after) = self._points[0], self._points[-1]
        self._callback(
            Progress(
                total=self._size,
                done=counters.settled + counters.resumed,
                read=counters.read,
                written=counters.written,
                skipped=counters.skipped,
                resumed=counters.resumed,
                rate=(after - before) / (now - since) if now > since else 0.0,
            )
        )


def _threads(options: CopyOptions, reader: Reader | None) -> int:
    """With a `Reader` the threads read, too, so nothing is left for the other processors but them."""
    return options.threads if reader is None else max(options.threads, min(4, os.cpu_count() or 2))


def clear(view: memoryview) -> None:
    """Fills writable memory with zeros. Unlike an assignment, it lets other threads run meanwhile."""
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(view)), 0, view.nbytes)


def _check_write(sink: Connection | None, code: int) -> None:
    if code and sink is not None:
        raise sink_failed(Failed(f"{sink.label}: {os.strerror(code)}", code))


def read_error(source: Connection, part: Extent, code: int, size: int) -> SourceError:
    """A failed read in our words. A server that says EINVAL or ENOSPC has less than it announced."""
    where = f"{part.length} bytes at offset {part.offset}"
    if code in (errno.EINVAL, errno.ENOSPC):
        return SourceShrank(
            f"{source.label}: there are no {where}, although the disk was announced with {size} bytes; "
            "start with a new snapshot"
        )
    return SourceError(f"{source.label}: reading {where} failed: {os.strerror(code)}; look after the source's storage")
