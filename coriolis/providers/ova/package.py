# SPDX-License-Identifier: Apache-2.0
"""An OVF package, as one OVA file or as a descriptor with files beside it: finds what the descriptor refers to."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coriolis.providers.api import Invalid
from coriolis.providers.ova import archive, ovf
from coriolis.providers.ova.window import Window, examine

_CHUNK_DIGITS = 9
_NAME_LIMIT = 240  # bytes; a file name has 255 at most, and chunks have a suffix

Lookup = Callable[[str], Window | None]


@dataclass(frozen=True, kw_only=True)
class Package:
    """``descriptor``: the .ovf's name in the package; ``find`` gives the bytes of a name in the package, or None."""

    path: Path
    descriptor: str
    envelope: ovf.Envelope
    find: Lookup
    archived: bool

    def locate(self, href: str) -> Window:
        """The bytes of a file that the descriptor or the manifest names.

        :raises Invalid: it points outside of the package, to another host, or to nothing
        """
        found = self.find(href)
        if found is None:
            found = self.find(urllib.parse.unquote(href))
        if found is None:
            raise Invalid(f"{self.path.name} refers to {href!r}, which is not there. Copy or export the package again.")
        return found

    def pieces(self, file: ovf.File) -> tuple[Window, ...]:
        """The one window of a file, or the many of one that was cut into chunks (DSP0243, 7.1).

        :raises Invalid: a piece is missing, or the size is not the announced one
        """
        if file.chunk_size is None:
            windows = [self.locate(file.href)]
        else:
            windows = self._chunks(file)
        held = sum(window.length for window in windows)
        if file.size is not None and held != file.size:
            raise Invalid(
                f"{self.path.name}: {file.href!r} has {held} bytes, its descriptor says {file.size}."
                " The package is truncated or damaged: copy or export it again."
            )
        return tuple(windows)

    def _chunks(self, file: ovf.File) -> list[Window]:
        windows: list[Window] = []
        while True:
            name = f"{file.href}.{len(windows):0{_CHUNK_DIGITS}d}"
            found = self.find(name) or self.find(urllib.parse.unquote(name))
            if found is None:
                break
            if windows and windows[-1].length != file.chunk_size:
                raise Invalid(f"{self.path.name}: a chunk of {file.href!r} has not {file.chunk_size} bytes.")
            windows.append(found)
        if not windows:
            raise Invalid(f"{self.path.name}: the first chunk of {file.href!r} is not there. Copy the package again.")
        return windows


def open_ova(path: Path) -> Package:
    """:raises Invalid: not an OVA, or one that contradicts itself"""
    members = archive.index(path)
    descriptors = [name for name in members if name.lower().endswith(".ovf")]
    if len(descriptors) != 1:
        raise Invalid(f"{path.name} has {len(descriptors)} .ovf descriptors; an OVA has one. Export it again.")
    data = members[descriptors[0]].read(ovf.DESCRIPTOR_LIMIT)
    folder = PurePosixPath(descriptors[0]).parent

    def find(name: str) -> Window | None:
        _refuse_escape(path, name)
        return members.get(str(folder / name))

    return Package(path=path, descriptor=descriptors[0], envelope=_parse(path, data), find=find, archived=True)


def open_ovf(path: Path) -> Package:
    """:raises Invalid: not an OVF, or one that contradicts itself"""
    data = Window(path=path, length=examine(path).st_size).read(ovf.DESCRIPTOR_LIMIT)
    folder = path.parent.resolve()

    def find(name: str) -> Window | None:
        _refuse_escape(path, name)
        # Symbolic links are followed, as long as they stay in the folder.
        target = Path(folder, name).resolve()
        if not target.is_relative_to(folder):
            raise Invalid(f"{path.name} refers to {name!r}, which is a link to outside of its folder: not followed.")
        return Window(path=target, length=examine(target).st_size) if target.exists() else None

    return Package(path=path, descriptor=path.name, envelope=_parse(path, data), find=find, archived=False)


def _parse(path: Path, data: bytes) -> ovf.Envelope:
    try:
        return ovf.parse(data)
    except Invalid as error:
        raise Invalid(f"{path.name}: {error.message}") from error


def _refuse_escape(path: Path, name: str) -> None:
    if "://" in name:
        raise Invalid(f"{path.name} refers to {name!r}. Files of other hosts are not fetched: put it into the package.")
    pure = PurePosixPath(name)
    if not name or "\0" in name or len(name.encode("utf-8", "replace")) > _NAME_LIMIT:
        raise Invalid(f"{path.name} refers to a file by a name that no file can have: {name[:60]!r}.")
    if pure.is_absolute() or ".." in pure.parts:
        raise Invalid(f"{path.name} refers to {name!r}, which points outside of the package: not opened.")
