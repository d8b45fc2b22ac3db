# SPDX-License-Identifier: Apache-2.0
"""The locks by which QEMU keeps two programs from writing one image (its block/file-posix.c: byte 100 + n says that
somebody uses permission n, byte 200 + n that somebody lets nobody else have it).
"""

from __future__ import annotations

import fcntl
import struct

_USED, _UNSHARED = 100, 200
_READ, _WRITE, _RESIZE = 0, 1, 3
_OURS = 350  # a byte that QEMU does not lock
_LOCK = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux


def lock_for_writing(fd: int) -> bool:
    """Makes this process the image's only writer while ``fd`` is open; False when another program uses the image."""
    uses = [_USED + n for n in (_READ, _WRITE, _RESIZE)] + [_UNSHARED + n for n in (_WRITE, _RESIZE)]
    clash = [_UNSHARED + n for n in (_READ, _WRITE, _RESIZE)] + [_USED + n for n in (_WRITE, _RESIZE)]
    for byte in uses:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_RDLCK, 0, byte, 1, 0))
        except OSError:
            return False
    return not any(_held(fd, byte) for byte in clash)


def lock_among_us(fd: int) -> bool:
    """Keeps other programs of ours from writing while ``fd`` is open, and lets a QEMU of ours write meanwhile; False
    when another of ours, or a QEMU, writes already."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, 0, _OURS, 1, 0))
    except OSError:
        return False
    if not _held(fd, _USED + _WRITE):
        return True
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_UNLCK, 0, _OURS, 1, 0))
    return False


def holds_among_us(fdinfo: str) -> bool:
    """Whether an open file holds `lock_among_us`, by its text in ``/proc/PID/fdinfo``."""
    for line in fdinfo.splitlines():
        words = line.split()
        if words[:1] == ["lock:"] and "OFDLCK" in words and words[-2:] == [str(_OURS), str(_OURS)]:
            return True
    return False


def _held(fd: int, byte: int) -> bool:
    """True when another open file holds a lock on the byte."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0))
    return bool(_LOCK.unpack(found)[0] != fcntl.F_UNLCK)
