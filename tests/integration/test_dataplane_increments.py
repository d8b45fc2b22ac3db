# SPDX-License-Identifier: Apache-2.0
"""Rounds: by dirty bitmap, by comparing digests, and the digest of the whole disk after each."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.dataplane import CopyResult, FileSink, ImageSource, NbdSource, copy_disk, digest_disk, verify_disk
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
        self.sink = FileSink(path=folder / "out")
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
