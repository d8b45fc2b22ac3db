# SPDX-License-Identifier: Apache-2.0
"""Finds what of a disk no guest will miss: free space of ext2/3/4, XFS and NTFS, contents of swap and page files.

Only allocation metadata is read, and only believed when the file system says that it was unmounted cleanly: with
changes waiting in its log, what is free on disk may be in use. A file system that is dirty, unknown or odd is copied
whole, and the report says why. Nothing here writes, and no foreign data is executed or mounted.
"""

from __future__ import annotations

from coriolis.dataplane.filesystem.live import FreeMap, find_free

__all__ = ["FreeMap", "find_free"]
