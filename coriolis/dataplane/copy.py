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
from functools import partial
from pathlib import Path

from coriolis.dataplane.earlier import open_earlier
from coriolis.dataplane.engine import Counters, Engine
from coriolis.dataplane.estimate import source_extents
from coriolis.dataplane.export import create_file, grow_file, opened
from coriolis.dataplane.feed import Feed, disk_size, feed_extents, feed_read, open_feed
from coriolis.dataplane.filesystem import FreeMap, find_free
from coriolis.dataplane.journal import Journal, Mirror
from coriolis.dataplane.policy import CopyPolicy, begin
from coriolis.dataplane.readback import read_back
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
from coriolis.dataplane.writing import open_writer


def copy_disk(
    source: Source,
    sink: Sink,
    *,
    journal: Path,
    epoch: int,
    size: int | None = None,
    mirror: Mirror | None = None,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> CopyResult:
    """Makes ``sink`` hold the bytes of ``source``; call it again, with the same journal, after any interruption.

    What it does depends on the journal. None, or an unfinished one of the same ``source.identity``: copies
    what is missing. A finished one of the same identity: nothing. Another identity: an increment; by the
    source's bitmap, or list of changes, when that is relative to the journal's last finished round, otherwise
    everything is read and what differs by its digest is written. After a damaged journal, the target is read
    back and what differs is written; when a created file is gone, the copy starts over. A disk that has grown goes on;
    one that has shrunk raises `SourceShrank`.

    ``epoch`` is the fencing number: once the journal saw a higher one, this call raises `StaleEpoch`. ``mirror`` keeps
    the journal elsewhere too, so that another host can go on with it. ``size``: the disk has so many bytes, whatever
    follows them in the source.
    ``progress`` and ``cancelled`` are called in this thread, at least twice a second while bytes move.
    Blocks; raises `DataplaneError`.
    """
    options = options or CopyOptions()
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        source_open = stack.enter_context(opened(source))
        feed = open_feed(source_open, options)
        size = disk_size(feed, size)
        book = Journal.open(journal, size=size, epoch=epoch, lock_seconds=options.lock_seconds, mirror=mirror)
        stack.callback(book.close)
        zeroed = _prepare_sink(sink, book, size)
        mode = begin(book, source_open.identity, _bitmap_base(source))
        counters = Counters()
        free = FreeMap()
        if mode == "done":
            counters.resumed = size
        else:
            learned = mode != "dirty" and book.leaves.mostly_doubtful()
            if learned:
                read_back(sink, book.leaves, options, cancelled)
                mode = "compare"
            if options.live_only:
                free = find_free(partial(feed_read, feed), size)
            target = stack.enter_context(open_writer(sink, size, options))
            extents = free.apply(_extents(feed, source, size, dirty=mode == "dirty"))
            earlier = stack.enter_context(open_earlier(sink, target, options)) if mode == "dirty" else None
            policy = CopyPolicy(
                book, extents, zeroed=zeroed, check=source_open.check, counters=counters, learned=learned,
                earlier=earlier,
            )  # fmt: skip
            Engine(
                feed, target, policy, size,
                options=options, counters=counters, progress=progress, cancelled=cancelled,
            ).run()  # fmt: skip
            source_open.check()
            book.finish(_left_out(book, free, mode))
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
            bytes_saved=free.saved,
            bytes_left_out=book.round.left_out,
            volumes=free.volumes,
        )


def _left_out(book: Journal, free: FreeMap, mode: str) -> int:
    """What the target lacks of free space after this round: what did not change keeps what earlier ones made of it."""
    return free.saved + (book.base.left_out if mode == "dirty" and book.base is not None else 0)


def _extents(feed: Feed, source: Source, size: int, *, dirty: bool) -> Iterator[Extent]:
    """The source's, with what did not change marked so when its bitmap or list of changes may be believed."""
    bitmap = source.bitmap if dirty and isinstance(source, NbdSource) else None
    return iter(source_extents(feed_extents(feed, size, bitmap), source, size, increment=dirty))


def _bitmap_base(source: Source) -> str | None:
    """What the source's bitmap or list of changes is relative to."""
    if not isinstance(source, NbdSource) or (source.bitmap is None and source.changes is None):
        return None
    return source.base_identity


def _prepare_sink(sink: Sink, book: Journal, size: int) -> bool:
    """Makes a created file when it is due. True when untouched leaves of the target read as zeros."""
    if isinstance(sink, FileSink) and sink.create and not sink.path.is_block_device():
        wanted = max(size, sink.size or 0)
        if book.round is None or not _is_there(sink, 0 if book.grown else size):
            if book.round is not None:
                book.reset()
            book.check()
            create_file(sink, wanted)
        elif book.grown:
            book.check()
            grow_file(sink, wanted)
        return True
    return sink.zeroed


def _is_there(sink: FileSink, size: int) -> bool:
    try:
        status = os.stat(sink.path)
    except FileNotFoundError:
        return False
    return sink.format is not DiskFormat.RAW or not stat.S_ISREG(status.st_mode) or status.st_size >= size
