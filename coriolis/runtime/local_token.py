# SPDX-License-Identifier: Apache-2.0
"""The token of a standalone service: one random string in a file that only its owner can read.

Whoever can read the file may use the service, as with a database's unix socket.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

# The one project and user of a standalone service. Real UUIDs, because clients check the form of ids.
PROJECT_ID = "00000000-0000-4000-8000-000000000001"
USER_ID = "00000000-0000-4000-8000-000000000002"
ROLES = ("admin", "member", "reader")

_BYTES = 32


class UnsafeFile(Exception):
    """A secret file can be read or changed by others, or is no regular file."""


def load_or_create(path: Path) -> str:
    """Give the token in ``path``; make the file (mode 0600) when there is none.

    :raises UnsafeFile: others may read the file
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return load(path)
    token = secrets.token_urlsafe(_BYTES)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def load(path: Path) -> str:
    """The token in ``path``. :raises UnsafeFile: others may read it, or it is empty. :raises OSError: no file"""
    text = read_private(path).strip()
    if not text:
        raise UnsafeFile(f"{path} holds no token: remove the file and start the service again")
    return text


def read_private(path: Path) -> str:
    """The text of a file that belongs to us and that nobody else can read. :raises UnsafeFile:"""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "r", encoding="ascii") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFile(f"{path} is no regular file")
        if status.st_uid not in (os.geteuid(), 0):
            raise UnsafeFile(f"{path} belongs to another user: remove it or change its owner")
        if status.st_mode & 0o077:
            raise UnsafeFile(f"{path} can be used by others: run chmod 600 {path}")
        return file.read()
