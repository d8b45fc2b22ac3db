# SPDX-License-Identifier: Apache-2.0
"""What a source knows of changes and of holes reaches the copy on another worker: both sides of a link, as workers make
them, and somebody who counts what passes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import (
    CopyOptions,
    CopyResult,
    Extent,
    FileSink,
    ImageSource,
    Kind,
    changed_blocks,
    copy_disk,
    open_source,
)
from coriolis.dataplane.link import LinkFailed, reach
from coriolis.dataplane.lists import MOST_BYTES
from coriolis.providers.contract.blocks import check_same
from tests.integration.dataplane_disks import MIB, MISSING
from tests.integration.link_sides import DESTINATION, SOURCE, side
from tests.integration.link_workers import Sites

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

SIZE = 40 * MIB
USED = 8 * MIB


class Disk:
    """Its last 32 MiB are zeros, but to its server they are data, as holes in a clone are to librbd."""

    def __init__(self, path: Path) -> None:
        self.file = path / "disk.raw"
        self.file.write_bytes(random.Random(3).randbytes(USED) + bytes(SIZE - USED))
        self.sink, self._journal = FileSink(path=path / "copy.raw"), path / "journal"
        self.allocation = (Extent(0, USED, Kind.DATA), Extent(USED, SIZE - USED, Kind.ZERO))

    def write(self, offset: int, data: bytes) -> None:
        with open(self.file, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def copy(self, sites: Sites, **known: Any) -> tuple[CopyResult, int]:
        """Over a link, and how many bytes passed it."""
        passed = bytearray()
        with (
            open_source(ImageSource(path=self.file)) as export,
            sites.linked(replace(export, **{"identity": None, **known}), passed) as (source, _),
        ):
            done = copy_disk(source, self.sink, journal=self._journal, epoch=1, options=CopyOptions(connections=2))
        check_same(self.file.read_bytes(), self.sink.path.read_bytes())
        return done, len(passed)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_holes_that_only_the_source_knows_of_do_not_pass_a_link(disk: Disk, tmp_path: Path) -> None:
    done, passed = disk.copy(Sites(tmp_path), identity="one", allocation=disk.allocation)
    assert (done.mode, done.bytes_read, done.bytes_skipped) == ("full", USED, SIZE - USED)
    assert USED < passed < USED + MIB


def test_the_second_round_over_a_link_reads_and_moves_the_changes_only(disk: Disk, tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    disk.copy(sites, identity="one", allocation=disk.allocation)
    wrote = [(3 * MIB + 4096, b"a" * 65536), (20 * MIB, random.Random(4).randbytes(MIB))]
    for at, data in wrote:
        disk.write(at, data)
    changes = tuple(changed_blocks([(at, len(data)) for at, data in wrote], SIZE))
    done, passed = disk.copy(sites, identity="two", base_identity="one", changes=changes)
    changed = MIB + 65536
    assert (done.mode, done.bytes_read, done.bytes_written) == ("dirty", changed, changed)
    assert changed < passed < changed + MIB


@pytest.mark.parametrize("release", ["older", "newer"])
def test_between_releases_all_is_read_and_what_differs_is_written(disk: Disk, tmp_path: Path, release: Any) -> None:
    sites = Sites(tmp_path)
    disk.copy(sites, identity="one", allocation=disk.allocation)
    disk.write(20 * MIB, b"b" * MIB)
    changes = tuple(changed_blocks([(20 * MIB, MIB)], SIZE))
    sites.release = release
    done, passed = disk.copy(sites, identity="two", base_identity="one", changes=changes)
    assert (done.mode, done.bytes_read, done.bytes_written) == ("compare", SIZE, MIB)
    assert passed > SIZE


def test_a_source_without_lists_tells_none(disk: Disk, tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    with open_source(ImageSource(path=disk.file)) as export, sites.linked(export, bytearray()) as (source, found):
        assert (found.lists, source.changes, source.allocation) == (0, None, None)
        mine = side(tmp_path / "certificates", DESTINATION)
        with reach((found.host, found.port), name=SOURCE, credentials=mine) as here:
            with pytest.raises(LinkFailed, match="nothing is told beside the export"):
                here.beside(MOST_BYTES)


def test_lists_are_told_to_the_peer_only_and_no_longer_than_it_hears(disk: Disk, tmp_path: Path) -> None:
    sites = Sites(tmp_path)
    with (
        open_source(ImageSource(path=disk.file)) as export,
        sites.linked(replace(export, allocation=disk.allocation), bytearray()) as (source, found),
    ):
        assert source.allocation == disk.allocation
        mine = side(tmp_path / "certificates", DESTINATION)
        with reach((found.host, found.port), name=SOURCE, credentials=mine) as here:
            with pytest.raises(LinkFailed, match="and 10 are heard"):
                here.beside(10)
        stranger = side(tmp_path / "certificates", "stranger.example")
        with pytest.raises(LinkFailed, match="may not use this export"):
            with reach((found.host, found.port), name=SOURCE, credentials=stranger):
                pass
