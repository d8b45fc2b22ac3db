# SPDX-License-Identifier: Apache-2.0
"""What the engine reads from: connections to an NBD export, or a `Reader` of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from coriolis.dataplane import nbd
from coriolis.dataplane.errors import DataplaneError, SourceError, SourceShrank
from coriolis.dataplane.export import Opened
from coriolis.dataplane.extents import clip, merge
from coriolis.dataplane.reader import Reader
from coriolis.dataplane.types import Channel, CopyOptions, Extent, NbdSource

_LOG = logging.getLogger(__name__)
_ALIGN = 4096  # some servers want it
_MOST = 1 << 20  # bytes of a request

Feed = list[nbd.Connection] | Reader


def open_feed(disk: Opened, options: CopyOptions) -> Feed:
    """The feed of an open source. Raises `SourceError`, `SourceShrank`."""
    if disk.reader is not None:
        return disk.reader
    assert disk.source is not None
    return connect_source(disk.source, options)


def feed_size(feed: Feed) -> int:
    return feed[0].size if isinstance(feed, list) else feed.size


def disk_size(feed: Feed, wanted: int | None) -> int:
    """``wanted``, or all that the feed has. Raises `SourceShrank` when that is less."""
    has = feed_size(feed)
    if wanted is not None and has < wanted:
        raise SourceShrank(f"{feed_label(feed)} has {has} bytes, the copied disk has {wanted}; it is not that disk")
    return has if wanted is None else wanted


def feed_label(feed: Feed) -> str:
    return feed[0].label if isinstance(feed, list) else feed.label


def feed_extents(feed: Feed, size: int, bitmap: str | None = None) -> Iterator[Extent]:
    """The disk from 0 to ``size``, tidy; with ``bitmap``, what is not dirty is UNCHANGED. Raises `SourceError`."""
    if not isinstance(feed, list):
        yield from merge(clip(feed.extents(), 0, size))
        return
    try:
        yield from nbd.extents(feed[0], size, bitmap)
    except nbd.Failed as error:
        raise SourceError(f"{error}; look after the server of the source, then run again") from None


def feed_read(feed: Feed, offset: int, length: int) -> bytes:
    """Some bytes, while the engine does not run. Raises `SourceError`."""
    low, high = offset // _ALIGN * _ALIGN, min(-(-(offset + length) // _ALIGN) * _ALIGN, feed_size(feed))
    memory = memoryview(bytearray(high - low))
    for at in range(0, high - low, _MOST):
        part = memory[at : at + _MOST]
        if not isinstance(feed, list):
            feed.read(part, low + at)
            continue
        try:
            nbd.read(feed[0], part, low + at)
        except nbd.Failed as error:
            raise SourceError(f"{error}; look after the server of the source, then run again") from None
    return bytes(memory[offset - low : offset - low + length])


def connect_source(source: NbdSource, options: CopyOptions) -> list[nbd.Connection]:
    """Connections to a source, with the contexts that its extents need, as many as wanted and allowed."""
    contexts = [nbd.ALLOCATION] + ([nbd.dirty_context(source.bitmap)] if source.bitmap else [])
    try:
        first = nbd.connect(source.uri, contexts=tuple(contexts), timeout=options.stall_seconds)
        several = options.connections if first.handle.can_multi_conn() else 1
        rest = [nbd.connect(source.uri, timeout=options.stall_seconds) for _ in range(several - 1)]
    except nbd.Failed as error:
        raise SourceError(f"{error}; check that the source's export is there") from None
    if source.channel is not None:
        _open_channels(source.channel, [first, *rest])
    if source.size is not None and first.size < source.size:
        raise SourceShrank(
            f"{first.label} has {first.size} bytes, {source.size} were announced; start with a new snapshot"
        )
    if first.size == 0:
        raise SourceError(f"{first.label} is empty", retryable=False)
    return [first, *rest]


def _open_channels(open_channel: Callable[[], Channel], connections: list[nbd.Connection]) -> None:
    """A way that cannot be opened is done without: an export may have no room for more clients, and a link that is
    broken shows on the connections."""
    try:
        for connection in connections:
            connection.channel = open_channel()
    except DataplaneError as error:
        _LOG.warning("the source is read without a channel: %s", error)
