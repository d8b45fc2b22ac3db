# SPDX-License-Identifier: Apache-2.0
"""Linux swap: everything behind its header page. What was hibernated into it has another signature and is kept."""

from __future__ import annotations

from collections.abc import Iterator

from coriolis.dataplane.filesystem.volume import Range, Unusable, Volume

_SIGNATURE = b"SWAPSPACE2"  # the last ten bytes of the first page
_PAGES = (4096, 8192, 16384, 32768, 65536)


def matches(volume: Volume) -> bool:
    return _page(volume) is not None


def free(volume: Volume) -> Iterator[Range]:
    page = _page(volume)
    assert page is not None
    version, last = volume.unpack("<II", 1024)
    length = (last + 1) * page
    if version != 1 or length > volume.size:
        raise Unusable("its header is damaged, or of another byte order")
    yield page, length - page


def _page(volume: Volume) -> int | None:
    return next((p for p in _PAGES if volume.size >= 2 * p and volume.read(p - 10, 10) == _SIGNATURE), None)
