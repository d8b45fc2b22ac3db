# SPDX-License-Identifier: Apache-2.0
"""Copies one disk: full, resumed, or as an increment over the last round; which of them, the journal
decides.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from coriolis.dataplane import nbd
from coriolis.dataplane.digest import zero_digest
from coriolis.dataplane.engine import Counters, Engine
from coriolis.dataplane.errors import SourceError, SourceShrank
from coriolis.dataplane.export import create_file, open_sink, opened
from coriolis.dataplane.extents import LeafRun, leaf_span, plan
from coriolis.dataplane.journal import Journal, Record, identity_hash, pack
from coriolis.dataplane.target import FileTarget, sink_failed, too_small
from coriolis.dataplane.types import (
    CancelCheck,
    CopyOptions,
    CopyResult,
    DiskFormat,
    Extent,
    FileSink,
    Kind,
    NbdSource,
    ProgressCallback,
    Sink,
    Source,
)

Mode = Literal["full", "dirty", "compare", "done"]
_MODES: tuple[Mode, ...] = ("full", "dirty", "compare", "done")  # as numbered in the journal
_AHEAD = 1024  # leaves that the journal's frontier is moved ahead at a time


def copy_disk(
    source: Source,
    sink: Sink,
    *,
    journal: Path,
    epoch: int,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> CopyResult:
    """Makes ``sink`` hold the bytes of ``source``; call it again, with the same journal, after any
    interruption.

    What it does depends on the journal. None, or an unfinished one of the same ``source.identity``: copies
    what is missing. A finished one of the same identity: nothing. Another identity: an increment; by the
    source's bitmap when that is relative to the journal's last finished round, otherwise everything is read
    and what differs by its digest is written. A journal that is damaged, or whose created file is gone,
    starts over.

    ``epoch`` is the fencing number: once the journal saw a higher one, this call raises `StaleEpoch`.
    ``progress`` and ``cancelled`` are called in this thread, at least twice a second while bytes move.
    Blocks; raises `DataplaneError`.
    """
    options = options or CopyOptions()
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        source_open = stack.enter_context(opened(source))
        connections = connect_source(source_open.source, options)
        size = connections[0].size
        book = Journal.open(journal, size=size, epoch=epoch, lock_seconds=options.lock_seconds)
        stack.callback(book.close)
        fresh = _prepare_sink(sink, book, size)
        mode = _begin(book, source_open.source)
        counters = Counters()
        if mode == "done":
            counters.resumed = size
        else:
            target = stack.enter_context(_open_target(sink, size, options))
            policy = _Copy(book, connections[0], source_open.source, mode, fresh, source_open.check, counters)
            Engine(
                connections, target, policy, size,
                options=options, counters=counters, progress=progress, cancelled=cancelled,
            ).run()  # fmt: skip
            source_open.check()
            book.finish()
        assert book.round is not None
        assert book.round.digest is not None
        return CopyResult(
            size=size,
            mode=mode,
            bytes_read=counters.read,
            bytes_written=counters.written,
            bytes_skipped=counters.skipped,
            bytes_resumed=counters.resumed,
            digest=book.round.digest.hex(),
            seconds=time.monotonic() - start,
            round=book.round.number,
        )


def connect_source(source: NbdSource, options: CopyOptions) -> list[nbd.Connection]:
    """Connections to a source, with the contexts that its extents need, as many as wanted and allowed."""
    contexts = [nbd.ALLOCATION] + ([nbd.dirty_context(source.bitmap)] if source.bitmap else [])
    try:
        first = nbd.Connection(source.uri, contexts=tuple(contexts), timeout=options.stall_seconds)
        several = options.connections if first.handle.can_multi_conn() else 1
        rest = [nbd.Connection(source.uri, timeout=options.stall_seconds) for _ in range(several - 1)]
    except nbd.Failed as error:
        raise SourceError(f"{error}; check that the source's export is there") from None
    if source.size is not None and first.size < source.size:
        raise SourceShrank(
            f"{first.label} has {first.size} bytes, {source.size} were announced; start with a new snapshot"
        )
    if first.size == 0:
        raise SourceError(f"{first.label} is empty", retryable=False)
    return [first, *rest]


def _prepare_sink(sink: Sink, book: Journal, size: int) -> bool:
    """Makes a created file when it is due. True when untouched leaves of the target read as zeros."""
    if isinstance(sink, FileSink) and sink.create and not sink.path.is_block_device():
        new = book.round is None
        if new or not _is_there(sink, size):
            if not new:
                book.reset()
            book.check()
            create_file(sink, max(size, sink.size or 0))
            return True
        return not book.damaged
    return sink.zeroed and not book.damaged


def _is_there(sink: FileSink, size: int) -> bool:
    try:
        status = os.stat(sink.path)
    except FileNotFoundError:
        return False
    return sink.format is not DiskFormat.RAW or not stat.S_ISREG(status.st_mode) or status.st_size >= size


def _begin(book: Journal, source: NbdSource) -> Mode:
    """Goes on with the journal's round or starts one."""
    identity = identity_hash(source.identity)
    last, base = book.round, book.base
    same = last is not None and identity is not None and last.identity == identity
    if same and last is not None and last.finished:
        return "done"
    usable = source.bitmap is not None and base is not None and base.identity is not None
    mode: Mode = "full" if base is None else "compare"
    if usable and base is not None and base.identity == identity_hash(source.base_identity):
        mode = "dirty"
    if not same:
        book.begin(source.identity, _MODES.index(mode), 0)
    return mode


@contextlib.contextmanager
def _open_target(sink: Sink, size: int, options: CopyOptions) -> Iterator[FileTarget | list[nbd.Connection]]:
    if isinstance(sink, FileSink) and sink.format is DiskFormat.RAW:
        file = FileTarget(sink.path, size)
        try:
            yield file
        finally:
            file.close()
        return
    with open_sink(sink) as export:
        try:
            first = nbd.Connection(export.uri, timeout=options.stall_seconds)
            several = options.connections if first.handle.can_multi_conn() else 1
            rest = [nbd.Connection(export.uri, timeout=options.stall_seconds) for _ in range(several - 1)]
        except nbd.Failed as error:
            raise sink_failed(error) from None
        if first.size < size:
            raise too_small(first.label, first.size, size)
        yield [first, *rest]


class _Copy:
    """The engine's policy for copying: what to read, what to write, what to put into the journal."""

    def __init__(
        self,
        book: Journal,
        connection: nbd.Connection,
        source: NbdSource,
        mode: Mode,
        zeroed: bool,
        check: Callable[[], None],
        counters: Counters,
    ) -> None:
        self._book, self._leaves = book, book.leaves
        self._connection, self._source, self._mode = connection, source, mode
        self._zeroed, self._check, self._counters = zeroed, check, counters
        self._size = book.size

    def runs(self) -> Iterator[LeafRun]:
        bitmap = self._source.bitmap if self._mode == "dirty" else None
        try:
            yield from self._wanted(plan(nbd.extents(self._connection, self._size, bitmap), self._size))
        except nbd.Failed as error:
            raise SourceError(f"{error}; look after the server of the source, then run again") from None

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        offset, length = leaf_span(run.index, self._size)
        known = self._leaves.get(run.index)
        if known == digest:
            return ()
        untouched = self._zeroed and self._leaves.is_untouched(run.index)
        if digest == zero_digest(length):
            return () if untouched else (Extent(offset, length, Kind.ZERO),)
        parts = [part for part in run.parts if known is None or part.kind is not Kind.UNCHANGED]
        if untouched:
            parts = [part for part in parts if part.kind is not Kind.ZERO]
        return tuple(
            Extent(part.offset, part.length, Kind.ZERO if part.kind is Kind.ZERO else Kind.DATA) for part in parts
        )

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        if digest is None:
            self._leaves.put_zero(run.index, run.count)
            return pack(Record.ZERO, index=run.index, count=run.count, epoch=self._book.epoch)
        if digest == zero_digest(leaf_span(run.index, self._size)[1]):
            self._leaves.put_zero(run.index, 1)
            return pack(Record.ZERO, index=run.index, count=1, epoch=self._book.epoch)
        self._leaves.put(run.index, digest)
        return pack(Record.LEAF, index=run.index, epoch=self._book.epoch, digest=digest)

    def store(self, records: list[bytes]) -> None:
        self._check()  # never record what was read from a source that changed meanwhile
        self._book.append(records)

    def _wanted(self, runs: Iterator[LeafRun]) -> Iterator[LeafRun]:
        """What is left to do of a plan; counts the rest."""
        for run in runs:
            for index, count in self._leaves.spans(run.index, run.count):
                piece = LeafRun(index, count, run.kind, run.parts)
                length = leaf_span(index, self._size, count)[1]
                if self._leaves.is_done(index):
                    self._counters.resumed += length
                elif run.kind is Kind.DATA:
                    yield self._announced(piece)
                elif run.kind is Kind.ZERO:
                    yield from self._zero(piece, length)
                elif self._leaves.is_known(index):
                    self._leaves.mark_done(index, count)
                    self._skip(length)
                else:
                    yield from (self._announced(self._whole(i)) for i in range(index, index + count))

    def _zero(self, run: LeafRun, length: int) -> Iterator[LeafRun]:
        if self._leaves.is_zero(run.index):
            self._leaves.mark_done(run.index, run.count)
            self._skip(length)
        elif self._zeroed and self._leaves.is_untouched(run.index):
            yield LeafRun(run.index, run.count, Kind.UNCHANGED)
        else:
            yield self._announced(run)

    def _skip(self, length: int) -> None:
        self._counters.skipped += length
        self._counters.settled += length

    def _whole(self, index: int) -> LeafRun:
        return LeafRun(index, 1, Kind.DATA, (Extent(*leaf_span(index, self._size), Kind.DATA),))

    def _announced(self, run: LeafRun) -> LeafRun:
        """Lets the journal know, durably, how far writes may reach, before they do."""
        stop = run.index + run.count
        if stop > self._book.frontier:
            self._book.advance(min(stop + _AHEAD, self._leaves.count))
        return run
