# SPDX-License-Identifier: Apache-2.0
"""The durable journal of one disk: what of it is safely on the target, with a digest per leaf.

The file (layout: `records`) is only ever appended, and rewritten whole, atomically, between rounds. Records are written
after the target was flushed and count once they are synced, so a leaf in the journal is on the target's stable storage.
Before leaves are written, a FRONTIER record says how far this round may have got: what lies before it and is not
recorded may hold anything after a kill.

A `Mirror` keeps the same bytes somewhere else, so that another host can go on: a record counts once the mirror
has it too, hence whatever the mirror gives back is right. It mends a damaged file of this host as well.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path
from typing import Protocol

from coriolis.dataplane.digest import LeafTable
from coriolis.dataplane.errors import JournalError, SourceShrank
from coriolis.dataplane.fence import Fence
from coriolis.dataplane.records import (
    RECORD_SIZE,
    Loaded,
    Record,
    Round,
    distrusting,
    finished,
    grown,
    header,
    identity_hash,
    pack,
    pack_finish,
    parse,
    whole_pages,
)


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


def load(path: Path) -> Loaded:
    """Reads a journal without locking it. Raises `JournalError` when it is damaged, FileNotFoundError when
    absent.
    """
    return parse(path.read_bytes(), path)


def finished_digest(path: Path) -> str | None:
    """The digest of the disk with which a journal's last round ended; None when there is no such journal, or it is
    damaged, or its last round did not end.
    """
    try:
        last = load(path).round
    except (FileNotFoundError, JournalError):
        return None
    return None if last is None or last.digest is None else last.digest.hex()


class Journal:
    """The one writer of a journal. `append` may be called from any thread."""

    def __init__(
        self, path: Path, fence: Fence, loaded: Loaded, *, damaged: bool, grown: bool, mirror: Mirror | None
    ) -> None:
        self.path = path
        self._mirror = mirror
        self.damaged, self.grown = damaged, grown
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
        the target may hold anything; ``damaged`` is set. A journal of a smaller disk grows with it; one of a larger
        disk raises `SourceShrank`.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        fence = Fence(path, epoch, lock_seconds=lock_seconds)
        damaged = bigger = False
        try:
            loaded = _recall(path, mirror)
            if loaded is None:
                damaged = path.exists()
                if damaged:
                    _keep_aside(path)
                loaded = _create(path, size, distrust=damaged)
            if loaded.size > size:
                raise SourceShrank(
                    f"the disk had {loaded.size} bytes and has {size} now; make its file systems and the disk as large "
                    "as before, or copy it to a new target (delete the disks of the transfer, or start a new migration)"
                )
            if loaded.size < size:
                _put(path, grown(loaded, size, epoch))
                loaded, bigger = load(path), True
            if mirror is not None:
                _bring_up_to_date(mirror, path.read_bytes()[: loaded.length], anew=damaged or bigger)
            return cls(path, fence, loaded, damaged=damaged, grown=bigger, mirror=mirror)
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

    def finish(self, left_out: int = 0) -> bytes:
        """Ends the round; returns the digest of the disk. ``left_out``: see `Round`."""
        if self.round is None or (missing := self.leaves.missing()) is not None:
            raise JournalError(f"{self.path}: the round is not complete, leaf {missing} is missing")
        root = self.leaves.root()
        ended = dataclasses.replace(self.round, digest=root, left_out=whole_pages(left_out))
        self.append([pack_finish(ended, self.epoch)])
        self.base = self.round = ended
        return root

    def reset(self) -> None:
        """Forgets everything but the epoch: the target is gone."""
        os.ftruncate(self._file, RECORD_SIZE)
        os.fsync(self._file)
        self._end, self._records = RECORD_SIZE, 0
        if self._mirror is not None:
            self._mirror.replace(header(self.size))
        self.leaves, self.base, self.round, self.frontier = LeafTable(self.size), None, None, 0

    def close(self) -> None:
        os.close(self._file)
        self._fence.close()

    def _compact(self) -> None:
        data = finished(self.size, self.leaves, self.base, self.epoch)
        _put(self.path, data)
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._end, self._records = len(data), len(data) // RECORD_SIZE - 1
        if self._mirror is not None:
            self._mirror.replace(data)


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
    data = distrusting(size) if distrust else header(size)
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
