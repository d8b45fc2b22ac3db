# SPDX-License-Identifier: Apache-2.0
"""How much there is to copy, from extents alone: nothing is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from coriolis.dataplane.export import opened
from coriolis.dataplane.extents import clip, fill, overlay
from coriolis.dataplane.feed import feed_extents, feed_size, open_feed
from coriolis.dataplane.types import CopyOptions, Extent, Kind, NbdSource, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes of a disk by what is known of them; ``data`` includes what is unknown."""

    size: int
    data: int
    zero: int
    unchanged: int


def estimate_disk(source: Source, *, options: CopyOptions | None = None) -> Estimate:
    """What `copy_disk` would have to read of ``source``; of its increment, where it says what changed. Blocks; raises
    `DataplaneError`.
    """
    options = options or CopyOptions()
    with opened(source) as disk:
        feed = open_feed(disk, options)
        try:
            size = feed_size(feed)
            return tally(source_extents(feed_extents(feed, size, _bitmap(source)), source, size), size)
        finally:
            for connection in feed if isinstance(feed, list) else ():
                connection.close()


def source_extents(extents: Iterable[Extent], source: Source, size: int, *, increment: bool = True) -> Iterable[Extent]:
    """``extents`` of an open source, with what its lists add: that of allocation, and that of changes where only the
    ``increment`` is wanted. What lies behind a list is read.
    """
    if not isinstance(source, NbdSource):
        return extents
    for listed in (source.allocation, source.changes if increment else None):
        if listed is not None:
            extents = overlay(extents, fill(clip(listed, 0, size), size, Kind.DATA))
    return extents


def tally(extents: Iterable[Extent], size: int) -> Estimate:
    """Adds up a list that covers a disk of ``size`` bytes."""
    found = dict.fromkeys(Kind, 0)
    for extent in extents:
        found[extent.kind] += extent.length
    data = found[Kind.DATA] + found[Kind.UNKNOWN]
    return Estimate(size=size, data=data, zero=found[Kind.ZERO], unchanged=found[Kind.UNCHANGED])


def _bitmap(source: Source) -> str | None:
    return source.bitmap if isinstance(source, NbdSource) else None
