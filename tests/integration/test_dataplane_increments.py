# SPDX-License-Identifier: Apache-2.0
"""Rounds: by dirty bitmap, by comparing digests, and the digest of the whole disk after each."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import (
    CopyResult,
    DiskFormat,
    Extent,
    FileSink,
    ImageSource,
    Kind,
    NbdSink,
    NbdSource,
    SinkError,
    SourceShrank,
    changed_blocks,
    copy_disk,
    digest_disk,
    estimate_disk,
    open_source,
    verify_disk,
)
from tests.integration.dataplane_disks import MIB, MISSING, convert, make_raw, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]


class Guest:
    """A QCOW2 disk with persistent dirty bitmaps, like that of a shut-off VM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = convert(make_raw(folder / "disk.raw"), folder / "disk.qcow2", "qcow2")
        self.sink: FileSink | NbdSink = FileSink(path=folder / "out")
        self.journal = folder / "journal"

    def begin(self, bitmap: str) -> None:
        run("qemu-img", "bitmap", "--add", "-g", "65536", str(self.image), bitmap)

    def write(self, *commands: str) -> None:
        for command in commands:
            run("qemu-io", "-f", "qcow2", "-d", "unmap", "-c", command, str(self.image))

    def copy(self, identity: str, bitmap: str | None = None, base: str | None = None) -> CopyResult:
        with self.export(bitmap) as uri:
            source = NbdSource(uri=uri, identity=identity, bitmap=bitmap, base_identity=base)
            return copy_disk(source, self.sink, journal=self.journal, epoch=1)

    def is_copied(self, result: CopyResult) -> bool:
        assert isinstance(self.sink, FileSink)
        equal = same(self.image, self.sink.path, formats=("qcow2", "raw"))
        read_back = verify_disk(self.sink, journal=self.journal).digest
        return equal and result.digest == read_back == digest_disk(ImageSource(path=self.image)).digest

    @contextlib.contextmanager
    def export(self, bitmap: str | None) -> Iterator[str]:
        path = self.folder / "nbd"
        command = ["qemu-nbd", "-r", "-t", "-e", "4", "-f", "qcow2", "-k", str(path)]
        server = subprocess.Popen([*command, *(["-B", bitmap] if bitmap else []), str(self.image)])
        try:
            _await_listener(path)
            yield f"nbd+unix:///?socket={path}"
        finally:
            server.kill()
            server.wait()
            path.unlink(missing_ok=True)


def _await_listener(path: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.01)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_a_bitmap_makes_a_round_as_small_as_the_changes(guest: Guest) -> None:
    guest.begin("b1")
    guest.copy("snap-1")
    guest.write("write -P 0x33 10M 1M", "write -P 0x44 20123k 100k")
    result = guest.copy("snap-2", "b1", "snap-1")
    assert (result.mode, result.round) == ("dirty", 2)
    assert result.bytes_written == MIB + 128 * 1024  # rounded to the bitmap's 64 KiB
    assert result.bytes_read <= 3 * MIB  # the leaves around them
    assert guest.is_copied(result)


def test_nothing_changed(guest: Guest) -> None:
    guest.begin("b1")
    first = guest.copy("snap-1")
    result = guest.copy("snap-2", "b1", "snap-1")
    assert (result.mode, result.bytes_read, result.bytes_written) == ("dirty", 0, 0)
    assert result.digest == first.digest
    assert guest.is_copied(result)


def test_discarded_and_zeroed_ranges_become_zeros_on_the_target(guest: Guest) -> None:
    guest.write("write -P 0x11 12M 4M")
    guest.begin("b1")
    guest.copy("snap-1")
    guest.write("discard 12M 2M", "write -z 14500k 300k")
    result = guest.copy("snap-2", "b1", "snap-1")
    assert result.mode == "dirty"
    assert guest.is_copied(result)


def test_without_a_bitmap_only_what_differs_is_written(guest: Guest) -> None:
    first = guest.copy("snap-1")
    guest.write("write -P 0x33 10M 1M")
    result = guest.copy("snap-2")
    assert (result.mode, result.bytes_written) == ("compare", MIB)
    assert result.bytes_read >= first.bytes_read
    assert guest.is_copied(result)


@pytest.mark.parametrize("base", [None, "snap-0"])
def test_a_bitmap_of_another_base_is_not_believed(guest: Guest, base: str | None) -> None:
    guest.copy("snap-1")
    guest.write("write -P 0x33 10M 1M")
    guest.begin("late")  # does not see the write above
    guest.write("write -P 0x44 20M 1M")
    result = guest.copy("snap-2", "late", base)
    assert result.mode == "compare"
    assert guest.is_copied(result)


def test_without_an_identity_nothing_is_believed(guest: Guest, tmp_path: Path) -> None:
    for _ in range(2):
        with guest.export(None) as uri:
            result = copy_disk(NbdSource(uri=uri), guest.sink, journal=guest.journal, epoch=1)
    assert (result.mode, result.bytes_written) == ("compare", 0)
    assert result.bytes_read > 0


def test_ten_rounds(guest: Guest) -> None:
    guest.begin("b1")
    result = guest.copy("snap-1")
    for number in range(2, 11):
        guest.write(f"write -P {number} {number * 3}M {number * 37}k", "write -P 0x99 0 4k")
        guest.begin(f"b{number}")
        run("qemu-img", "bitmap", "--disable", str(guest.image), f"b{number - 1}")
        result = guest.copy(f"snap-{number}", f"b{number - 1}", f"snap-{number - 1}")
        assert (result.mode, result.round) == ("dirty", number)
    assert guest.is_copied(result)


# -- without any bitmap


class File:
    """A raw file as a source: nothing tells what changed but its bytes."""

    def __init__(self, folder: Path) -> None:
        self.path = make_raw(folder / "disk.raw", size=64 * MIB, runs=60)
        self.sink = FileSink(path=folder / "out")
        self.journal = folder / "journal"
        self.epoch = 0

    def write(self, offset: int, data: bytes) -> None:
        with open(self.path, "r+b") as file:
            file.seek(offset)
            file.write(data)

    def copy(self, **more: Any) -> CopyResult:
        self.epoch += 1
        return copy_disk(ImageSource(path=self.path), self.sink, journal=self.journal, epoch=self.epoch, **more)

    def is_copied(self, result: CopyResult) -> bool:
        read_back = verify_disk(self.sink, journal=self.journal).digest
        return same(self.path, self.sink.path) and result.digest == read_back


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


def test_a_file_is_compared_and_only_what_differs_travels(file: File) -> None:
    file.copy()
    for offset in (5 * MIB + 77, 33 * MIB, 63 * MIB):
        file.write(offset, b"changed")
    result = file.copy()
    assert result.mode == "compare"
    assert 0 < result.bytes_written <= 3 * MIB
    assert file.is_copied(result)
    file.write(0, b"x")
    assert 0 < file.copy().bytes_written <= MIB


@pytest.mark.parametrize("rot", ["flipped", "torn", "rubbish", "empty"])
def test_after_a_rotten_journal_the_target_is_read_and_only_what_differs_is_written(file: File, rot: str) -> None:
    first = file.copy()
    raw = bytearray(file.journal.read_bytes())
    if rot == "flipped":
        raw[len(raw) // 2] ^= 1
    file.journal.write_bytes(
        {"flipped": bytes(raw), "torn": bytes(raw[:100]), "rubbish": b"x" * 999, "empty": b""}[rot]
    )
    file.write(20 * MIB, b"changed")
    again = file.copy()
    assert again.digest != first.digest
    if rot != "torn":  # a torn tail is cut off: what is left is true, and says that little is known
        assert again.mode == "compare"
        assert 0 < again.bytes_written <= MIB
    assert file.is_copied(again)


def test_a_disk_that_grew(file: File) -> None:
    file.copy()
    with open(file.path, "r+b") as disk:
        disk.truncate(80 * MIB + 512)
    file.write(70 * MIB, b"new")
    result = file.copy()
    assert result.size == 80 * MIB + 512
    assert 0 < result.bytes_written <= MIB
    assert file.is_copied(result)


def test_a_qcow2_target_grows_with_its_disk(file: File, tmp_path: Path) -> None:
    file.sink = FileSink(path=tmp_path / "out.qcow2", format=DiskFormat.QCOW2)
    file.copy()
    with open(file.path, "r+b") as disk:
        disk.truncate(80 * MIB)
    file.write(70 * MIB, b"new")
    file.copy()
    assert same(file.path, file.sink.path, formats=("raw", "qcow2"))


def test_a_disk_that_shrank_is_refused(file: File) -> None:
    file.copy()
    with open(file.path, "r+b") as disk:
        disk.truncate(40 * MIB)
    with pytest.raises(SourceShrank, match="as large as before"):
        file.copy()


def test_a_disk_that_grew_beyond_its_target(file: File) -> None:
    file.sink.path.write_bytes(bytes(64 * MIB))
    file.sink = FileSink(path=file.sink.path, create=False)
    file.copy()
    with open(file.path, "r+b") as disk:
        disk.truncate(80 * MIB)
    with pytest.raises(SinkError, match="larger target"):
        file.copy()
    with open(file.sink.path, "r+b") as target:
        target.truncate(80 * MIB)
    assert file.is_copied(file.copy())


def test_of_two_disks_the_idle_one_arrives_whole(tmp_path: Path) -> None:
    """Known from elsewhere: a disk without changes was taken for a disk without data."""
    busy, idle = tmp_path / "busy", tmp_path / "idle"
    busy.mkdir()
    idle.mkdir()
    guests = [Guest(busy), Guest(idle)]
    for number in (1, 2, 3):
        for guest in guests:
            guest.begin(f"b{number}")
            if number > 1:
                run("qemu-img", "bitmap", "--disable", str(guest.image), f"b{number - 1}")
            base = f"snap-{number - 1}" if number > 1 else None
            result = guest.copy(f"snap-{number}", f"b{number - 1}" if base else None, base)
            assert guest.is_copied(result)
        guests[0].write(f"write -P {number} {number * 3}M 1M")


def test_a_list_of_changes_is_as_good_as_a_bitmap(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    first = guest.copy("snap-1")
    guest.write("write -P 0x5a 3M 128k", "write -P 0x5b 20M 1M")
    changes = tuple(changed_blocks([(20 * MIB, MIB), (3 * MIB, 128 << 10)], first.size))
    with guest.export(None) as uri:
        source = NbdSource(uri=uri, identity="snap-2", changes=changes, base_identity="snap-1")
        assert estimate_disk(source).data == MIB + (128 << 10)
        second = copy_disk(source, guest.sink, journal=guest.journal, epoch=1)
    assert second.mode == "dirty"
    assert second.bytes_written == MIB + (128 << 10)
    assert second.bytes_read <= 2 * MIB  # whole leaves, for their digests
    assert guest.is_copied(second)


def test_where_a_list_says_zero_nothing_is_read(tmp_path: Path) -> None:
    """The server takes all of it for data, and what is behind the list's end is read."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * 8 * MIB)
    allocation = (Extent(0, MIB, Kind.DATA), Extent(MIB, 5 * MIB, Kind.ZERO))
    sink = FileSink(path=tmp_path / "out")
    with open_source(ImageSource(path=disk, format=DiskFormat.RAW)) as export:
        source = dataclasses.replace(export, allocation=allocation)
        assert estimate_disk(source).data == 3 * MIB
        result = copy_disk(source, sink, journal=tmp_path / "journal", epoch=1)
    assert result.bytes_read == 3 * MIB
    assert sink.path.read_bytes() == b"x" * MIB + bytes(5 * MIB) + b"x" * 2 * MIB


# -- reading no more than what has changed


@pytest.mark.parametrize("nbd", [False, True])
def test_scattered_changes_are_read_alone(guest: Guest, tmp_path: Path, nbd: bool) -> None:
    """What did not change in a touched leaf comes from the target, and is proven by its old digest."""
    with contextlib.ExitStack() as stack:
        if nbd:
            target = tmp_path / "target.qcow2"
            run("qemu-img", "create", "-q", "-f", "qcow2", str(target), str(40 * MIB + 512 * 3))
            guest.sink = stack.enter_context(served(target, tmp_path / "sink"))
        guest.begin("b1")
        guest.copy("snap-1")
        guest.write(*(f"write -P {at + 1} {at * 3 * MIB + 128 * 1024} 64k" for at in range(8)))
        result = guest.copy("snap-2", "b1", "snap-1")
        changed = 8 * 64 * 1024
        assert result.mode == "dirty"
        assert result.bytes_written == changed
        assert result.bytes_read <= 1.05 * changed
        read_back = verify_disk(guest.sink, journal=guest.journal).digest
        assert result.digest == read_back == digest_disk(ImageSource(path=guest.image)).digest


@contextlib.contextmanager
def served(image: Path, path: Path) -> Iterator[NbdSink]:
    server = subprocess.Popen(["qemu-nbd", "-t", "-e", "4", "-f", "qcow2", "-k", str(path), str(image)])
    try:
        _await_listener(path)
        yield NbdSink(uri=f"nbd+unix:///?socket={path}", zeroed=True)
    finally:
        server.kill()
        server.wait()


def test_a_target_changed_behind_our_back_is_noticed_by_an_increment_and_healed(guest: Guest) -> None:
    guest.begin("b1")
    guest.copy("snap-1")
    guest.write("write -P 7 4M 64k")
    assert isinstance(guest.sink, FileSink)
    with open(guest.sink.path, "r+b") as file:
        file.seek(4 * MIB + 500_000)
        file.write(b"not ours")
    with pytest.raises(SinkError, match="1048576 bytes at 4194304") as caught:
        guest.copy("snap-2", "b1", "snap-1")
    assert caught.value.retryable
    result = guest.copy("snap-2", "b1", "snap-1")
    assert guest.is_copied(result)


@pytest.mark.parametrize("kind", [DiskFormat.RAW, DiskFormat.QCOW2])
def test_a_disk_at_the_beginning_of_a_larger_one(tmp_path: Path, kind: DiskFormat) -> None:
    """As on a volume of a cloud that knows whole GiB only."""
    disk = make_raw(tmp_path / "disk.raw")
    size = disk.stat().st_size
    larger = tmp_path / "larger.raw"
    larger.write_bytes(disk.read_bytes() + b"what is behind it" * 12345)
    if kind is not DiskFormat.RAW:
        larger = convert(larger, tmp_path / "larger.img", kind.value)
    source = ImageSource(path=larger, format=kind, identity="larger")
    out = FileSink(path=tmp_path / "out")
    done = copy_disk(source, out, journal=tmp_path / "journal", epoch=1, size=size)
    assert done.size == size
    assert out.path.read_bytes()[:size] == disk.read_bytes()
    assert done.digest == digest_disk(ImageSource(path=disk, format=DiskFormat.RAW)).digest
    assert done.digest == digest_disk(source, size=size).digest
    with pytest.raises(SourceShrank):
        copy_disk(source, out, journal=tmp_path / "other", epoch=1, size=larger.stat().st_size * 100)
