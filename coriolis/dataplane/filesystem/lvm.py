# SPDX-License-Identifier: Apache-2.0
"""Linear logical volumes of LVM2 whose extents are all on one physical volume (its on-disk format, text metadata).

A label in one of the first four sectors leads to a header, that to areas of metadata: text in a ring buffer that names
for each logical volume the segments that it is made of. A group with snapshots, or a volume that is striped, thin,
mirrored or spread over several disks, is left alone: what is free in it may be somebody else's.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from coriolis.dataplane.filesystem.volume import Range, Unusable, Volume

_LABEL, _TYPE = b"LABELONE", b"LVM2 001"
_AREA_MAGIC = b" LVM2 x[5A%r0N*>"
_SECTOR = 512
_AREA_HEADER = 512
_MOST_TEXT = 16 << 20
_TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.)*"|[{}\[\]=,]|[^\s{}\[\]=,"#]+')
_ALONE = frozenset({"striped", "linear"})
_DEPTH = 8


class Logical(Volume):
    """A logical volume as one `Volume`. ``pieces``: (offset in it, offset in the physical volume, length), in order."""

    def __init__(self, below: Volume, pieces: list[tuple[int, int, int]]) -> None:
        super().__init__(self._scattered, 0, pieces[-1][0] + pieces[-1][2])
        self._below, self._pieces = below, pieces

    def place(self, offset: int, length: int) -> Iterator[Range]:
        for start, at, size in self._pieces:
            low, high = max(start, offset), min(start + size, offset + length)
            if low < high:
                yield from self._below.place(at + low - start, high - low)

    def _scattered(self, offset: int, length: int) -> bytes:
        parts = []
        for start, at, size in self._pieces:
            low, high = max(start, offset), min(start + size, offset + length)
            if low < high:
                parts.append(self._below.read(at + low - start, high - low))
        return b"".join(parts)


def matches(volume: Volume) -> bool:
    return _label(volume) is not None


def volumes(volume: Volume) -> list[Logical]:
    """The logical volumes that are wholly and simply on this physical volume. Raises `Unusable`."""
    at = _label(volume)
    assert at is not None
    uuid, areas = _header(volume, at)
    try:
        group = next(iter(_parse(_text(volume, areas)).values()))
        extent = int(group["extent_size"]) * _SECTOR
        mine = [(n, pv) for n, pv in group["physical_volumes"].items() if pv["id"].replace("-", "") == uuid]
        logical: dict[str, Any] = group.get("logical_volumes", {})
        ((name, physical),) = mine
        start = int(physical["pe_start"]) * _SECTOR
        if any(_kind(segment) == "snapshot" for lv in logical.values() for segment in _segments(lv)):
            raise Unusable("its group has snapshots")
        found = [_pieces(lv, name, start, extent) for lv in logical.values()]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise Unusable(f"its metadata is not understood ({error!r})") from None
    return [Logical(volume, pieces) for pieces in found if pieces]


def _label(volume: Volume) -> int | None:
    if volume.size < 1 << 20:
        return None
    head = volume.read(0, 4 * _SECTOR)
    for at in range(0, len(head), _SECTOR):
        if head[at : at + 8] == _LABEL and head[at + 24 : at + 32] == _TYPE:
            return at
    return None


def _header(volume: Volume, at: int) -> tuple[str, list[Range]]:
    """The physical volume's id, and where its metadata is."""
    (offset,) = struct.unpack_from("<I", volume.read(at, 32), 20)
    raw = volume.read(at, _SECTOR)
    uuid = raw[offset : offset + 32].decode("ascii", "replace")
    position = offset + 40
    lists: list[list[Range]] = []
    while len(lists) < 2:
        areas: list[Range] = []
        while True:
            start, length = struct.unpack_from("<QQ", raw, position)
            position += 16
            if not start:
                break
            areas.append((start, length))
        lists.append(areas)
    return uuid, lists[1]


def _text(volume: Volume, areas: list[Range]) -> str:
    """The newest metadata of the first area that has it whole."""
    for start, _ in areas:
        raw = volume.read(start, _AREA_HEADER)
        if raw[4:20] != _AREA_MAGIC:
            continue
        _, base, size = struct.unpack_from("<IQQ", raw, 20)
        offset, length, checksum = struct.unpack_from("<QQI", raw, 40)
        if not offset or not 0 < length <= min(size, _MOST_TEXT):
            continue
        head = min(length, size - offset)
        data = volume.read(base + offset, head)
        if head < length:  # round the end of the ring, behind its header
            data += volume.read(base + _AREA_HEADER, length - head)
        if crc(data) == checksum:
            return data.rstrip(b"\0").decode("utf-8", "replace")
    raise Unusable("it has no metadata of its group")


def crc(data: bytes) -> int:
    """CRC-32 as LVM computes it: from a start of its own, and not inverted."""
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _segments(logical: dict[str, Any]) -> list[dict[str, Any]]:
    return [logical[f"segment{n}"] for n in range(1, int(logical["segment_count"]) + 1)]


def _kind(segment: dict[str, Any]) -> str:
    return str(segment["type"]).split("+")[0]


def _pieces(logical: dict[str, Any], name: str, start: int, extent: int) -> list[tuple[int, int, int]]:
    """Where a logical volume lies; nothing unless it is linear and wholly on the physical volume ``name``."""
    pieces: list[tuple[int, int, int]] = []
    position = 0
    for segment in sorted(_segments(logical), key=lambda segment: int(segment["start_extent"])):
        if _kind(segment) not in _ALONE or len(segment["stripes"]) != 2 or segment["stripes"][0] != name:
            return []
        length = int(segment["extent_count"]) * extent
        if int(segment["start_extent"]) * extent != position or length <= 0:
            return []
        pieces.append((position, start + int(segment["stripes"][1]) * extent, length))
        position += length
    return pieces


def _parse(text: str) -> dict[str, Any]:
    """The text as nested dictionaries, without what is at its top but sections."""
    tokens = (t for t in _TOKEN.findall(text) if not t.startswith("#"))
    return {name: value for name, value in _section(tokens, 0).items() if isinstance(value, dict)}


def _section(tokens: Iterator[str], depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    found: dict[str, Any] = {}
    for name in tokens:
        if name == "}":
            break
        sign = next(tokens)
        if sign == "{":
            found[name] = _section(tokens, depth + 1)
        elif sign == "=":
            value = next(tokens)
            found[name] = _list(tokens) if value == "[" else _plain(value)
        else:
            raise ValueError(f"{name} {sign}")
    return found


def _list(tokens: Iterator[str]) -> list[str]:
    found = []
    for token in tokens:
        if token == "]":
            break
        if token != ",":
            found.append(_plain(token))
    return found


def _plain(token: str) -> str:
    return token[1:-1] if token.startswith('"') else token
