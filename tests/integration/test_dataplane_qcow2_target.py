# SPDX-License-Identifier: Apache-2.0
"""QCOW2 files that we write ourselves, judged by ``qemu-img check`` and ``compare``."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from coriolis.dataplane import (
    DiskFormat,
    FileSink,
    ImageSource,
    NoSpace,
    SinkError,
    copy_disk,
    inspect_image,
    open_sink,
    verify_disk,
)
from coriolis.dataplane.export import create_file
from coriolis.dataplane.image.qcow2_target import Qcow2Target, open_qcow2_target
from tests.integration.dataplane_disks import MIB, MISSING, convert, make_raw, run, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]
SIZE = 1100 * MIB  # three second-level tables


def create(path: Path, *options: str, size: int = SIZE) -> Path:
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), str(size))
    return path


def opened(path: Path) -> Qcow2Target:
    target = open_qcow2_target(path)
    assert target is not None
    return target


def check(path: Path) -> None:
    """Neither errors nor clusters that nothing refers to."""
    done = subprocess.run(
        ["qemu-img", "check", "-U", "-f", "qcow2", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Model:
    """The same operations on a raw file."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.raw, self.image = folder / "model.raw", create(folder / "disk.qcow2")
        with open(self.raw, "wb") as file:
            file.truncate(SIZE)
        self.rng = random.Random(seed)

    def step(self, target: Qcow2Target) -> None:
        length = self.rng.choice((512, 4096, 70_000 // 512 * 512, MIB, 3 * MIB))
        offset = self.rng.choice((0, 511 * MIB, 1000 * MIB)) + self.rng.randrange(0, 60 * MIB) // 512 * 512
        data = self.rng.randbytes(length) if self.rng.random() < 0.7 else None
        if data is None:
            target.zero(offset, length * 3)
        else:
            target.write(memoryview(data), offset)
        with open(self.raw, "r+b") as file:
            file.seek(offset)
            file.write(data if data is not None else bytes(length * 3))
        if self.rng.random() < 0.1:
            target.flush()
            check(self.image)

    def compare(self) -> None:
        check(self.image)
        assert same(self.raw, self.image, formats=("raw", "qcow2"))


@pytest.mark.parametrize("seed", range(3))
def test_anything_written_anywhere(tmp_path: Path, seed: int) -> None:
    model = Model(tmp_path, seed)
    for _ in range(3):  # opened again and again
        target = opened(model.image)
        for _ in range(25):
            model.step(target)
        target.flush()
        target.close()
        model.compare()


@pytest.mark.parametrize("seed", range(3))
def test_what_an_interrupted_writer_left_is_taken_back(tmp_path: Path, seed: int) -> None:
    model = Model(tmp_path, seed)
    target = opened(model.image)
    for _ in range(10):
        model.step(target)
    target.flush()
    for place in range(200, 240, 2):  # not flushed: lost, as after a kill
        target.write(memoryview(model.rng.randbytes(MIB)), place * MIB)
    target.close()
    assert same(model.raw, model.image, formats=("raw", "qcow2"))
    target = opened(model.image)
    for _ in range(10):
        model.step(target)
    target.flush()
    target.close()
    model.compare()


def test_a_cluster_that_nothing_refers_to_is_used_again(tmp_path: Path) -> None:
    """A kill between the counts and the tables leaves such ones."""
    image = create(tmp_path / "disk.qcow2")
    target = opened(image)
    target.write(memoryview(b"x" * MIB), 0)
    target.flush()
    target.close()
    size = image.stat().st_size
    with open(image, "r+b") as file:
        l1_at = struct.unpack_from(">Q", os.pread(file.fileno(), 48, 0), 40)[0]
        l2_at = struct.unpack(">Q", os.pread(file.fileno(), 8, l1_at))[0] & ~(1 << 63)
        os.pwrite(file.fileno(), bytes(3 * 8), l2_at + 5 * 8)
    target = opened(image)
    target.write(memoryview(b"y" * 512), 900 * MIB)  # a table, and a cluster that is written in part
    target.flush()
    target.close()
    check(image)
    assert image.stat().st_size == size
    run("qemu-io", "-f", "qcow2", "-c", "read -P 0 921601k 60k", "-c", "read -P 0x79 900M 512", str(image))
    run("qemu-io", "-f", "qcow2", "-c", "read -P 0x78 0 320k", "-c", "read -P 0 320k 192k", str(image))


def test_more_than_one_reference_block(tmp_path: Path) -> None:
    """32768 clusters, 2 GiB of file, are counted in one block."""
    image = create(tmp_path / "disk.qcow2", size=3 << 30)
    target = opened(image)
    one = memoryview(b"x" * 512)
    for offset in range(0, (2 << 30) + 200 * MIB, 1 << 16):
        target.write(one, offset)
    target.flush()
    target.close()
    check(image)
    target = opened(image)
    target.write(memoryview(b"y" * 512), (3 << 30) - 512)
    target.flush()
    target.close()
    check(image)


def test_holes_take_no_room(tmp_path: Path) -> None:
    raw = tmp_path / "disk.raw"
    with open(raw, "wb") as file:
        file.truncate(2 << 40)
        file.seek(1 << 40)
        file.write(os.urandom(MIB))
    sink = FileSink(path=tmp_path / "out", format=DiskFormat.QCOW2)
    result = copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    assert sink.path.stat().st_size < 8 * MIB
    check(sink.path)
    assert verify_disk(sink, journal=tmp_path / "journal").digest == result.digest


@pytest.mark.parametrize("size", [512, MIB, SIZE + 512, 3 << 30, 8 << 40, (8 << 40) + 512, 60 << 40])
def test_new_images_of_any_size(tmp_path: Path, size: int) -> None:
    image = tmp_path / "disk.qcow2"
    create_file(FileSink(path=image, format=DiskFormat.QCOW2), size)
    check(image)
    assert inspect_image(image).size == size
    if size <= 8 << 40:
        target = opened(image)
        target.write(memoryview(b"z" * 512), size - 512)
        target.flush()
        target.close()
        check(image)
        run("qemu-io", "-f", "qcow2", "-c", f"read -P 0x7a {size - 512} 512", str(image))
    else:
        assert open_qcow2_target(image) is None


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "compat=0.10"],
        ["-o", "cluster_size=4096"],
        ["-o", "extended_l2=on"],
        ["-o", "refcount_bits=64"],
    ],
)
def test_other_kinds_are_left_to_qemu(tmp_path: Path, options: list[str]) -> None:
    assert open_qcow2_target(create(tmp_path / "disk.qcow2", *options)) is None


def test_images_with_more_to_them_are_left_to_qemu(tmp_path: Path) -> None:
    image = create(tmp_path / "disk.qcow2")
    run("qemu-img", "snapshot", "-c", "first", str(image))
    assert open_qcow2_target(image) is None
    compressed = tmp_path / "compressed.qcow2"
    run("qemu-img", "convert", "-c", "-O", "qcow2", str(make_raw(tmp_path / "raw")), str(compressed))
    assert open_qcow2_target(compressed) is None
    zeros = create(tmp_path / "zeros.qcow2")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 1M", "-c", "write -z 0 1M", str(zeros))
    assert open_qcow2_target(zeros) is None
    top = tmp_path / "top.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(zeros), str(top))
    assert open_qcow2_target(top) is None


def test_an_image_with_a_snapshot_is_still_written_to(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "disk.raw")
    image = create(tmp_path / "disk.qcow2", size=raw.stat().st_size)
    run("qemu-img", "snapshot", "-c", "first", str(image))
    sink = FileSink(path=image, format=DiskFormat.QCOW2, create=False)
    copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    assert same(raw, image, formats=("raw", "qcow2"))


def test_qemu_and_we_keep_each_other_out(tmp_path: Path) -> None:
    image = create(tmp_path / "disk.qcow2")
    with open_sink(FileSink(path=image, format=DiskFormat.QCOW2, create=False)):
        with pytest.raises(SinkError, match="in use"):
            open_qcow2_target(image)
    target = opened(image)
    try:
        done = subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 512", image], capture_output=True, check=False)
        assert done.returncode
        assert b"lock" in done.stderr
        with pytest.raises(SinkError, match="in use"):
            open_qcow2_target(image)
    finally:
        target.close()
    opened(image).close()


def test_increments_into_the_same_image(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "disk.raw")
    sink = FileSink(path=tmp_path / "out", format=DiskFormat.QCOW2)
    for round in range(4):
        with open(raw, "r+b") as file:
            file.seek(round * 7 * MIB + 512)
            file.write(os.urandom(100_000) if round != 2 else bytes(3 * MIB))
        result = copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
        check(sink.path)
        assert same(raw, sink.path, formats=("raw", "qcow2"))
        assert result.round == round + 1


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a mount of its own")
def test_a_full_file_system(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "disk.raw", runs=60)
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=False).returncode:
        pytest.skip("cannot mount")
    sink = FileSink(path=small / "out", format=DiskFormat.QCOW2)
    try:
        with pytest.raises(NoSpace, match="no room left"):
            copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
        run("mount", "-o", "remount,size=200m", str(small))
        copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=2)
        check(sink.path)
        assert same(raw, sink.path, formats=("raw", "qcow2"))
    finally:
        run("umount", str(small))


def test_the_same_disk_by_qemu_and_by_us(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "disk.raw")
    sink = FileSink(path=tmp_path / "ours", format=DiskFormat.QCOW2)
    copy_disk(ImageSource(path=raw), sink, journal=tmp_path / "journal", epoch=1)
    theirs = convert(raw, tmp_path / "theirs", "qcow2")
    assert same(sink.path, theirs, formats=("qcow2", "qcow2"))
