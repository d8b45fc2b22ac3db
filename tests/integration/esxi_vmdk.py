# SPDX-License-Identifier: Apache-2.0
"""Writes what ESXi writes and qemu-img does not: vmfsSparse (COWD) and seSparse deltas with their descriptors."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

SECTOR = 512
GRAIN = 8 * SECTOR  #: of seSparse; we take the same for COWD


def descriptor(
    path: Path, kind: str, line: str, sectors: int, *, cid: str, parent: tuple[str, str] | None = None
) -> Path:
    """``line``: type of the extent and name of its file. ``parent``: its identifier and its name."""
    text = ["# Disk DescriptorFile", "version=1", f"CID={cid}", f"parentCID={parent[0] if parent else 'ffffffff'}"]
    text += [f'createType="{kind}"'] + ([f'parentFileNameHint="{parent[1]}"'] if parent else [])
    text += ["# Extent description", f"RW {sectors} {line}"]
    path.write_text("\n".join(text) + "\n")
    return path


def cowd(path: Path, sectors: int, grains: Mapping[int, bytes]) -> Path:
    """A vmfsSparse extent that holds ``grains``, by their number."""
    tables = -(-sectors * SECTOR // (GRAIN * 4096))
    directory_at, free = 4, 4 + -(-tables * 4 // SECTOR)
    directory = [0] * tables
    entries: dict[int, list[int]] = {}
    for number in sorted({n // 4096 for n in grains}):
        directory[number], free = free, free + 32
        entries[number] = [0] * 4096
    out: dict[int, bytes] = {}
    for number, data in grains.items():
        assert len(data) == GRAIN
        entries[number // 4096][number % 4096] = free
        out[free] = data
        free += 8
    out[0] = struct.pack("<4s7I", b"COWD", 1, 3, sectors, 8, directory_at, tables, free)
    out[directory_at] = struct.pack(f"<{tables}I", *directory)
    for number, table in entries.items():
        out[directory[number]] = struct.pack("<4096I", *table)
    return _place(path, out)


def se_sparse(path: Path, sectors: int, grains: Mapping[int, bytes | None]) -> Path:
    """A seSparse extent that holds ``grains``; None is a grain that was unmapped."""
    tables = -(-sectors * SECTOR // (GRAIN * 4096))
    directory_at, directory_size = 4096, -(-tables * 8 // SECTOR)
    tables_at = directory_at + directory_size
    used = sorted({n // 4096 for n in grains})
    grains_at = tables_at + 64 * len(used)
    entries = {number: [0] * 4096 for number in used}
    out: dict[int, bytes] = {}
    place = 0
    for number, data in grains.items():
        if data is None:
            entries[number // 4096][number % 4096] = 1 << 60
            continue
        entries[number // 4096][number % 4096] = 3 << 60 | (place & 0xFFF) << 48 | place >> 12
        out[grains_at + place * 8] = data
        place += 1
    directory = [1 << 60 | used.index(number) if number in used else 0 for number in range(tables)]
    head = [0xCAFEBABE, 0x2_0000_0001, sectors, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2048, 2048]
    head += [directory_at, directory_size, tables_at, 64 * len(used), 0, 0, 0, 0, grains_at, place * 8]
    out[0] = struct.pack("<26Q", *head)
    out[1] = struct.pack("<4Q", 0xCAFECAFE, 0, 0, 0)
    out[directory_at] = struct.pack(f"<{tables}Q", *directory)
    for number, table in entries.items():
        out[tables_at + 64 * used.index(number)] = struct.pack("<4096Q", *table)
    return _place(path, out)


def _place(path: Path, pieces: Mapping[int, bytes]) -> Path:
    with open(path, "wb") as file:
        for sector, data in pieces.items():
            file.seek(sector * SECTOR)
            file.write(data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0"))
    return path
