# SPDX-License-Identifier: Apache-2.0
"""A file, or the part of a file that a member of an archive is; and the stamps that tell whether it changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coriolis.providers.api import Conflict, Invalid, Unauthorized, Unavailable

_CHUNK = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Window:
    """``length`` bytes of ``path`` from ``offset``."""

    path: Path
    length: int
    offset: int = 0

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in pieces. :raises Conflict: the file became shorter. :raises Unavailable: it cannot be read"""
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                left = self.length
                while left:
                    data = file.read(min(left, _CHUNK))
                    if not data:
                        raise Conflict(f"{self.path} became shorter while it was read.")
                    left -= len(data)
                    yield data
        except OSError as error:
            raise unreadable(self.path, error) from error

    def read(self, limit: int) -> bytes:
        """All of it. :raises Invalid: more than ``limit`` bytes"""
        if self.length > limit:
            raise Invalid(f"{self.path} holds {self.length} bytes where at most {limit} make sense.")
        return b"".join(self.chunks())


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What the file system says about a file; it changes when somebody writes to the file or replaces it."""

    path: str
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        found = examine(path)
        return cls(path=str(path.resolve()), inode=found.st_ino, size=found.st_size, mtime_ns=found.st_mtime_ns)

    def check(self) -> None:
        """:raises Conflict: the file is not the one that was stamped"""
        try:
            now = Stamp.of(Path(self.path))
        except Invalid as error:
            raise Conflict(f"{self.path} is no longer what it was at the start: {error.message}") from error
        if now != self:
            raise Conflict(
                f"{self.path} was changed after this migration began to read it (size {self.size}, now"
                f" {now.size}). Leave exported files alone until the migration has ended, and start it again."
            )


def examine(path: Path) -> os.stat_result:
    """:raises Invalid: there is no regular file. :raises Unauthorized: the worker may not look"""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(f"{path} is not a regular file.")
    return found


def unreadable(path: Path, error: OSError) -> Invalid | Unauthorized | Unavailable:
    """The typed error for what the operating system said about a file."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Invalid(f"{path} does not exist on the worker. Give the path of a file or folder that the worker sees.")
    if isinstance(error, PermissionError):
        return Unauthorized(f"The worker may not read {path}. Give its user the right to read it.")
    if isinstance(error, OSError) and error.errno in (36, 40):  # ENAMETOOLONG, ELOOP
        return Invalid(f"{path} cannot be opened: {error.strerror}.")
    return Unavailable(f"{path} cannot be read now: {error.strerror or error}.")
