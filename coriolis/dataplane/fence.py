# SPDX-License-Identifier: Apache-2.0
"""Keeps a journal for one writer: a lock against live processes of this host, an epoch against all older
ones.

Beside ``NAME`` stand ``NAME.lock`` (locked for as long as a writer works; the kernel drops it when the
process dies) and ``NAME.epoch`` (the highest epoch seen). A newer writer raises the epoch first and then
waits for the lock, so that an older one, which looks at the epoch at each checkpoint, stops and lets go.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from pathlib import Path

from coriolis.dataplane.errors import JournalBusy, JournalError, StaleEpoch

_EPOCH = struct.Struct("<QI")
_POLL_SECONDS = 0.05


class Fence:
    """Owns the lock from construction to `close`. Raises `StaleEpoch` or `JournalBusy`."""

    def __init__(self, journal: Path, epoch: int, *, lock_seconds: float) -> None:
        if epoch < 0:
            raise JournalError(f"epoch {epoch} is negative; epochs start at 0")
        self.epoch = epoch
        self._path = journal
        self._epoch_file = os.open(_beside(journal, ".epoch"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = os.open(_beside(journal, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._raise_epoch()
            self._take_lock(time.monotonic() + lock_seconds)
            self.check()
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Raises `StaleEpoch` when a newer writer has announced itself."""
        seen = self._read()
        if seen > self.epoch:
            raise StaleEpoch(
                f"{self._path}: epoch {seen} owns this disk, epoch {self.epoch} is stale; stop this attempt"
            )

    def close(self) -> None:
        for fd in (self._lock, self._epoch_file):
            if fd >= 0:
                os.close(fd)
        self._lock = self._epoch_file = -1

    def _raise_epoch(self) -> None:
        fcntl.flock(self._epoch_file, fcntl.LOCK_EX)
        try:
            self.check()
            body = struct.pack("<Q", self.epoch)
            os.pwrite(self._epoch_file, body + struct.pack("<I", zlib.crc32(body)), 0)
            os.fsync(self._epoch_file)
        finally:
            fcntl.flock(self._epoch_file, fcntl.LOCK_UN)

    def _read(self) -> int:
        raw = os.pread(self._epoch_file, _EPOCH.size, 0)
        if len(raw) < _EPOCH.size:
            return 0  # new, or cut off while it was made: its writer never began
        epoch, crc = _EPOCH.unpack(raw)
        if zlib.crc32(raw[:8]) != crc:
            raise JournalError(f"{self._path}.epoch is damaged; check the disk, then delete it and the journal")
        return int(epoch)

    def _take_lock(self, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise JournalBusy(
                        f"{self._path} is in use by another process of this host; end that attempt, then try again"
                    ) from None
            time.sleep(_POLL_SECONDS)
            self.check()


def _beside(journal: Path, suffix: str) -> Path:
    return journal.with_name(journal.name + suffix)
