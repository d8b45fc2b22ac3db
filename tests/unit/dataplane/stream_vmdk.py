# SPDX-License-Identifier: Apache-2.0
"""Writes stream-optimized VMDKs by hand, whole or broken in chosen ways, as exporters that stream do: grain directory
and footer at the end, every grain and table behind a marker.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

SECTOR = 512
_AT_END = (1 << 64) - 1
_DESCRIPTOR_AT, _DESCRIPTOR_SECTORS = 1, 20
_EOS, _GT, _GD, _FOOTER = range(4)


@dataclasses.dataclass(kw_only=True)
class Stream:
    """``pack`` turns a grain into its compressed form; ``sector`` gives the disk sector that its marker names."""

    grain: int = 64 << 10
    entries: int = 512
    pack: Callable[[bytes], bytes] = zlib.compress
    sector: Callable[[int], int] = int
    length: Callable[[int], int] = int
    promised: int | None = None  # sectors that the descriptor says

    def write(self, path: Path, disk: bytes) -> Path:
        capacity = len(disk) // SECTOR
        self._out = bytearray(self._header(capacity, _AT_END) + self._descriptor(capacity))
        tables: list[int] = []
        span = self.grain * self.entries
        for start in range(0, len(disk), span):
            grains = [self._grain(disk, at) for at in range(start, min(start + span, len(disk)), self.grain)]
            grains += [0] * (self.entries - len(grains))
            tables.append(self._metadata(_GT, struct.pack(f"<{self.entries}I", *grains)) if any(grains) else 0)
        directory = self._metadata(_GD, struct.pack(f"<{len(tables)}I", *tables))
        self._metadata(_FOOTER, self._header(capacity, directory))
        self._metadata(_EOS, b"")
        path.write_bytes(self._out)
        return path

    def _grain(self, disk: bytes, at: int) -> int:
        data = disk[at : at + self.grain]
        if not any(data):
            return 0
        where = len(self._out) // SECTOR
        packed = self.pack(data.ljust(self.grain, b"\0"))
        self._append(struct.pack("<QI", self.sector(at // SECTOR), self.length(len(packed))) + packed)
        return where

    def _metadata(self, kind: int, data: bytes) -> int:
        """Appends a marker and what it announces; the sector of the latter."""
        self._append(struct.pack("<QII", -(-len(data) // SECTOR), 0, kind))
        where = len(self._out) // SECTOR
        self._append(data)
        return where

    def _append(self, data: bytes) -> None:
        self._out += data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")

    def _header(self, capacity: int, directory: int) -> bytes:
        fields = (b"KDMV", 3, 0x30001, capacity, self.grain // SECTOR, _DESCRIPTOR_AT, _DESCRIPTOR_SECTORS)
        more = (self.entries, 0, directory, _DESCRIPTOR_AT + _DESCRIPTOR_SECTORS, 0, b"\n \r\n", 1)
        return struct.pack("<4sIIQQQQIQQQB4sH", *fields, *more).ljust(SECTOR, b"\0")

    def _descriptor(self, capacity: int) -> bytes:
        text = (
            "# Disk DescriptorFile\nversion=1\nCID=7b2c1d0e\nparentCID=ffffffff\n"
            f'createType="streamOptimized"\nRW {self.promised or capacity} SPARSE "disk.vmdk"\n'
        )
        return text.encode().ljust(_DESCRIPTOR_SECTORS * SECTOR, b"\0")


def footer(path: Path, **changes: int) -> None:
    """Changes fields of the footer: ``capacity``, ``grain``, ``entries``, ``directory``, ``compression``."""
    places = {"capacity": (12, "Q"), "grain": (20, "Q"), "entries": (44, "I"), "directory": (56, "Q")}
    places["compression"] = (77, "H")
    data = bytearray(path.read_bytes())
    for name, value in changes.items():
        at, code = places[name]
        struct.pack_into(f"<{code}", data, len(data) - 2 * SECTOR + at, value)
    path.write_bytes(data)


def tables(path: Path) -> list[int]:
    """Offsets, in bytes, of the grain tables."""
    data = path.read_bytes()
    capacity, grain = struct.unpack_from("<QQ", data, len(data) - 2 * SECTOR + 12)
    (entries,) = struct.unpack_from("<I", data, len(data) - 2 * SECTOR + 44)
    (directory,) = struct.unpack_from("<Q", data, len(data) - 2 * SECTOR + 56)
    count = -(-capacity // (grain * entries))
    return [sector * SECTOR for sector in struct.unpack_from(f"<{count}I", data, directory * SECTOR)]


def entry(path: Path, number: int, value: int | None = None, *, table: int = 0) -> int:
    """Reads, or sets, an entry of a grain table."""
    data = bytearray(path.read_bytes())
    at = tables(path)[table] + 4 * number
    old: int = struct.unpack_from("<I", data, at)[0]
    if value is not None:
        struct.pack_into("<I", data, at, value)
        path.write_bytes(data)
    return old
