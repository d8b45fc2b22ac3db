# SPDX-License-Identifier: Apache-2.0
"""The grains of a stream-optimized VMDK (VMware "Virtual Disk Format 5.0").

Flag 16 of the header says that grains are compressed, flag 17 that each one begins with a marker: the sector of the
disk that it holds (u64) and the length of its zlib stream (u32), little endian. A grain directory points to grain
tables, these to markers; 0 stands for a grain that was never written. The directory is where the header says or, when
that says -1, where the footer in the last but one sector says.

A marker repeats where its grain belongs, so tables that loop, overlap or point into data are noticed.
"""

from __future__ import annotations

import array
import functools
import struct
import threading
from collections.abc import Iterator, Sequence

from coriolis.dataplane.errors import InvalidImage
from coriolis.dataplane.image.reading import ImageFile
from coriolis.dataplane.image.vmdk_sparse import COMPRESSED, SECTOR, SparseHeader, sparse_header
from coriolis.dataplane.inflate.zlibstream import Corrupt, inflate
from coriolis.dataplane.reader import read_exactly
from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

_MARKER = struct.Struct("<QI")
_MARKERS = 1 << 17
_DEFLATE = 1
_MAX_GRAIN = LEAF_SIZE // SECTOR  # a leaf has to hold whole grains
_TABLES = 64  # tables kept, of 2 KiB each as a rule


def stream_reader(file: ImageFile) -> StreamReader | None:
    """A reader of an inspected sparse VMDK, or None when it is not stream-optimized or has uncommon grains."""
    header = sparse_header(file)
    wanted = COMPRESSED | _MARKERS
    usual = header.grain <= _MAX_GRAIN and _MAX_GRAIN % header.grain == 0 and header.compression == _DEFLATE
    return StreamReader(file, header) if header.flags & wanted == wanted and usual else None


class StreamReader:
    """A `Reader`. ``file`` stays the caller's."""

    def __init__(self, file: ImageFile, header: SparseHeader) -> None:
        self.label = file.path.name
        self.size = header.capacity * SECTOR
        self._file = file
        self._grain = header.grain * SECTOR
        self._entries = header.entries
        self._span = header.entries * self._grain  # bytes of disk under one table
        self._directory = file.table("I", header.directory * SECTOR, header.tables, big=False, what="grain directory")
        self._table = functools.lru_cache(maxsize=_TABLES)(self._read_table)
        self._local = threading.local()

    def extents(self) -> Iterator[Extent]:
        for number, at in enumerate(self._directory):
            start = number * self._span
            if not at:
                yield Extent(start, min(self._span, self.size - start), Kind.ZERO)
                continue
            for index, entry in enumerate(self._table(number)):
                offset = start + index * self._grain
                if offset >= self.size:
                    break
                yield Extent(offset, min(self._grain, self.size - offset), Kind.DATA if entry > 1 else Kind.ZERO)

    def read(self, view: memoryview, offset: int) -> None:
        first, last = offset // self._grain, (offset + view.nbytes - 1) // self._grain
        entries = [self._entry(number) for number in range(first, last + 1)]
        window = _Window(self._file, entries, 2 * self._grain, self._memory())
        for number, entry in enumerate(entries, first):
            start = number * self._grain
            low, high = max(start, offset), min(start + self._grain, offset + view.nbytes)
            part = view[low - offset : high - offset]
            if entry <= 1:  # 1: a grain of zeros
                part[:] = bytes(part.nbytes)
            elif part.nbytes == self._grain:
                self._inflate(number, window.packed(number * self._grain // SECTOR, entry), part)
            else:  # the last grain of the disk, or not the whole of one
                whole = memoryview(bytearray(self._grain))
                self._inflate(number, window.packed(number * self._grain // SECTOR, entry), whole)
                part[:] = whole[low - start : high - start]

    def _inflate(self, number: int, packed: memoryview, into: memoryview) -> None:
        needed = min(self._grain, self.size - number * self._grain)
        try:
            filled = inflate(packed, into)
        except Corrupt as error:
            raise InvalidImage(
                f"{self.label}: grain {number} cannot be unpacked: {error}; get the file again"
            ) from None
        if filled < needed:
            raise InvalidImage(f"{self.label}: grain {number} has {filled} bytes instead of {needed}; get it again")

    def _entry(self, number: int) -> int:
        table, index = divmod(number, self._entries)
        return self._table(table)[index] if self._directory[table] else 0

    def _read_table(self, number: int) -> array.array[int]:
        offset = self._directory[number] * SECTOR
        return self._file.table("I", offset, self._entries, big=False, what="grain table")

    def _memory(self) -> memoryview:
        """This thread's memory for packed grains: room for a leaf of them, if they hardly shrink."""
        memory: memoryview | None = getattr(self._local, "memory", None)
        if memory is None:
            memory = self._local.memory = memoryview(bytearray(LEAF_SIZE + 4 * max(self._grain, 64 << 10)))
        return memory


class _Window:
    """Packed grains of one read. Grains that lie together in the file, as they nearly always do, are read at once."""

    def __init__(self, file: ImageFile, entries: Sequence[int], limit: int, memory: memoryview) -> None:
        self._file, self._limit, self._memory = file, limit, memory
        self._starts = sorted({entry * SECTOR for entry in entries if entry > 1})
        self._low = self._high = 0  # what of the file is in memory

    def packed(self, sector: int, entry: int) -> memoryview:
        """The zlib stream of the grain at ``entry``, which must say that it is the one of disk ``sector``."""
        at = entry * SECTOR
        self._load(at, _MARKER.size)
        lba, length = _MARKER.unpack_from(self._memory, at - self._low)
        name = self._file.path.name
        if lba != sector:
            raise InvalidImage(
                f"{name}: at {at} there should be the grain of disk sector {sector}, its marker says {lba}; "
                "its tables are damaged, get it again"
            )
        end = at + _MARKER.size + length
        if not 0 < length <= self._limit:
            raise InvalidImage(f"{name}: the grain at {at} claims {length} packed bytes; get it again")
        following = next((start for start in self._starts if at < start), end)
        if end > following:
            raise InvalidImage(f"{name}: the grain at {at} runs into the one at {following}; get it again")
        if end > self._file.size:
            raise self._file.truncated("grain data", end)
        self._load(at, end - at)
        low = at - self._low + _MARKER.size
        return self._memory[low : low + length]

    def _load(self, at: int, length: int) -> None:
        """Makes [at, at + length) be in memory, with what of the later grains there is room for."""
        if self._low <= at and at + length <= self._high:
            return
        if at + length > self._file.size:
            raise self._file.truncated("grain data", at + length)
        furthest = min(self._starts[-1] + self._limit, at + self._memory.nbytes, self._file.size)
        end = max(at + length, min(furthest, self._next_gap(at)))
        read_exactly(self._file.fd, self._memory[: end - at], self._file.offset + at, self._file.path.name)
        self._low, self._high = at, end

    def _next_gap(self, at: int) -> int:
        """Where the grains that follow each other from ``at`` end at the latest."""
        end = at + self._limit
        for start in self._starts:
            if at < start <= end:
                end = start + self._limit
        return end
