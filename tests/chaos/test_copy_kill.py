# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a copying process at random offsets: what a kill costs is bounded, and the bytes are right.

``CORIOLIS_KILL_ROUNDS``: how many (100); ``CORIOLIS_KILL_FIRST``: the first seed, to run one again. `make integration`
runs a few of them through `test_a_few_rounds`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from coriolis.dataplane import DiskFormat, FileSink, ImageSource, copy_disk, digest_disk, verify_disk
from tests.integration.dataplane_disks import MIB, MISSING, same
from tests.integration.test_dataplane_kill import REDO_LIMIT, Copy

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

SIZE = 256 * MIB
ROUNDS = int(os.environ.get("CORIOLIS_KILL_ROUNDS", "100"))
FIRST = int(os.environ.get("CORIOLIS_KILL_FIRST", "1"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    with open(path, "wb") as file:
        rng = random.Random(3)
        for _ in range(SIZE // MIB):
            file.write(rng.randbytes(MIB))
    return path


@pytest.fixture(scope="module")
def digest(source: Path) -> str | None:
    return digest_disk(ImageSource(path=source)).digest


def one_round(source: Path, digest: str | None, folder: Path, seed: int) -> None:
    """A copy that is killed once, twice or three times, at random places, and then ends."""
    folder.mkdir()
    rng = random.Random(seed)
    format = rng.choice((DiskFormat.RAW, DiskFormat.QCOW2))
    read = written = kills = 0
    for epoch in range(1, rng.randrange(2, 5)):
        left = SIZE - read + kills * REDO_LIMIT
        copy = Copy(source, folder, format, epoch)
        kills += copy.kill_at(rng.randrange(min(left, SIZE)))
        counts = copy.counts()
        read, written = read + counts[0], written + counts[1]
    sink = FileSink(path=folder / "out", format=format)
    result = copy_disk(ImageSource(path=source, identity="snap-1"), sink, journal=folder / "journal", epoch=9)
    read, written = read + result.bytes_read, written + result.bytes_written
    assert result.digest == digest
    assert verify_disk(sink, journal=folder / "journal").digest == digest
    assert same(source, sink.path, formats=("raw", format.value))
    assert read - SIZE <= kills * REDO_LIMIT, "read again"
    assert written - SIZE <= kills * REDO_LIMIT, "written again"
    sink.path.unlink()


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_kill_at_a_random_offset(source: Path, digest: str | None, tmp_path: Path, seed: int) -> None:
    one_round(source, digest, tmp_path / str(seed), seed)


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1001, 1006))
def test_a_few_rounds(source: Path, digest: str | None, tmp_path: Path, seed: int) -> None:
    one_round(source, digest, tmp_path / str(seed), seed)
