# SPDX-License-Identifier: Apache-2.0
"""Copies one disk: full, resumed, or as an increment over the last round; which of them, the journal
decides.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from coriolis.dataplane import nbd
from coriolis.dataplane.engine import Counters, Engine
from coriolis.dataplane.errors import SourceError, SourceShrank
from coriolis.dataplane.export import create_file, open_sink, opened
from coriolis.dataplane.journal import Journal
from coriolis.dataplane.policy import CopyPolicy, begin
from coriolis.dataplane.target import FileTarget, sink_failed, too_small
from coriolis.dataplane.types import (
    CancelCheck,
    CopyOptions,
    CopyResult,
    DiskFormat,
    Extent,
    FileSink,
    NbdSource,
    ProgressCallback,
    Sink,
    Source,
)


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
        zeroed = _prepare_sink(sink, book, size)
        wanted = source_open.source
        mode = begin(book, wanted.identity, wanted.base_identity if wanted.bitmap else None)
        counters = Counters()
        if mode == "done":
            counters.resumed = size
        else:
            target = stack.enter_context(_open_target(sink, size, options))
            extents = _extents(connections[0], size, wanted.bitmap if mode == "dirty" else None)
            policy = CopyPolicy(book, extents, zeroed=zeroed, check=source_open.check, counters=counters)
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


def _extents(connection: nbd.Connection, size: int, bitmap: str | None) -> Iterator[Extent]:
    try:
        yield from nbd.extents(connection, size, bitmap)
    except nbd.Failed as error:
        raise SourceError(f"{error}; look after the server of the source, then run again") from None


def connect_source(source: NbdSource, options: CopyOptions) -> list[nbd.Connection]:
    """Connections to a source, with the contexts that its extents need, as many as wanted and allowed."""
    contexts = [nbd.ALLOCATION] + ([nbd.dirty_context(source.bitmap)] if source.bitmap else [])
    try:
        first = nbd.connect(source.uri, contexts=tuple(contexts), timeout=options.stall_seconds)
        several = options.connections if first.handle.can_multi_conn() else 1
        rest = [nbd.connect(source.uri, timeout=options.stall_seconds) for _ in range(several - 1)]
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
        new = book.round is None or book.damaged
        if new or not _is_there(sink, size):
            if book.round is not None:
                book.reset()
            book.check()
            create_file(sink, max(size, sink.size or 0))
            return True
        return True
    return sink.zeroed


def _is_there(sink: FileSink, size: int) -> bool:
    try:
        status = os.stat(sink.path)
    except FileNotFoundError:
        return False
    return sink.format is not DiskFormat.RAW or not stat.S_ISREG(status.st_mode) or status.st_size >= size


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
            first = nbd.connect(export.uri, timeout=options.stall_seconds)
            several = options.connections if first.handle.can_multi_conn() else 1
            rest = [nbd.connect(export.uri, timeout=options.stall_seconds) for _ in range(several - 1)]
        except nbd.Failed as error:
            raise sink_failed(error) from None
        if first.size < size:
            raise too_small(first.label, first.size, size)
        yield [first, *rest]
