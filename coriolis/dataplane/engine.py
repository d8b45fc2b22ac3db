# SPDX-License-Identifier: Apache-2.0
"""The engine: leaves flow from a source through a digest to a target, many in flight.

One thread runs the loop and owns all NBD connections; a few threads digest, and write to local files. libnbd, BLAKE3
and pwrite work on the same memory and without the GIL, so bytes never become Python objects. What a leaf's digest
means, and what is to be written, is decided by a `Policy`: copying, comparing and digesting are policies.

    read (aio) -> digest, decide (thread) -> write (thread for files, aio for NBD) -> settle -> checkpoint

A checkpoint flushes the target and then lets the policy store what was settled before the flush began. It overlaps
with the flow; ``redo_limit`` bounds the bytes that are being written, or are written and not yet stored. Whatever is
slow (source, digest, target, flush) holds the others back, since there is only so much memory for leaves in flight.

Interface: `Engine(sources, target, policy, size, options=, counters=, ...).run()` and `Policy` are what the rest of the
package builds on; a change of theirs is a change of every policy.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from coriolis.dataplane.digest import leaf_digest
from coriolis.dataplane.errors import Cancelled, DataplaneError, SourceError, SourceShrank, Stalled
from coriolis.dataplane.extents import LeafRun, leaf_span
from coriolis.dataplane.leaves import NOT_READ, Pool, Slot, lay_out, requests
from coriolis.dataplane.loop import Loop, Lost
from coriolis.dataplane.nbd import Connection, Failed
from coriolis.dataplane.reader import Reader
from coriolis.dataplane.report import Counters, Reporter
from coriolis.dataplane.target import LocalTarget, sink_failed
from coriolis.dataplane.types import LEAF_SIZE, CancelCheck, CopyOptions, Extent, Kind, ProgressCallback
from coriolis.dataplane.window import Window
from coriolis.dataplane.zeroing import Zeroing

__all__ = ["Counters", "Engine", "Policy"]

#: The first read of each connection is as long as this, if there is so much data. QEMU allocates a buffer for each
#: request, and the C library learns from the longest one that was freed to keep the next ones' memory: without this,
#: an NBD server of QEMU's spends a third of its time on page faults (glibc's M_MMAP_THRESHOLD is dynamic).
_FIRST = 4
#: Between two turns of the loop, which takes a fifth of a second when nothing happens: more than this means that the
#: process, or its whole host, stood still. Nobody can say then that storage was slow.
_AWAKE_SECONDS = 5.0


class Policy(Protocol):
    """What a run of the engine is for. `decide` and `store` are called in threads, all else in the loop's
    thread.
    """

    def runs(self) -> Iterator[LeafRun]:
        """DATA leaves to read, ZERO runs to make zero on the target, UNCHANGED runs that only have to be
        settled.
        """

    def complete(self, run: LeafRun, view: memoryview) -> None:
        """Fills the UNCHANGED parts of a leaf, which are not read at the source. In a thread, before `decide`."""

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        """The parts of a leaf to write (DATA) or to zero (ZERO). Changes nothing."""

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        """The target now holds this run; returns the record to store at the next checkpoint."""

    def store(self, records: list[bytes]) -> None:
        """Makes records durable, after a flush that covered them."""


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
        loop: Loop | None = None,
        digest: Callable[[memoryview], bytes] = leaf_digest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._policy, self._size = policy, size
        self._sources: list[Connection] = sources if isinstance(sources, list) else []
        self._reader = None if isinstance(sources, list) else sources
        self._label = sources[0].label if isinstance(sources, list) else sources.label
        self._file = None if isinstance(target, list) else target
        self._sinks: list[Connection] = target if isinstance(target, list) else []
        self._options, self._counters = options, counters
        self._cancelled, self._digest = cancelled, digest
        self._loop = loop or Loop([*self._sources, *self._sinks], _threads(options, self._reader))
        self._pool = Pool()
        self._window = Window(options.requests, options.window)
        self._first = {id(source) for source in self._sources}  # that had no long read yet
        self._least = max((c.least for c in self._sources), default=1)
        self._most = min((c.most for c in self._sources), default=LEAF_SIZE)
        self._runs = policy.runs()
        self._next: LeafRun | None = None
        self._exhausted = False
        self._busy = 0  # slots, and runs without data, under way
        self._turn = 0
        self._held: deque[Slot] = deque()  # read, and not to be written before the next checkpoint
        self._records: list[bytes] = []  # settled, not yet stored
        self._unsettled = self._unstored = 0  # bytes: being written, and settled
        self._flushing = False
        self._now = self._moved = self._stored = clock()
        self._reporter = Reporter(size, counters, progress, options.progress_seconds)

    def run(self) -> None:
        """Returns when everything is settled, flushed and stored; raises `DataplaneError`."""
        hung = False
        try:
            self._warm_sinks()
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
            self._release()
            self._checkpoint()
            if self._exhausted and not self._busy:
                break
            self._wait()
        while self._flushing or self._records:
            self._checkpoint(force=True)
            self._wait()
        self._reporter.report(self._now, force=True)

    def _warm_sinks(self) -> None:
        """What the first read does for a source, for targets of this host; what it brings is of no interest."""
        if self._size < 8 * _FIRST * LEAF_SIZE:
            return
        for sink in self._sinks:
            if sink.local and sink.most >= _FIRST * LEAF_SIZE:
                self._loop.read(sink, memoryview(bytearray(_FIRST * LEAF_SIZE)), 0, then=_ignored)

    # -- reading

    def _issue(self) -> None:
        """Starts whatever there is room for."""
        while (run := self._peek()) is not None:
            if run.kind is not Kind.DATA:
                if self._busy > 4 * self._window.leaves or not self._zero_next(run):
                    return
            elif not self._read_next():
                return

    def _peek(self) -> LeafRun | None:
        if self._next is None and not self._exhausted:
            self._next = next(self._runs, None)
            self._exhausted = self._next is None
        return self._next

    def _read_next(self) -> bool:
        """Starts to read the next leaves, as many adjacent ones as one request should bring; False: not now."""
        if self._reader is not None:
            return self._read(None, 1)
        source = self._sources[self._turn % len(self._sources)]
        first = id(source) in self._first
        self._turn += 1
        return self._read(source, min(_FIRST, self._options.window) if first else self._window.span)

    def _read(self, source: Connection | None, span: int) -> bool:
        assert self._next is not None
        block = self._pool.take(span, max(self._window.leaves, span))
        if block is None:
            self._window.limited()
            return False
        if not self._may_read(self._next):
            self._pool.give(block)
            return False
        slots = lay_out(block, self._adjacent(span), self._size)
        self._busy += len(slots)
        for slot in slots:
            slot.pending = 1  # until all are issued
        if source is not None:
            if len(slots) == span:
                self._first.discard(id(source))
            self._request(source, slots)
        for slot in slots:
            self._part_read(slot)
        return True

    def _adjacent(self, span: int) -> list[LeafRun]:
        """Takes the next run, which may be read, and those that follow it directly and may be read, too."""
        assert self._next is not None
        taken = [self._next]
        self._next = None
        while len(taken) < span:
            run = self._peek()
            if run is None or run.kind is not Kind.DATA or run.index != taken[-1].index + 1 or not self._may_read(run):
                break
            taken.append(run)
            self._next = None
        return taken

    def _may_read(self, run: LeafRun) -> bool:
        pace = self._options.pace
        if pace is None:
            return True
        length = sum(part.length for part in run.parts if part.kind not in NOT_READ)
        if pace.take(length, self._clock()):
            return True
        if not self._busy:
            self._moved = self._now  # slow because it was told to be
        return False

    def _request(self, source: Connection, slots: list[Slot]) -> None:
        base = slots[0].run.index * LEAF_SIZE
        parts = [part for slot in slots for part in slot.run.parts]
        self._counters.skipped += sum(part.length for part in parts if part.kind in NOT_READ)  # `_work` fills them
        memory = slots[0].block.memory
        wanted = [part for part in parts if part.kind not in NOT_READ]
        for offset, length in requests(wanted, self._size, least=self._least, most=self._most):
            low = offset - base
            covered = slots[low // LEAF_SIZE : (low + length - 1) // LEAF_SIZE + 1]
            for slot in covered:
                slot.pending += 1
            then = partial(self._read_done, covered, source, offset, length, self._clock())
            self._loop.read(source, memory[low : low + length], offset, then=then)

    def _read_done(
        self, slots: list[Slot], source: Connection, offset: int, length: int, start: float, code: int
    ) -> None:
        if code:
            raise read_error(source, offset, length, code, self._size)
        now = self._clock()
        self._window.seen(now - start, length, now)
        if self._options.pace is not None:
            self._options.pace.seen(now - start, length, now)
        self._counters.read += length
        self._moved = self._now
        for slot in slots:
            self._part_read(slot)

    def _part_read(self, slot: Slot) -> None:
        slot.pending -= 1
        if slot.pending == 0:
            self._held.append(slot)
            self._release()

    # -- digest and write

    def _release(self) -> None:
        """Lets leaves that were read go on, as far as ``redo_limit`` allows."""
        while self._held:
            if not self._may_write(self._held[0].length):
                return
            slot = self._held.popleft()
            self._unsettled += slot.length
            self._loop.thread(partial(self._work, slot), partial(self._worked, slot))

    def _may_write(self, length: int) -> bool:
        under_way = self._unsettled + self._unstored
        if under_way and under_way + length > self._options.redo_limit:
            self._checkpoint(force=True)
            return False
        return True

    def _work(self, slot: Slot) -> None:
        """In a thread: read what we read ourselves, fill holes, digest, decide, and write when the target is a file."""
        for part in slot.run.parts:
            if part.kind is Kind.ZERO:
                clear(slot.part(part))
            elif self._reader is not None and part.kind not in NOT_READ:
                self._reader.read(slot.part(part), part.offset)
        if any(part.kind is Kind.UNCHANGED for part in slot.run.parts):
            self._policy.complete(slot.run, slot.view[: slot.length])
        slot.digest = self._digest(slot.view[: slot.length])
        slot.writes = self._policy.decide(slot.run, slot.digest)
        if self._file is None:
            return
        for part in slot.writes:
            if part.kind is Kind.ZERO:
                self._file.zero(part.offset, part.length)
            else:
                self._file.write(slot.part(part), part.offset)

    def _worked(self, slot: Slot) -> None:
        slot.pending = 1
        if self._reader is not None:
            data = sum(part.length for part in slot.run.parts if part.kind not in NOT_READ)
            self._counters.read += data
            self._counters.skipped += slot.length - data
            self._moved = self._now
        if self._sinks and slot.writes:
            self._write(self._sinks[slot.run.index % len(self._sinks)], slot)
        self._write_done(slot, None, 0)

    def _write(self, sink: Connection, slot: Slot) -> None:
        """Issues the writes of a leaf; a target that writes only whole blocks gets whole ones of the leaf."""
        then = partial(self._write_done, slot, sink)
        zeroes = sink.zeroes and sink.least == 1
        for part in slot.writes:
            if part.kind is Kind.ZERO and zeroes:
                slot.pending += 1
                self._loop.zero(sink, part.length, part.offset, then=then)
        parts = [Extent(p.offset, p.length, Kind.DATA) for p in slot.writes if p.kind is not Kind.ZERO or not zeroes]
        for offset, length in requests(parts, self._size, least=sink.least, most=sink.most):
            slot.pending += 1
            self._loop.write(sink, slot.part(Extent(offset, length, Kind.DATA)), offset, then=then)

    def _write_done(self, slot: Slot, sink: Connection | None, code: int) -> None:
        check_write(sink, code)
        self._moved = self._now
        slot.pending -= 1
        if slot.pending:
            return
        self._counters.written += sum(p.length for p in slot.writes if p.kind is not Kind.ZERO)
        self._unsettled -= slot.length
        if self._settled(slot.run, slot.digest, slot.length):
            self._unstored += slot.length
        slot.block.used -= 1
        if not slot.block.used:
            self._pool.give(slot.block)

    def _zero_next(self, run: LeafRun) -> bool:
        """Settles a run without data, after zeroing it where that is needed and there is a target; False: not now.

        Zeros that have to be written cost as much as data, so they come in pieces that count as such.
        """
        target = self._file or (self._sinks[0] if self._sinks else None)
        wanted = run.kind is Kind.ZERO and target is not None
        written = wanted and isinstance(target, Connection) and not target.zeroes
        few = max(1, min(_FIRST, self._options.redo_limit // LEAF_SIZE))
        now = LeafRun(run.index, few, run.kind) if written and run.count > few else run
        offset, length = leaf_span(now.index, self._size, now.count)
        if written and not self._may_write(length):
            return False
        rest = run.count - now.count
        self._next = LeafRun(run.index + now.count, rest, run.kind) if rest else None
        self._busy += 1
        cost = length if written else 0
        self._unsettled += cost

        def done() -> None:
            self._counters.skipped += length
            self._unsettled -= cost
            if self._settled(now, None, length):
                self._unstored += cost

        if wanted and target is not None:
            Zeroing(self._loop, target, offset, length, check=check_write, moved=self._move, done=done).start()
        else:
            done()
        return True

    def _move(self) -> None:
        self._moved = self._now

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
            check_write(sink, code)
            left -= 1
            if left == 0:
                self._loop.thread(partial(self._flush_and_store, batch), stored, slow=True)

        for sink in self._sinks:
            if sink.flushes:
                self._loop.flush(sink, then=partial(flushed, sink))
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
        before, self._now = self._now, self._clock()
        if self._now - before > _AWAKE_SECONDS:
            self._moved += self._now - before
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


def _threads(options: CopyOptions, reader: Reader | None) -> int:
    """With a `Reader` the threads read, too, so nothing is left for the other processors but them."""
    return options.threads if reader is None else max(options.threads, min(4, os.cpu_count() or 2))


def _ignored(code: int) -> None:
    """The end of a request that was only made for its side effect."""


def clear(view: memoryview) -> None:
    """Fills writable memory with zeros. Unlike an assignment, it lets other threads run meanwhile."""
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(view)), 0, view.nbytes)


def check_write(sink: Connection | None, code: int) -> None:
    if code and sink is not None:
        raise sink_failed(Failed(f"{sink.label}: {os.strerror(code)}", code))


def read_error(source: Connection, offset: int, length: int, code: int, size: int) -> SourceError:
    """A failed read in our words. A server that says EINVAL or ENOSPC has less than it announced."""
    where = f"{length} bytes at offset {offset}"
    if code in (errno.EINVAL, errno.ENOSPC):
        return SourceShrank(
            f"{source.label}: there are no {where}, although the disk was announced with {size} bytes; "
            "start with a new snapshot"
        )
    return SourceError(f"{source.label}: reading {where} failed: {os.strerror(code)}; look after the source's storage")
