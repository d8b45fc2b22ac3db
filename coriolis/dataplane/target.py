# SPDX-License-Identifier: Apache-2.0
"""Where leaves are written: a local file or block device, or an NBD export.

Rule: a raw file or block device of this host is written with pwrite in the digesting threads, since an NBD
server in between would copy each byte twice more through a socket; everything else is an NBD export.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from coriolis.dataplane.errors import DataplaneError, NoSpace, SinkError
from coriolis.dataplane.nbd import Failed

_PUNCH = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, linux/falloc.h
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)
_libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_ZEROS = memoryview(bytes(1 << 20))


class LocalTarget(Protocol):
    """What the engine's threads write by themselves. Its methods block and may be called from several threads."""

    label: str

    def write(self, view: memoryview, offset: int) -> None: ...

    def zero(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class FileTarget:
    """A raw file or block device. Its methods block and may be called from several threads."""

    def __init__(self, path: Path, size: int) -> None:
        self.label = str(path)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self.failed(error) from None
        try:
            self._punches = True
            self._check_size(path, size)
        except BaseException:
            self.close()
            raise

    def write(self, view: memoryview, offset: int) -> None:
        try:
            while view.nbytes:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise self.failed(error) from None

    def zero(self, offset: int, length: int) -> None:
        """Makes a range read as zeros, without allocating where the file system can."""
        try:
            if self._punches and punch(self._file, offset, length):
                return
        except OSError as error:
            raise self.failed(error) from None
        self._punches = False
        while length > 0:
            some = min(length, _ZEROS.nbytes)
            self.write(_ZEROS[:some], offset)
            offset, length = offset + some, length - some

    def flush(self) -> None:
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self.failed(error) from None

    def close(self) -> None:
        os.close(self._file)

    def failed(self, error: OSError) -> DataplaneError:
        return sink_error(self.label, error.errno or 0, error.strerror or str(error))

    def _check_size(self, path: Path, size: int) -> None:
        status = os.fstat(self._file)
        has = status.st_size
        if stat.S_ISBLK(status.st_mode):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                has = os.lseek(fd, 0, os.SEEK_END)
            finally:
                os.close(fd)
        if has < size:
            raise too_small(self.label, has, size)


def punch(fd: int, offset: int, length: int) -> bool:
    """Makes a hole in a file; False where its file system cannot. Raises OSError."""
    if _libc.fallocate(fd, _PUNCH, offset, length) == 0:
        return True
    code = ctypes.get_errno()
    if code not in _CANNOT:
        raise OSError(code, os.strerror(code))
    return False


def too_small(label: str, has: int, needs: int) -> SinkError:
    return SinkError(f"{label} has {has} bytes, the disk needs {needs}; give a larger target", retryable=False)


def sink_error(label: str, code: int, text: str) -> SinkError:
    if code in _FULL:
        return NoSpace(f"the target has no room left ({label}: {text}); free space on its storage, then start it again")
    if code in (errno.ENOENT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EISDIR, errno.ENXIO):
        return SinkError(f"{label} cannot be written: {text}", retryable=False)
    return SinkError(f"writing {label} failed: {text}; look after its storage")


def sink_failed(error: Failed) -> SinkError:
    """An NBD failure on the target's side in our words."""
    return sink_error(str(error).split(":", 1)[0], error.code, str(error).split(": ", 1)[-1])
