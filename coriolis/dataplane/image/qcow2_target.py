# SPDX-License-Identifier: Apache-2.0
"""Writes a plain QCOW2 without QEMU: data by pwrite in the engine's threads, tables at each flush.

Through QEMU's NBD server every byte would cross a socket. Only a plain image is written in this way: version 3,
clusters of 64 KiB, no backing file, no snapshot, no bitmap, nothing compressed or shared, as ``qemu-img create`` makes
it. Clusters are only ever added, so the file is at every moment an image that QEMU opens: reference counts are written
before the tables that need them, and a kill costs at most clusters that nothing refers to, which the next opening
takes back. Layout: QEMU's docs/interop/qcow2.txt, big endian.
"""

from __future__ import annotations

import array
import collections
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from coriolis.dataplane.errors import DataplaneError, SinkError
from coriolis.dataplane.image.filelock import lock_for_writing
from coriolis.dataplane.target import punch, sink_error

CLUSTER = 1 << 16
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COPIED, _COMPRESSED, _ZERO = 1 << 63, 1 << 62, 1
_PER_TABLE = CLUSTER // 8  # entries; one table maps 512 MiB
_PER_BLOCK = CLUSTER // 2  # reference counts of 16 bits
_MAX_SIZE = 8 << 40  # so that one cluster of reference table is enough
_KEPT = 512  # tables in memory, of 64 KiB each
_ZEROS = memoryview(bytes(CLUSTER))


def create_qcow2(path: Path, size: int) -> bool:
    """Makes a new, empty image that reads as zeros, replacing what was there; False when it is too large for this
    writer. Raises OSError. Much faster than starting a program for it.
    """
    if size > _MAX_SIZE:
        return False
    size = -(-size // 512) * 512
    entries = max(1, -(-size // (_PER_TABLE * CLUSTER)))
    clusters = 3 + -(-entries * 8 // CLUSTER)  # header, reference table and its first block, first-level table
    header = _HEADER.pack(b"QFI\xfb", 3, 0, 0, 16, size, 0, entries, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, clusters * CLUSTER)
        _write(fd, memoryview(struct.pack(">Q", 2 * CLUSTER)), CLUSTER)
        _write(fd, memoryview(b"\0\1" * clusters), 2 * CLUSTER)
        _write(fd, memoryview(header), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def open_qcow2_target(path: Path) -> Qcow2Target | None:
    """A writer for an existing image, or None when it is not a plain one and QEMU has to write it.

    Raises `SinkError` when it cannot be opened, or another program uses it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise sink_error(str(path), error.errno or 0, str(error.strerror)) from None
    target = None
    try:
        fields = _HEADER.unpack(os.pread(fd, _HEADER.size, 0).ljust(_HEADER.size, b"\0"))
        if _is_plain(fields):
            if not lock_for_writing(fd):
                raise SinkError(f"{path} is in use by another program; shut that down, then start again")
            target = Qcow2Target(fd, str(path), size=fields[5], l1=(fields[8], fields[7]), refs_at=fields[9])
            return target if target.load() else None
        return None
    except OSError as error:
        raise sink_error(str(path), error.errno or 0, str(error.strerror)) from None
    finally:
        if target is None or not target.loaded:
            os.close(fd)


def _is_plain(fields: tuple[Any, ...]) -> bool:
    magic, version, backing, _, bits, size, crypt, _, _, _, refs, snapshots, _, odd, _, autoclear, order, _ = fields
    return (
        (magic, version, bits, order) == (b"QFI\xfb", 3, 16, 4)
        and not (backing or crypt or snapshots or odd or autoclear)
        and refs == 1
        and size <= _MAX_SIZE
    )


class Qcow2Target:
    """A `LocalTarget`. ``l1``: offset and entries of the first-level table; ``refs_at``: of the reference table."""

    def __init__(self, fd: int, label: str, *, size: int, l1: tuple[int, int], refs_at: int) -> None:
        self.label, self.size, self.loaded = label, size, False
        self._fd, self._refs_at, self._l1_at = fd, refs_at, l1[0]
        self._l1 = self._read_table(l1[0], l1[1])
        self._blocks = self._read_table(refs_at, _PER_TABLE)
        self._tables: collections.OrderedDict[int, array.array[int]] = collections.OrderedDict()
        self._dirty: set[int] = set()  # tables
        self._recount: set[int] = set()  # reference blocks
        self._free: list[int] = []  # clusters below `_next` that nothing refers to
        self._next = 0  # the first cluster behind all that are used
        self._lock = threading.Lock()

    def load(self) -> bool:
        """Finds out which clusters are used. False when the image is not as simple as its header says."""
        used = bytearray(max(1, -(-os.fstat(self._fd).st_size // CLUSTER)))
        count = len(used)
        fixed = [0, self._refs_at // CLUSTER]
        fixed += [self._l1_at // CLUSTER + i for i in range(-(-len(self._l1) * 8 // CLUSTER))]
        fixed += [block // CLUSTER for block in self._blocks if block]
        for number, entry in enumerate(self._l1):
            if not entry & _OFFSET:
                continue
            table = self._table(number)
            clusters = [e & _OFFSET for e in table if e > _ZERO]
            if any(e & _COMPRESSED or (e & _ZERO and e & _OFFSET) or not e & _COPIED for e in table if e > _ZERO):
                return False
            fixed += [(entry & _OFFSET) // CLUSTER, *(at // CLUSTER for at in clusters)]
            self._trim()
            for cluster in fixed:
                if cluster >= count or used[cluster]:
                    return False
                used[cluster] = 1
            fixed = []
        for cluster in fixed:
            if cluster >= count:
                return False
            used[cluster] = 1
        self._next = used.rindex(1) + 1
        self._free = [i for i in range(self._next) if not used[i]]
        self._take_back()
        self.loaded = True
        return True

    # -- what the engine calls

    def write(self, view: memoryview, offset: int) -> None:
        try:
            with self._lock:
                pieces = self._place(offset, view.nbytes)
            for at, length in pieces:
                _write(self._fd, view[:length], at)
                view = view[length:]
        except OSError as error:
            raise self._failed(error) from None

    def zero(self, offset: int, length: int) -> None:
        """Makes a range read as zeros; what is not allocated does already."""
        try:
            with self._lock:
                pieces = self._allocated(offset, length)
            for at, some in pieces:
                if not punch(self._fd, at, some):
                    for start in range(at, at + some, CLUSTER):
                        _write(self._fd, _ZEROS[: min(CLUSTER, at + some - start)], start)
        except OSError as error:
            raise self._failed(error) from None

    def flush(self) -> None:
        try:
            with self._lock:
                self._write_tables()
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._failed(error) from None

    def close(self) -> None:
        os.close(self._fd)

    def _failed(self, error: OSError) -> DataplaneError:
        return sink_error(self.label, error.errno or 0, error.strerror or str(error))

    # -- where bytes go; under the lock

    def _place(self, offset: int, length: int) -> list[tuple[int, int]]:
        """(host offset, length) of a range, after allocating what is not."""
        pieces: list[tuple[int, int]] = []
        end = offset + length
        while offset < end:
            number, slot = divmod(offset // CLUSTER, _PER_TABLE)
            inside = offset % CLUSTER
            some = min(CLUSTER - inside, end - offset)
            table = self._table(number, make=True)
            host = table[slot] & _OFFSET
            if not host:
                host = self._allocate() * CLUSTER
                table[slot] = host | _COPIED
                self._dirty.add(number)
            at = host + inside
            if pieces and sum(pieces[-1]) == at:
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + some)
            else:
                pieces.append((at, some))
            offset += some
        return pieces

    def _allocated(self, offset: int, length: int) -> list[tuple[int, int]]:
        pieces: list[tuple[int, int]] = []
        end = offset + length
        while offset < end:
            number, slot = divmod(offset // CLUSTER, _PER_TABLE)
            if not self._l1[number] & _OFFSET:
                offset = (number + 1) * _PER_TABLE * CLUSTER
                continue
            inside = offset % CLUSTER
            some = min(CLUSTER - inside, end - offset)
            if host := self._table(number)[slot] & _OFFSET:
                pieces.append((host + inside, some))
            offset += some
        return pieces

    def _table(self, number: int, *, make: bool = False) -> array.array[int]:
        """A second-level table, from memory, from the file, or new."""
        table = self._tables.get(number)
        if table is None:
            at = self._l1[number] & _OFFSET
            if not at and make:
                at = self._allocate() * CLUSTER
                self._l1[number] = at | _COPIED
                self._dirty.add(number)
                table = array.array("Q", bytes(CLUSTER))
            else:
                table = self._read_table(at, _PER_TABLE)
            self._tables[number] = table
        self._tables.move_to_end(number)
        return table

    def _allocate(self) -> int:
        """A cluster that reads as zeros."""
        if self._free:
            cluster = self._free.pop()
            self._recount.add(cluster // _PER_BLOCK)
            return cluster
        cluster, self._next = self._next, self._next + 1
        block = cluster // _PER_BLOCK
        self._recount.add(block)
        if not self._blocks[block]:  # it counts itself
            self._blocks[block] = cluster * CLUSTER
            return self._allocate()
        return cluster

    # -- the tables on disk

    def _write_tables(self) -> None:
        os.ftruncate(self._fd, self._next * CLUSTER)
        for block in sorted(self._recount):
            _write(self._fd, memoryview(self._counts(block)), self._blocks[block])
        if self._recount:
            _write(self._fd, _big(self._blocks), self._refs_at)
        for number in sorted(self._dirty):
            _write(self._fd, _big(self._tables[number]), self._l1[number] & _OFFSET)
        if self._dirty:
            low, high = min(self._dirty), max(self._dirty) + 1
            _write(self._fd, _big(self._l1[low:high]), self._l1_at + 8 * low)
        self._recount.clear()
        self._dirty.clear()
        self._trim()

    def _counts(self, block: int) -> bytearray:
        first = block * _PER_BLOCK
        used = max(0, min(_PER_BLOCK, self._next - first))
        counts = bytearray(b"\0\1" * used + bytes(CLUSTER - 2 * used))
        for cluster in self._free:
            if first <= cluster < first + _PER_BLOCK:
                counts[2 * (cluster - first) + 1] = 0
        return counts

    def _take_back(self) -> None:
        """Makes what an interrupted writer left behind free, empty and uncounted."""
        os.ftruncate(self._fd, self._next * CLUSTER)
        for cluster in self._free:
            if not punch(self._fd, cluster * CLUSTER, CLUSTER):
                _write(self._fd, _ZEROS, cluster * CLUSTER)
        self._recount.update(number for number, block in enumerate(self._blocks) if block)

    def _trim(self) -> None:
        while len(self._tables) > _KEPT:
            number = next(iter(self._tables))
            if number in self._dirty:
                break  # until the next flush
            del self._tables[number]

    def _read_table(self, at: int, entries: int) -> array.array[int]:
        table: array.array[int] = array.array("Q")
        table.frombytes(os.pread(self._fd, entries * 8, at).ljust(entries * 8, b"\0"))
        if sys.byteorder == "little":
            table.byteswap()
        return table


def _big(table: array.array[int]) -> memoryview:
    copy = table[:]
    if sys.byteorder == "little":
        copy.byteswap()
    return memoryview(copy.tobytes())


def _write(fd: int, view: memoryview, offset: int) -> None:
    while view.nbytes:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
