# SPDX-License-Identifier: Apache-2.0
"""The map of what need not be copied, and how it changes a list of extents."""

from __future__ import annotations

import array
import struct
from collections.abc import Callable, Iterable, Iterator

from coriolis.dataplane.extents import merge
from coriolis.dataplane.filesystem import ext4, lvm, ntfs, swap, xfs
from coriolis.dataplane.filesystem.partitions import partitions
from coriolis.dataplane.filesystem.volume import Range, Read, Unusable, Volume
from coriolis.dataplane.types import Extent, Kind, LiveVolume

_ALIGN = 4096  # zeros are written, and holes made, in whole blocks of this size

_KINDS: dict[str, tuple[Callable[[Volume], bool], Callable[[Volume], Iterator[Range]]]] = {
    "ext4": (ext4.matches, ext4.free),
    "xfs": (xfs.matches, xfs.free),
    "ntfs": (ntfs.matches, ntfs.free),
    "swap": (swap.matches, swap.free),
}


class FreeMap:
    """Ranges of a disk that nobody will miss. 16 bytes for each."""

    def __init__(self, ranges: Iterable[Range] = (), volumes: tuple[LiveVolume, ...] = ()) -> None:
        self.volumes = volumes
        self.saved = 0  #: bytes of data that `apply` made zeros, so far
        self._ranges: array.array[int] = array.array("Q")
        for offset, length in sorted(ranges):
            low, high = -(-offset // _ALIGN) * _ALIGN, (offset + length) // _ALIGN * _ALIGN
            if low < high:
                self._ranges.extend((low, high))

    def __iter__(self) -> Iterator[Range]:
        for at in range(0, len(self._ranges), 2):
            yield self._ranges[at], self._ranges[at + 1] - self._ranges[at]

    def apply(self, extents: Iterable[Extent]) -> Iterator[Extent]:
        """The same tidy list with data in free space as zeros. What is unchanged stays so: the target has it."""
        return merge(self._masked(extents))

    def _masked(self, extents: Iterable[Extent]) -> Iterator[Extent]:
        ranges = iter(self)
        low, size = next(ranges, (1 << 63, 0))
        for extent in extents:
            offset = extent.offset
            while offset < extent.end:
                while low + size <= offset:
                    low, size = next(ranges, (1 << 63, 1 << 62))
                inside = low <= offset
                end = min(extent.end, low + size if inside else low)
                if inside and extent.kind in (Kind.DATA, Kind.UNKNOWN):
                    self.saved += end - offset
                    yield Extent(offset, end - offset, Kind.ZERO)
                else:
                    yield Extent(offset, end - offset, extent.kind)
                offset = end


def find_free(read: Read, size: int) -> FreeMap:
    """Looks through the partitions of a disk. A volume that is dirty or unknown has nothing free. Raises `SourceError`
    only when the disk cannot be read.
    """
    ranges: list[Range] = []
    volumes: list[LiveVolume] = []
    for offset, length in partitions(read, size):
        for volume, reason in _parts(Volume(read, offset, length)):
            found, about = _look(volume, reason)
            ranges += found
            volumes.append(about)
    return FreeMap(ranges, tuple(volumes))


def _parts(volume: Volume) -> list[tuple[Volume, str]]:
    """The volume itself, or the logical volumes in it; with each why it is not to be looked into, if so."""
    try:
        if not lvm.matches(volume):
            return [(volume, "")]
        found: list[tuple[Volume, str]] = [(logical, "") for logical in lvm.volumes(volume)]
        return found or [(volume, "it holds no linear logical volume")]
    except Unusable as error:
        return [(volume, str(error))]
    except (struct.error, IndexError) as error:
        return [(volume, f"its metadata is damaged ({error})")]


def _look(volume: Volume, refused: str) -> tuple[list[Range], LiveVolume]:
    """What is free in it, on the disk, and the line of the report. ``refused``: do not look, and why."""
    kind, reason = "lvm" if refused else "", refused or "not a file system that is known here"
    found: list[Range] = []
    for name, (matches, free) in () if refused else _KINDS.items():
        try:
            if not matches(volume):
                continue
            kind, reason = name, ""
            found = [piece for at, length in free(volume) for piece in volume.place(at, length)]
        except Unusable as error:
            reason, found = str(error), []
        except (struct.error, IndexError, ValueError, ZeroDivisionError) as error:
            reason, found = f"its metadata is damaged ({error})", []
        break
    free_bytes = sum(length for _, length in found)
    start = next(volume.place(0, 1))[0]
    about = LiveVolume(offset=start, size=volume.size, kind=kind, free=free_bytes, reason=reason)
    return found, about
