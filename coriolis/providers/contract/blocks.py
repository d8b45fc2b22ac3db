# SPDX-License-Identifier: Apache-2.0
"""Reads and writes what a provider opened, piece by piece, through libnbd and nothing of the copy engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import nbd

from coriolis.dataplane import Kind, Sink, Source, open_sink, open_source

_STEP = 1 << 20
_WINDOW = 4 << 20
_BITMAP = "qemu:dirty-bitmap:"


@contextlib.contextmanager
def attached(uri: str, *contexts: str) -> Iterator[Any]:
    """A connected libnbd handle."""
    handle = nbd.NBD()
    for name in contexts:
        handle.add_meta_context(name)
    handle.connect_uri(uri)
    try:
        yield handle
    finally:
        handle.shutdown()


def read_source(source: Source, size: int) -> bytes:
    """All ``size`` bytes."""
    with open_source(source) as export, attached(export.uri) as handle:
        return _read(handle, size)


def read_pieces(source: Source, pieces: list[tuple[int, int]]) -> list[bytes]:
    """The bytes at each (offset, length)."""
    with open_source(source) as export, attached(export.uri) as handle:
        return [bytes(handle.pread(length, offset)) for offset, length in pieces]


def changed_extents(source: Source, size: int) -> list[tuple[int, int]]:
    """(offset, length) of what the source's bitmap, or list of changes, marks as changed."""
    with open_source(source) as export:
        if export.changes is not None:
            return [(each.offset, each.length) for each in export.changes if each.kind is not Kind.UNCHANGED]
        assert export.bitmap is not None, "an increment has to name its bitmap, or list its changes"
        name = _BITMAP + export.bitmap
        with attached(export.uri, name) as handle:
            assert handle.can_meta_context(name), f"the export has no bitmap {export.bitmap}"
            found: list[tuple[int, int]] = []
            position = 0

            def extent(context: str, offset: int, entries: list[int], error: Any) -> int:
                nonlocal position
                for length, flags in zip(entries[::2], entries[1::2], strict=True):
                    if context == name and flags & 1:
                        found.append((position, min(length, size - position)))
                    position += length
                return 0

            while position < size:
                handle.block_status(size - position, position, extent)
            return found


def write_sink(sink: Sink, pieces: list[tuple[int, bytes]]) -> None:
    """Writes each (offset, data), and flushes."""
    with open_sink(sink) as export, attached(export.uri) as handle:
        for offset, data in pieces:
            handle.pwrite(data, offset)
        if handle.can_flush():
            handle.flush()


def read_windows(sink: Sink, size: int) -> list[tuple[int, bytes]]:
    """(offset, bytes): all of a small volume; of a large one its beginning, its middle and its end."""
    with open_sink(sink) as export, attached(export.uri) as handle:
        assert handle.get_size() >= size, f"the volume has {handle.get_size()} bytes, {size} were asked for"
        return [(offset, bytes(handle.pread(length, offset))) for offset, length in windows(size)]


def windows(size: int) -> list[tuple[int, int]]:
    """(offset, length) of what is looked at in a volume of ``size`` bytes."""
    if size <= 3 * _WINDOW:
        return [(0, size)] if size else []
    return [(0, _WINDOW), ((size - _WINDOW) // 2, _WINDOW), (size - _WINDOW, _WINDOW)]


def patched(found: list[tuple[int, bytes]], pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """What windows hold after each (offset, data) was written; every piece lies in one window."""
    result = []
    for offset, data in found:
        changed = bytearray(data)
        for at, piece in pieces:
            if offset <= at and at + len(piece) <= offset + len(data):
                changed[at - offset : at - offset + len(piece)] = piece
        result.append((offset, bytes(changed)))
    return result


def _read(handle: Any, size: int) -> bytes:
    return b"".join(bytes(handle.pread(min(_STEP, size - at), at)) for at in range(0, size, _STEP))


def check_same(found: bytes, wanted: bytes) -> None:
    """As ``assert found == wanted``, but says where they differ: showing megabytes of difference takes minutes.

    :raises AssertionError: they differ
    """
    if found == wanted:
        return
    pairs = zip(found, wanted, strict=False)
    offset = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(found), len(wanted)))
    raise AssertionError(f"{len(found)} bytes differ from the {len(wanted)} expected ones, first at offset {offset}")
