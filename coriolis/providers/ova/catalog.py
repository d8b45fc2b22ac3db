# SPDX-License-Identifier: Apache-2.0
"""What there is at a path: OVA files, OVF descriptors, and disk images that belong to neither."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coriolis.dataplane import DiskFormat
from coriolis.providers.api import Invalid, Unauthorized
from coriolis.providers.ova.window import examine, unreadable

_DEPTH = 3  # folders below the given one: an export tool makes one folder per machine
_FILE_LIMIT = 20_000

IMAGE_FORMATS: dict[str, DiskFormat | None] = {
    ".vmdk": DiskFormat.VMDK,
    ".vhd": DiskFormat.VHD,
    ".vpc": DiskFormat.VHD,
    ".vhdx": DiskFormat.VHDX,
    ".qcow2": DiskFormat.QCOW2,
    ".raw": DiskFormat.RAW,
    ".img": None,  # raw or qcow2: tools differ, the content tells
}

ROOTS_VARIABLE = "CORIOLIS_OVA_ROOTS"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file that holds instances. ``id``: its path relative to the connection's folder, with slashes."""

    id: str
    path: Path
    kind: str  # ova, ovf or image


def open_root(words: str, allowed: str | None) -> Path:
    """The connection's path, resolved. ``allowed``: folders, separated by colons; None: no limit.

    :raises Invalid: relative, missing, or not below an allowed folder. :raises Unauthorized: not readable
    """
    given = Path(words)
    if not given.is_absolute() or "\0" in words:
        raise Invalid(f"path: {words!r} is not an absolute path.")
    root = Path(os.path.realpath(given))
    if allowed is not None:
        folders = [Path(os.path.realpath(f)) for f in allowed.split(os.pathsep) if f]
        if not any(root.is_relative_to(folder) for folder in folders):
            raise Invalid(f"path: {given} is not in a folder that the operator of this worker has opened for imports.")
    try:
        root.stat()
    except OSError as error:
        raise unreadable(given, error) from error
    rights = os.R_OK | (os.X_OK if root.is_dir() else 0)
    if not os.access(root, rights):
        raise Unauthorized(f"The worker may not read {given}. Give its user the right to read it.")
    return root


def items(root: Path) -> list[Item]:
    """All items, ordered by id. One that is a single file is its own only item.

    :raises Invalid: a single file of a kind that is not known
    """
    if not root.is_dir():
        examine(root)
        kind = _kind(root)
        if kind is None:
            known = ", ".join([".ova", ".ovf", *IMAGE_FORMATS])
            raise Invalid(f"path: {root.name} is of no known kind. Known are {known}.")
        return [Item(id=root.name, path=root, kind=kind)]
    found = []
    for path in _files(root):
        kind = _kind(path)
        if kind is not None:
            found.append(Item(id=str(PurePosixPath(path.relative_to(root))), path=path, kind=kind))
    return sorted(found, key=lambda item: item.id)


def _kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in (".ova", ".ovf"):
        return suffix[1:]
    return "image" if suffix in IMAGE_FORMATS else None


def _files(root: Path) -> Iterator[Path]:
    """Regular files; links to elsewhere and hidden names are left out."""
    seen = 0
    for folder, folders, files in os.walk(root, followlinks=False):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < _DEPTH else []
        for name in files:
            seen += 1
            if seen > _FILE_LIMIT:
                raise Invalid(f"path: {root} holds more than {_FILE_LIMIT} files. Give a folder further down.")
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and path.resolve().is_relative_to(root):
                yield path
