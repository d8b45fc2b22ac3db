# SPDX-License-Identifier: Apache-2.0
"""The guest of the demo boots on the disk controllers it claims, and its own check of its data can fail."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from coriolis.dataplane import CopyOptions, FileSink, ImageSource, copy_disk, verify_disk
from coriolis.dataplane.filesystem import find_free
from demo.guest import Guest, GuestSpec, build_guest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    return build_guest(tmp_path_factory.mktemp("guest"), GuestSpec(disk_mib=128, random_mib=4, text_mib=4))


def boot(disk: Path, device: str, folder: Path, seconds: float = 120) -> str:
    """Boot `disk` for real until the guest says that it is ready; give all that it said."""
    log = folder / "serial.log"
    log.write_text("")
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "192", "-display", "none", "-nodefaults"]
    command += ["-serial", f"file:{log}", "-nic", "none"]
    command += ["-drive", f"if=none,id=disk,format=raw,file={disk}"]
    for part in device.split():
        command += ["-device", part]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + seconds
        while "coriolis-guest: ready" not in log.read_text(errors="replace"):
            assert process.poll() is None, "QEMU ended"
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
    return log.read_text(errors="replace")


@pytest.mark.parametrize(
    "device",
    [
        "virtio-blk-pci,drive=disk",
        pytest.param("virtio-scsi-pci scsi-hd,drive=disk", marks=pytest.mark.slow),
        pytest.param("pvscsi scsi-hd,drive=disk", marks=pytest.mark.slow),
        pytest.param("ide-hd,drive=disk", marks=pytest.mark.slow),
    ],
)
def test_boots_and_finds_its_data_whole(guest: Guest, tmp_path: Path, device: str) -> None:
    disk = tmp_path / "disk.raw"
    shutil.copyfile(guest.disk, disk)
    assert f"data ok {guest.data_digest}" in boot(disk, device, tmp_path)


def test_counts_its_boots_on_its_disk(guest: Guest, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    shutil.copyfile(guest.disk, disk)
    assert "coriolis-guest: boot 1" in boot(disk, "virtio-blk-pci,drive=disk", tmp_path)
    assert "coriolis-guest: boot 2" in boot(disk, "virtio-blk-pci,drive=disk", tmp_path)


def test_boots_from_a_copy_of_its_live_data_only(guest: Guest, tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk.raw", tmp_path / "copy.raw"
    shutil.copyfile(guest.disk, disk)
    with open(disk, "r+b") as file:
        free = find_free(lambda offset, length: os.pread(file.fileno(), length, offset), disk.stat().st_size)
        for offset, length in free:  # as a disk that has been in use for long
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))
    options = CopyOptions(live_only=True)
    done = copy_disk(
        ImageSource(path=disk), FileSink(path=copy), journal=tmp_path / "journal", epoch=1, options=options
    )
    assert done.bytes_saved > 32 << 20
    assert verify_disk(FileSink(path=copy), journal=tmp_path / "journal").digest == done.digest
    said = boot(copy, "virtio-blk-pci,drive=disk", tmp_path)
    assert f"data ok {guest.data_digest}" in said
    assert "coriolis-guest: boot 1" in said


def test_sees_one_wrong_byte(guest: Guest, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    content = bytearray(guest.disk.read_bytes())
    sample = _first_random_block()
    place = content.index(sample)
    content[place + 100] ^= 1
    disk.write_bytes(content)
    said = boot(disk, "virtio-blk-pci,drive=disk", tmp_path)
    assert "data WRONG" in said
    assert "random-000.bin: FAILED" in said


def _first_random_block() -> bytes:
    source = random.Random(GuestSpec().seed)
    for _ in range(512):
        source.randbytes(6)
    return source.randbytes(4096)


def test_two_builds_are_equal(guest: Guest, tmp_path: Path) -> None:
    again = build_guest(tmp_path, guest.spec)
    assert again.disk != guest.disk
    subprocess.run(["cmp", again.disk, guest.disk], check=True)
