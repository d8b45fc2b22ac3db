# SPDX-License-Identifier: Apache-2.0
"""Reads pieces of an image file, and resolves the names of its companions inside of the allowed folder."""

from __future__ import annotations

import array
import os
import re
import stat
import struct
import sys
from pathlib import Path
from typing import Any

from coriolis.dataplane.errors import InvalidImage, UnsafeImage

MAX_DISK = 64 << 40  #: the largest virtual disk of any platform we know (VMware 62 TiB, Hyper-V 64 TiB)
_PROTOCOL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*:")


class ImageFile:
    """One open file of an image. Descriptors are opened once and given to QEMU."""

    def __init__(self, path: Path, folder: Path, offset: int = 0, length: int | None = None) -> None:
        """Raises `UnsafeImage` when ``path`` is not, symlinks followed, inside ``folder``; `InvalidImage`
        when unreadable. ``offset``, ``length``: the window that is read as if it were the file.
        """
        self.path = path
        self.offset = offset
        self.windowed = offset > 0 or length is not None
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InvalidImage(f"{path} cannot be read: {error.strerror}") from None
        try:
            real = Path(os.readlink(f"/proc/self/fd/{self.fd}"))
            if not real.is_relative_to(folder.resolve()):
                raise UnsafeImage(f"{path} leads out of the folder {folder} through a link; put the real file there")
            status = os.fstat(self.fd)
            if stat.S_ISBLK(status.st_mode):
                self.size = os.lseek(self.fd, 0, os.SEEK_END)
            elif stat.S_ISREG(status.st_mode):
                self.size = status.st_size
            else:
                raise InvalidImage(f"{path} is neither a file nor a block device")
            self.is_device = stat.S_ISBLK(status.st_mode)
            if self.windowed:
                whole, self.size = self.size, self.size - offset if length is None else length
                if self.size < 0 or offset + self.size > whole:
                    end = offset + self.size
                    raise InvalidImage(f"{path.name} is truncated: its image ends at {end} bytes, the file has {whole}")
        except BaseException:
            os.close(self.fd)
            raise

    def state(self) -> tuple[int, int, int, int, int]:
        """Changes when the file does: device, inode, size, modified and changed times in ns."""
        status = os.fstat(self.fd)
        size = self.size if self.is_device else status.st_size  # of the whole file, windowed or not
        modified = (0, 0) if self.is_device else (status.st_mtime_ns, status.st_ctime_ns)
        return (status.st_dev, status.st_ino, size, *modified)

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Exactly ``length`` bytes, or `InvalidImage`: the file is cut off."""
        if offset < 0 or offset + length > self.size:
            raise self.truncated(what, offset + length)
        data = os.pread(self.fd, length, self.offset + offset)
        if len(data) != length:
            raise self.truncated(what, offset + length)
        return data

    def unpack(self, layout: struct.Struct, offset: int, what: str) -> tuple[Any, ...]:
        return layout.unpack(self.read(offset, layout.size, what))

    def table(self, code: str, offset: int, count: int, *, big: bool, what: str) -> array.array[int]:
        """``count`` integers of array type ``code``."""
        values: array.array[int] = array.array(code)
        values.frombytes(self.read(offset, count * values.itemsize, what))
        if big == (sys.byteorder == "little"):
            values.byteswap()
        return values

    def truncated(self, what: str, needs: int) -> InvalidImage:
        return InvalidImage(
            f"{self.path.name} is truncated: its {what} ends at {needs} bytes, the file has {self.size}; get it again"
        )

    def close(self) -> None:
        os.close(self.fd)


def companion(image: Path, name: str, role: str) -> Path:
    """The path of a file that ``image`` names, e.g. an extent. Raises `UnsafeImage` for anything but a name
    below the image's own folder.
    """
    if not name or "\0" in name or "\n" in name:
        raise UnsafeImage(f"{image.name} names a {role} without a usable name; it was not opened")
    parts = name.replace("\\", "/").split("/")
    if _PROTOCOL.match(name):
        raise UnsafeImage(f"{image.name} names the {role} {name!r}, which is not a file name; it was not opened")
    if name.startswith(("/", "\\")) or ".." in parts:
        raise UnsafeImage(
            f"{image.name} names the {role} {name!r} outside of its own folder; it was not opened. "
            "Put all files of the disk into one folder and use relative names"
        )
    return image.parent / name


def check_size(image: Path, size: int) -> int:
    """A believable virtual size, in bytes."""
    if size <= 0 or size > MAX_DISK:
        raise InvalidImage(f"{image.name} claims a disk of {size} bytes; 1 byte to 64 TiB is possible")
    return size
