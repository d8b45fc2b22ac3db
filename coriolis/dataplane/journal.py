# SPDX-License-Identifier: Apache-2.0
"""The durable journal of one disk: what of it is safely on the target, with a digest per leaf.

The file is a header of 64 bytes and records of 64 bytes, only ever appended (and rewritten whole,
atomically, between rounds). Records are written after the target was flushed and count once they are
synced, so a leaf in the journal is on the target's stable storage. Before leaves are written, a FRONTIER
record says how far this round may have got: what lies before it and is not recorded may hold anything after
a kill.

A journal that ends in rubbish was cut off while it grew: the rubbish is dropped. Rubbish with valid records
after it is damage: `load` says so and the caller copies everything again. A ROUND record starts a round
over one source identity, FINISH ends it with the digest of the disk. Layout, little endian::

    header   magic[16] version:u32 leaf_size:u32 size:u64 reserved[28] crc32:u32
    record   kind:u8 reserved[3] count:u32 index:u64 epoch:u64 digest[32] reserved[4] crc32:u32

A `Mirror` keeps the same bytes somewhere else, so that another host can go on: a record counts once the mirror
has it too, hence whatever the mirror gives back is right. It mends a damaged file of this host as well.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import blake3

from coriolis.dataplane.digest import LeafTable
from coriolis.dataplane.errors import JournalError
from coriolis.dataplane.extents import leaf_count
from coriolis.dataplane.fence import Fence
from coriolis.dataplane.types import LEAF_SIZE

RECORD_SIZE = 64
_MAGIC = b"coriolis-journal"
_VERSION = 1
_HEADER = struct.Struct("<16sIIQ28x")
_RECORD = struct.Struct("<B3xIQQ32s4x")
_CRC = struct.Struct("<I")
_ZEROS = bytes(32)
_MAX_COUNT = (1 << 32) - 1


class Record(enum.IntEnum):
    """``index``, ``count`` and ``digest`` mean: leaf, -, leaf digest | leaf, leaves, - | round, mode,
    identity | leaf, -, - | round, -, disk digest.
    """

    LEAF = 1
    ZERO = 2
    ROUND = 3
    FRONTIER = 4
    FINISH = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """The last round that a journal knows. ``identity`` is hashed; None when the caller had none to give."""

    number: int
    identity: bytes | None
    digest: bytes | None  # of the disk, once finished

    @property
    def finished(self) -> bool:
        return self.digest is not None


@dataclasses.dataclass(kw_only=True)
class Loaded:
    """A journal as read from its file. ``base``: the last finished round. ``length``: bytes that are good."""

    size: int
    leaves: LeafTable
    round: Round | None = None
    base: Round | None = None
    frontier: int = 0
    records: int = 0
    length: int = RECORD_SIZE


class Mirror(Protocol):
    """The journal's bytes elsewhere, for one writer at a time. Its methods return when the bytes are durable, may be
    called from any thread (one at a time), and raise `StaleEpoch` when another writer has taken over, or another
    `DataplaneError` when the mirror cannot be reached.
    """

    @property
    def length(self) -> int:
        """Bytes that it holds."""

    def open(self) -> bool:
        """Takes over. True when the file of this host may be used: nobody has written since this host did."""

    def read(self) -> bytes:
        """All that it holds."""

    def append(self, data: bytes) -> None:
        """Adds to its end."""

    def replace(self, data: bytes) -> None:
        """Holds exactly this from now on; until it returns, what it held before."""

    def settle(self) -> None:
        """The file of this host equals the mirror now: the next `open` here may say so."""


def identity_hash(identity: str | None) -> bytes | None:
    return None if identity is None else blake3.blake3(identity.encode()).digest()


def pack(kind: Record, *, index: int, count: int = 0, epoch: int = 0, digest: bytes | None = None) -> bytes:
    return _seal(_RECORD.pack(kind, count, index, epoch, digest or _ZEROS))


def pack_zero(index: int, count: int, epoch: int) -> Iterator[bytes]:
    while count > 0:
        some = min(count, _MAX_COUNT)
        yield pack(Record.ZERO, index=index, count=some, epoch=epoch)
        index, count = index + some, count - some


def load(path: Path) -> Loaded:
    """Reads a journal without locking it. Raises `JournalError` when it is damaged, FileNotFoundError when
    absent.
    """
    return parse(path.read_bytes(), path)


def parse(raw: bytes, path: Path) -> Loaded:
    """A journal from its bytes; ``path`` is for messages. Raises `JournalError` when it is damaged."""
    if len(raw) < RECORD_SIZE:
        raise JournalError(f"{path} is cut off in its header; the copy has to start over")
    header = _unseal(raw[:RECORD_SIZE])
    if header is None or not header.startswith(_MAGIC):
        raise JournalError(f"{path} is not a journal, or damaged; the copy has to start over")
    _, version, leaf_size, size = _HEADER.unpack(header)
    if version != _VERSION or leaf_size != LEAF_SIZE:
        raise JournalError(
            f"{path} has version {version} and leaves of {leaf_size} bytes; this release reads {_VERSION}"
        )
    loaded = Loaded(size=size, leaves=LeafTable(size))
    view = memoryview(raw)
    for position in range(RECORD_SIZE, len(raw) - RECORD_SIZE + 1, RECORD_SIZE):
        body = _unseal(view[position : position + RECORD_SIZE])
        if body is None:
            _refuse_damage(path, view, position + RECORD_SIZE)
            break
        _apply(path, loaded, body)
        loaded.length = position + RECORD_SIZE
        loaded.records += 1
    return loaded


class Journal:
    """The one writer of a journal. `append` may be called from any thread."""

    def __init__(self, path: Path, fence: Fence, loaded: Loaded, *, damaged: bool, mirror: Mirror | None) -> None:
        self.path = path
        self._mirror = mirror
        self.damaged = damaged
        self.size = loaded.size
        self.leaves = loaded.leaves
        self.base = loaded.base
        self.round = loaded.round
        self.frontier = loaded.frontier
        self._records = loaded.records
        self._fence = fence
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._file, loaded.length)
        self._end = loaded.length

    @classmethod
    def open(
        cls, path: Path, *, size: int, epoch: int, lock_seconds: float = 10.0, mirror: Mirror | None = None
    ) -> Journal:
        """Locks and reads the journal of a disk of ``size`` bytes, or makes it.

        When the ``mirror`` is newer than the file, or the file is damaged, the mirror's bytes are taken. What is
        damaged in both places is kept as ``NAME.damaged`` for people to look at, and replaced by one that says that
        the target may hold anything; ``damaged`` is set. A journal of another size raises `JournalError`.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        fence = Fence(path, epoch, lock_seconds=lock_seconds)
        damaged = False
        try:
            loaded = _recall(path, mirror)
            if loaded is None:
                damaged = path.exists()
                if damaged:
                    _keep_aside(path)
                loaded = _create(path, size, distrust=damaged)
            if loaded.size != size:
                raise JournalError(
                    f"{path} is for a disk of {loaded.size} bytes, this one has {size}; give it its own journal"
                )
            if mirror is not None:
                _bring_up_to_date(mirror, path.read_bytes()[: loaded.length], anew=damaged)
            return cls(path, fence, loaded, damaged=damaged, mirror=mirror)
        except BaseException:
            fence.close()
            raise

    @property
    def epoch(self) -> int:
        return self._fence.epoch

    def check(self) -> None:
        """Raises `StaleEpoch` when this writer has been replaced."""
        self._fence.check()

    def append(self, records: list[bytes]) -> None:
        """Writes records and returns when they are durable. Raises `StaleEpoch` before writing."""
        self._fence.check()
        if not records:
            return
        data = b"".join(records)
        with self._lock:
            if os.pwrite(self._file, data, self._end) != len(data):
                raise JournalError(f"{self.path}: short write; make room on its file system")
            os.fdatasync(self._file)
            self._end += len(data)
            self._records += len(records)
            if self._mirror is not None:
                self._mirror.append(data)

    def begin(self, identity: str | None, mode: int, frontier: int) -> None:
        """Starts a round and forgets the superseded records when they are the larger part of the file."""
        if self.round is not None and not self.round.finished:
            self.leaves.doubt(min(self.frontier, self.leaves.count))
        elif self._records > 2 * self.leaves.count + 64:
            self._compact()
        number = self.round.number + 1 if self.round else 1
        self.round = Round(number=number, identity=identity_hash(identity), digest=None)
        self.leaves.new_round()
        start = pack(Record.ROUND, index=number, count=mode, epoch=self.epoch, digest=self.round.identity)
        self.append([start, *self._frontier(frontier)])
        self.frontier = frontier

    def advance(self, frontier: int) -> None:
        """Makes it durable that leaves before ``frontier`` may be touched from now on."""
        self.append(self._frontier(frontier))
        self.frontier = frontier

    def _frontier(self, frontier: int) -> list[bytes]:
        # Twice: were the only one to rot at the end of the file, it would pass for a torn tail, and with it would go
        # the knowledge that leaves were touched. Any other record that is lost in that way only costs work.
        return [pack(Record.FRONTIER, index=frontier, epoch=self.epoch)] * 2

    def finish(self) -> bytes:
        """Ends the round; returns the digest of the disk."""
        if self.round is None or (missing := self.leaves.missing()) is not None:
            raise JournalError(f"{self.path}: the round is not complete, leaf {missing} is missing")
        root = self.leaves.root()
        self.append([pack(Record.FINISH, index=self.round.number, epoch=self.epoch, digest=root)])
        self.base = self.round = dataclasses.replace(self.round, digest=root)
        return root

    def reset(self) -> None:
        """Forgets everything but the epoch: the target is gone."""
        os.ftruncate(self._file, RECORD_SIZE)
        os.fsync(self._file)
        self._end, self._records = RECORD_SIZE, 0
        if self._mirror is not None:
            self._mirror.replace(_header(self.size))
        self.leaves, self.base, self.round, self.frontier = LeafTable(self.size), None, None, 0

    def close(self) -> None:
        os.close(self._file)
        self._fence.close()

    def _compact(self) -> None:
        records = list(self._state())
        data = _header(self.size) + b"".join(records)
        _put(self.path, data)
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._end, self._records = len(data), len(records)
        if self._mirror is not None:
            self._mirror.replace(data)

    def _state(self) -> Iterator[bytes]:
        """The fewest records that say what this journal says, between two rounds."""
        base = self.base
        if base is not None:
            yield pack(Record.ROUND, index=base.number, epoch=self.epoch, digest=base.identity)
        for index, count, zero in self.leaves.runs():
            if zero:
                yield from pack_zero(index, count, self.epoch)
            else:
                yield pack(Record.LEAF, index=index, epoch=self.epoch, digest=self.leaves.get(index))
        if base is not None:
            yield pack(Record.FINISH, index=base.number, epoch=self.epoch, digest=base.digest)


def _apply(path: Path, loaded: Loaded, body: bytes) -> None:
    kind, count, index, _epoch, digest = _RECORD.unpack(body)
    leaves = loaded.leaves
    if kind in (Record.LEAF, Record.ZERO) and index + (count or 1) > leaves.count:
        raise JournalError(f"{path} names leaf {index} of a disk of {leaves.count} leaves; the copy has to start over")
    if kind == Record.LEAF:
        leaves.put(index, digest)
    elif kind == Record.ZERO:
        leaves.put_zero(index, count)
    elif kind == Record.ROUND:
        if loaded.round is not None and not loaded.round.finished:
            leaves.doubt(min(loaded.frontier, leaves.count))
        identity = None if digest == _ZEROS else digest
        loaded.round = Round(number=index, identity=identity, digest=None)
        loaded.frontier = 0
        leaves.new_round()
    elif kind == Record.FRONTIER:
        loaded.frontier = index
    elif kind == Record.FINISH and loaded.round is not None:
        loaded.base = loaded.round = dataclasses.replace(loaded.round, digest=digest)


def _refuse_damage(path: Path, view: memoryview, position: int) -> None:
    for later in range(position, len(view) - RECORD_SIZE + 1, RECORD_SIZE):
        if _unseal(view[later : later + RECORD_SIZE]) is not None:
            raise JournalError(f"{path} is damaged in its middle; the copy has to start over")


def _seal(body: bytes) -> bytes:
    return body + _CRC.pack(zlib.crc32(body))


def _unseal(raw: bytes | memoryview) -> bytes | None:
    body, (crc,) = bytes(raw[:-4]), _CRC.unpack(raw[-4:])
    return body if zlib.crc32(body) == crc else None


def _header(size: int) -> bytes:
    return _seal(_HEADER.pack(_MAGIC, _VERSION, LEAF_SIZE, size))


def _recall(path: Path, mirror: Mirror | None) -> Loaded | None:
    """The newest journal that is whole, in its file; None when there is none. A damaged one stays where it is."""
    here = mirror is None or mirror.open()
    if mirror is not None and (not here or _length(path) < mirror.length):
        _take_over(path, mirror)
    try:
        loaded: Loaded | None = load(path)
    except FileNotFoundError:
        return None
    except JournalError:
        loaded = None
    if mirror is None or not here or (loaded is not None and loaded.length >= mirror.length):
        return loaded
    _keep_aside(path)
    _take_over(path, mirror)
    try:
        return load(path)
    except (FileNotFoundError, JournalError):
        return None


def _take_over(path: Path, mirror: Mirror) -> None:
    content = mirror.read()
    if content:
        _put(path, content)
    else:
        path.unlink(missing_ok=True)


def _bring_up_to_date(mirror: Mirror, content: bytes, *, anew: bool) -> None:
    if anew or mirror.length > len(content):
        mirror.replace(content)
    elif mirror.length < len(content):
        mirror.append(content[mirror.length :])
    mirror.settle()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _create(path: Path, size: int, *, distrust: bool = False) -> Loaded:
    """A new journal. ``distrust``: with an unfinished round that may have touched every leaf."""
    data = _header(size)
    if distrust:
        data += pack(Record.ROUND, index=1) + 2 * pack(Record.FRONTIER, index=leaf_count(size))
    _put(path, data)
    return load(path)


def _put(path: Path, data: bytes) -> None:
    """Replaces the file, durably and atomically."""
    temp = path.with_name(path.name + ".new")
    _write_new(temp, data)
    os.replace(temp, path)
    _sync_folder(path.parent)


def _keep_aside(path: Path) -> None:
    aside = path.with_name(path.name + ".damaged")
    aside.unlink(missing_ok=True)
    os.link(path, aside)


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
