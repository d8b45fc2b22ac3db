# SPDX-License-Identifier: Apache-2.0
"""An OVA as what it is: a tar whose members are read in place. Nothing is ever unpacked.

Members that a plain export never has (links, devices, sparse files, names that climb out) refuse the whole archive:
what is checked and what is read must be the same bytes.
"""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from coriolis.providers.api import Invalid
from coriolis.providers.ova.window import Window, examine, unreadable

_MEMBER_LIMIT = 4096
_HEADERS_LIMIT = 16 << 20  # bytes of all headers together; long names and pax records have some hundred


class _HeadersTooLong(Exception):
    """The headers claim names or records of absurd length."""


class _Guarded:
    """What tarfile reads headers through. It reads nothing else of us, so much of it is an attack on our memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _HEADERS_LIMIT

    def read(self, size: int = -1) -> bytes:
        self._left -= size
        if size < 0 or self._left < 0:
            raise _HeadersTooLong
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def index(path: Path) -> dict[str, Window]:
    """Member name -> where its bytes are, in the order of the archive.

    :raises Invalid: not a tar, truncated, or with members that have no place in an OVA
    """
    size = examine(path).st_size
    try:
        with path.open("rb") as file:
            # tarfile wants a whole file object; the three methods above are all that it uses to read.
            with tarfile.open(fileobj=_Guarded(file), mode="r:") as archive:  # type: ignore[call-overload]
                return _members(path, size, archive)
    except OSError as error:
        raise unreadable(path, error) from error
    except _HeadersTooLong:
        raise Invalid(f"{path.name} has tar headers of absurd length; it is damaged or was made to harm.") from None
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        raise Invalid(f"{path.name} is not a whole OVA (a tar archive): {error}. Copy or export it again.") from None


def _members(path: Path, size: int, archive: tarfile.TarFile) -> dict[str, Window]:
    found: dict[str, Window] = {}
    for count, member in enumerate(archive, start=1):
        name = member.name.removeprefix("./")
        if count > _MEMBER_LIMIT:
            raise Invalid(f"{path.name} has more than {_MEMBER_LIMIT} members; that is not an OVA.")
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise Invalid(f"{path.name} has a member named {member.name!r}, which points outside of the archive.")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            kind = "a sparse file" if member.issparse() else "a link or a special file"
            raise Invalid(f"{path.name}: the member {name!r} is {kind}; an OVA has plain files only. Export it again.")
        if name in found:
            raise Invalid(f"{path.name} has two members named {name!r}; it is not clear which one is meant.")
        if member.size < 0 or member.offset_data + member.size > size:
            missing = member.offset_data + member.size - size
            raise Invalid(f"{path.name} is truncated: {missing} bytes of {name!r} are missing. Copy it again.")
        found[name] = Window(path=path, offset=member.offset_data, length=member.size)
    return found
