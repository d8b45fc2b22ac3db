# SPDX-License-Identifier: Apache-2.0
"""Looks at image files before QEMU does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coriolis.dataplane.errors import ToolMissing
from coriolis.dataplane.types import DiskFormat


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """A disk image that is safe to open. `size`: virtual size in bytes; `files`: all files that it needs, itself first."""

    path: Path
    format: DiskFormat
    size: int
    files: tuple[Path, ...]
    subformat: str = ""


def inspect_image(
    path: Path,
    *,
    format: DiskFormat | None = None,
    folder: Path | None = None,
    offset: int = 0,
    length: int | None = None,
) -> ImageInfo:
    """Finds out what `path`, or the window of it at `offset`, is, without running QEMU.

    Raises `UnsafeImage` or `InvalidImage`. An image in a window may not refer to any other file.
    """
    raise ToolMissing("the copy engine is not built")
