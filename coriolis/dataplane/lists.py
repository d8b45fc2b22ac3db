# SPDX-License-Identifier: Apache-2.0
"""The lists of a source (`NbdSource.changes`, `NbdSource.allocation`) as bytes, for a reader on another host.

Form 1 is a zstd frame with a checksum: how many extents each list has (4 bytes each, all ones: there is no list), and 8
bytes for each extent, of both lists in turn: its length, and in the lowest two bits its kind. Little-endian. Extents
follow each other from 0, so that offsets need not be told.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import zstandard

from coriolis.dataplane.errors import SourceError
from coriolis.dataplane.extents import merge
from coriolis.dataplane.types import Extent, Kind, NbdSource

FORM = 1
#: Extents of a list; each costs its reader about 130 bytes of memory.
MOST = 1 << 19
_COUNTS = struct.Struct("<II")
_WORD = struct.Struct("<Q")
_ABSENT = 0xFFFFFFFF
_KINDS = (Kind.DATA, Kind.ZERO, Kind.UNCHANGED, Kind.UNKNOWN)  # by their number
_KIND_BITS = 2
_LARGEST = (1 << 63) - 1  # bytes of a disk
_MOST_PLAIN = _COUNTS.size + 2 * MOST * _WORD.size
#: Bytes of the packed form: zstd makes what it cannot compress larger by less than a hundredth.
MOST_BYTES = _MOST_PLAIN + _MOST_PLAIN // 100 + 1024

Listed = tuple[Extent, ...] | None


def pack(source: NbdSource, most: int = MOST) -> bytes | None:
    """None: the source has no lists. A list of more than ``most`` extents is told shortened."""
    if source.changes is None and source.allocation is None:
        return None
    lists = [None if listed is None else shortened(listed, most) for listed in (source.changes, source.allocation)]
    words = [extent.length << _KIND_BITS | _KINDS.index(extent.kind) for listed in lists for extent in listed or ()]
    counts = _COUNTS.pack(*(_ABSENT if listed is None else len(listed) for listed in lists))
    return zstandard.ZstdCompressor(write_checksum=True).compress(counts + struct.pack(f"<{len(words)}Q", *words))


def unpack(data: bytes) -> tuple[Listed, Listed]:
    """(changes, allocation), tidy. :raises SourceError: nothing that `pack` makes"""
    try:
        # The frame says how large it is; only what is no larger is taken.
        if not 0 <= zstandard.frame_content_size(data) <= _MOST_PLAIN:
            raise ValueError("it is too large")
        plain = zstandard.ZstdDecompressor().decompress(data)
        counts = _COUNTS.unpack_from(plain)
        words = [word for (word,) in _WORD.iter_unpack(plain[_COUNTS.size :])]
        if len(words) != sum(count for count in counts if count != _ABSENT):
            raise ValueError("it has not as many extents as it says")
        changes, allocation = (0 if count == _ABSENT else count for count in counts)
        parts = (words[:changes], words[changes : changes + allocation])
        found = [None if n == _ABSENT else tuple(merge(_extents(part))) for n, part in zip(counts, parts, strict=True)]
        return found[0], found[1]
    except (zstandard.ZstdError, struct.error, ValueError) as error:
        raise SourceError(f"the lists of a far source are not understood: {error}", retryable=False) from None


def shortened(extents: Sequence[Extent], most: int) -> tuple[Extent, ...]:
    """A gapless list with at most ``most`` extents: of what need not be read, the shortest pieces become DATA."""
    if len(extents) <= most:
        return tuple(extents)
    spared = [at for at, extent in enumerate(extents) if extent.kind in (Kind.ZERO, Kind.UNCHANGED)]
    spared.sort(key=lambda at: extents[at].length, reverse=True)
    kept = set(spared[: (most - 1) // 2])  # and DATA before, behind and between them
    pieces = (one if at in kept else Extent(one.offset, one.length, Kind.DATA) for at, one in enumerate(extents))
    return tuple(merge(pieces))


def _extents(words: Sequence[int]) -> Iterator[Extent]:
    offset = 0
    for word in words:
        length = word >> _KIND_BITS
        if length > _LARGEST - offset:
            raise ValueError("no disk is as large as it says")
        yield Extent(offset, length, _KINDS[word & (1 << _KIND_BITS) - 1])
        offset += length
