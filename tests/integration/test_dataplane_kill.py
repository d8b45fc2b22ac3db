# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a real copying process, again and again: the digest is right and little is done twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coriolis.dataplane import (
    CopyOptions,
    DiskFormat,
    FileSink,
    ImageSource,
    JournalBusy,
    copy_disk,
    digest_disk,
    verify_disk,
)
from coriolis.dataplane.server import private_folder
from tests.integration import dataplane_child
from tests.integration.dataplane_disks import MIB, MISSING, convert, make_raw, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]

SIZE = 320 * MIB
REDO_LIMIT = 64 * MIB


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    with open(path, "wb") as file:
        rng = random.Random(3)
        for _ in range(SIZE // MIB):
            file.write(rng.randbytes(MIB))
    os.truncate(path, SIZE + 200 * MIB)
    return path


class Copy:
    """One attempt in a process of its own."""

    def __init__(
        self, source: Path, folder: Path, format: DiskFormat, epoch: int, identity: str = "snap-1", stall: float = 120
    ) -> None:
        self.counter = folder / f"counter-{epoch}"
        command = [sys.executable, dataplane_child.__file__, str(source), str(folder / "out"), format.value]
        command += [str(folder / "journal"), str(epoch), identity, str(self.counter), str(stall)]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)})

    def counts(self) -> tuple[int, int]:
        raw = self.counter.read_bytes() if self.counter.exists() else b""
        return dataplane_child.COUNTS.unpack(raw) if len(raw) == dataplane_child.COUNTS.size else (0, 0)

    def kill_at(self, read: int) -> bool:
        """Kills the process once it has read so much; False when it ended before."""
        while self.process.poll() is None and self.counts()[0] < read:
            time.sleep(0.001)
        ended = self.process.poll() is not None
        self.process.kill()
        self.process.wait()
        return not ended


@pytest.mark.timeout(300)
@pytest.mark.parametrize("format", [DiskFormat.RAW, DiskFormat.QCOW2])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_copy_goes_on_and_redoes_little(source: Path, tmp_path: Path, format: DiskFormat, seed: int) -> None:
    rng = random.Random(seed)
    before, epoch = 0, 0
    for epoch in range(1, 4):
        copy = Copy(source, tmp_path, format, epoch)
        assert copy.kill_at(rng.randrange(MIB, 90 * MIB))
        before += copy.counts()[0]
    last = Copy(source, tmp_path, format, epoch + 1)
    assert last.process.wait() == 0
    read = before + last.counts()[0]
    assert read >= SIZE
    assert read - SIZE <= 3 * REDO_LIMIT
    assert last.counts()[0] <= SIZE - before + 3 * REDO_LIMIT
    sink = FileSink(path=tmp_path / "out", format=format)
    assert same(source, sink.path, formats=("raw", format.value))
    assert verify_disk(sink, journal=tmp_path / "journal").digest == digest_disk(ImageSource(path=source)).digest


@pytest.mark.timeout(300)
def test_one_kill_costs_at_most_64_mib(source: Path, tmp_path: Path) -> None:
    copy = Copy(source, tmp_path, DiskFormat.RAW, 1)
    assert copy.kill_at(180 * MIB)
    sink = FileSink(path=tmp_path / "out")
    result = copy_disk(ImageSource(path=source, identity="snap-1"), sink, journal=tmp_path / "journal", epoch=2)
    assert result.bytes_resumed > 0
    assert copy.counts()[0] + result.bytes_read - SIZE <= REDO_LIMIT


@pytest.mark.timeout(300)
def test_killed_in_an_increment(source: Path, tmp_path: Path) -> None:
    changed = tmp_path / "source.raw"
    subprocess.run(["cp", "--sparse=always", str(source), str(changed)], check=True)
    sink = FileSink(path=tmp_path / "out")
    copy_disk(ImageSource(path=changed, identity="snap-1"), sink, journal=tmp_path / "journal", epoch=1)
    with open(changed, "r+b") as file:
        for offset in range(0, SIZE, 10 * MIB):
            file.seek(offset + 1000)
            file.write(os.urandom(2 * MIB))
    copy = Copy(changed, tmp_path, DiskFormat.RAW, 2, "snap-2")
    assert copy.kill_at(150 * MIB)
    result = copy_disk(ImageSource(path=changed, identity="snap-2"), sink, journal=tmp_path / "journal", epoch=3)
    assert result.mode == "compare"
    assert result.bytes_resumed > 0
    assert same(changed, sink.path)
    assert result.digest == digest_disk(ImageSource(path=changed)).digest


@pytest.mark.timeout(300)
def test_servers_die_with_the_process_that_started_them(source: Path, tmp_path: Path) -> None:
    image = convert(source, tmp_path / "source.qcow2", "qcow2")  # a raw one would be read without a server
    copy = Copy(image, tmp_path, DiskFormat.QCOW2, 1)
    while copy.counts()[0] < 20 * MIB:
        time.sleep(0.001)
    children = subprocess.run(
        ["pgrep", "-P", str(copy.process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(children) == 1
    copy.process.kill()
    copy.process.wait()
    deadline = time.monotonic() + 10
    while any(_alive(int(pid)) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_alive(int(pid)) for pid in children)


def test_what_a_killed_process_left_in_tmp_is_swept_by_the_next(tmp_path: Path) -> None:
    with private_folder() as held:
        with private_folder() as left:
            os.utime(left / "held", (0, 0))
            os.utime(held / "held", (0, 0))
            stale = left.with_name(left.name + "-stale")
            shutil.copytree(left, stale)
            os.utime(stale / "held", (0, 0))
            with private_folder():
                assert not stale.exists()
                assert left.exists()
                assert held.exists()
    assert not held.exists()


@pytest.mark.timeout(300)
def test_a_frozen_zombie_keeps_its_successor_out_and_stops_when_it_wakes(source: Path, tmp_path: Path) -> None:
    zombie = Copy(source, tmp_path, DiskFormat.RAW, 1)
    while zombie.counts()[0] < 20 * MIB:
        time.sleep(0.001)
    zombie.process.send_signal(signal.SIGSTOP)
    try:
        sink, journal = FileSink(path=tmp_path / "out"), tmp_path / "journal"
        small = make_raw(tmp_path / "other.raw", size=SIZE + 200 * MIB)
        with pytest.raises(JournalBusy):
            _copy_quickly(small, sink, journal)
    finally:
        zombie.process.send_signal(signal.SIGCONT)
    assert zombie.process.wait(60) != 0  # StaleEpoch
    copy_disk(ImageSource(path=source, identity="snap-1"), sink, journal=journal, epoch=2)
    assert same(source, sink.path)


def test_a_copy_that_stood_still_with_its_host_has_not_stalled(source: Path, tmp_path: Path) -> None:
    copy = Copy(source, tmp_path, DiskFormat.RAW, 1, stall=6)
    while copy.counts()[0] < 20 * MIB:
        time.sleep(0.001)
    copy.process.send_signal(signal.SIGSTOP)
    time.sleep(9)
    copy.process.send_signal(signal.SIGCONT)
    assert copy.process.wait() == 0
    assert same(source, tmp_path / "out")


def _copy_quickly(path: Path, sink: FileSink, journal: Path) -> None:
    copy_disk(
        ImageSource(path=path, identity="snap-1"),
        sink,
        journal=journal,
        epoch=2,
        options=CopyOptions(lock_seconds=0.2),
    )


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
