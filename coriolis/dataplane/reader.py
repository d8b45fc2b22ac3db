# SPDX-License-Identifier: Apache-2.0
"""Sources that this process reads itself: no server and no socket between the file and the engine's buffers.

An NBD server in front of a local file copies each byte twice more. What we can read as fast without one is a `Reader`:
the engine's threads call it, and it fills the engine's memory directly.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Protocol

from coriolis.dataplane.errors import SourceError, SourceShrank
from coriolis.dataplane.types import Extent, Kind

SECTOR = 512


class Reader(Protocol):
    """A disk that can be read from several threads at once. ``size``: bytes, whole sectors. ``label``: for messages."""

    label: str
    size: int

    def extents(self) -> Iterator[Extent]:
        """The disk from 0 to ``size``, tidy, found as it is used. Called in one thread."""

    def read(self, view: memoryview, offset: int) -> None:
        """Fills ``view`` with the bytes from ``offset``. Blocks; raises `SourceError` or `InvalidImage`."""


class RawReader:
    """A raw file or block device, or a window of one. A last half sector is filled up with zeros, as QEMU does."""

    def __init__(self, fd: int, label: str, *, offset: int, length: int) -> None:
        """``fd`` stays the caller's. ``offset``, ``length``: the window that is the disk, in bytes."""
        self.label = label
        self.size = -(-length // SECTOR) * SECTOR
        self._fd, self._offset, self._length = fd, offset, length

    def extents(self) -> Iterator[Extent]:
        position = 0
        while position < self._length:
            data = self._seek(position, os.SEEK_DATA)
            if data > position:
                yield Extent(position, data - position, Kind.ZERO)
            if data >= self._length:
                break
            position = self._seek(data, os.SEEK_HOLE)
            yield Extent(data, position - data, Kind.DATA)
        if self.size > self._length:
            yield Extent(self._length, self.size - self._length, Kind.ZERO)

    def read(self, view: memoryview, offset: int) -> None:
        inside = max(0, min(view.nbytes, self._length - offset))
        read_exactly(self._fd, view[:inside], self._offset + offset, self.label)
        view[inside:] = bytes(view.nbytes - inside)

    def _seek(self, position: int, whence: int) -> int:
        """The next data or hole from ``position``, at most the end of the window."""
        try:
            return min(os.lseek(self._fd, self._offset + position, whence) - self._offset, self._length)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data up to the end of the file
                return self._length
            if error.errno == errno.EINVAL:  # a device that does not know of holes
                return position if whence == os.SEEK_DATA else self._length
            raise unreadable(self.label, position, error) from None


def read_exactly(fd: int, view: memoryview, offset: int, label: str) -> None:
    """Fills ``view`` from ``offset`` of a file. Raises `SourceError`, `SourceShrank` when the file ends before."""
    try:
        while view.nbytes:
            some = os.preadv(fd, [view], offset)
            if not some:
                raise SourceShrank(f"{label} ended at {offset} bytes while it was read; keep it still and start again")
            view, offset = view[some:], offset + some
    except OSError as error:
        raise unreadable(label, offset, error) from None


def unreadable(label: str, offset: int, error: OSError) -> SourceError:
    return SourceError(f"{label}: reading at {offset} failed: {error.strerror}; look after the source's storage")
