# SPDX-License-Identifier: Apache-2.0
"""Local conversions by each engine, judged by qemu-img."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coriolis.dataplane import Cancelled, DiskFormat, ImageSource, InvalidImage, SinkError, digest_disk
from coriolis.dataplane.convert import convert_image
from coriolis.dataplane.rule import EngineName
from tests.integration.dataplane_disks import MIB, MISSING, VARIANTS, convert, make_raw, same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
]
ENGINES = {
    DiskFormat.RAW: EngineName.LIBNBD,
    DiskFormat.QCOW2: EngineName.LIBNBD,
    DiskFormat.VHD: EngineName.QEMU_IMG,
    DiskFormat.VHDX: EngineName.QEMU_IMG,
    DiskFormat.VMDK: EngineName.QEMU_IMG,
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("disk") / "disk.raw", size=40 * MIB)


@pytest.mark.parametrize(
    ("variant", "target"),
    list(itertools.product(["raw", "qcow2", "vmdk-stream", "vmdk-split-sparse", "vhdx", "vhd-fixed"], DiskFormat)),
)
def test_from_each_format_to_each(raw: Path, tmp_path: Path, variant: str, target: DiskFormat) -> None:
    image, out = convert(raw, tmp_path / "disk.img", variant), tmp_path / "out"
    out.write_bytes(b"an older file")
    done = convert_image(ImageSource(path=image, format=VARIANTS[variant][0]), out, target)
    assert done.engine is ENGINES[target]
    assert same(raw, out, formats=("raw", target.value))
    assert done.digest == digest_disk(ImageSource(path=image, format=VARIANTS[variant][0])).digest
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_raw_to_raw_by_the_kernel(raw: Path, tmp_path: Path) -> None:
    done = convert_image(ImageSource(path=raw), tmp_path / "out", DiskFormat.RAW, digest=False)
    assert (done.engine, done.digest) == (EngineName.KERNEL, None)
    assert (tmp_path / "out").read_bytes() == raw.read_bytes()
    assert (tmp_path / "out").stat().st_blocks <= raw.stat().st_blocks + 64
    if Path("/dev/shm").is_dir():  # from one file system to another
        other = Path("/dev/shm") / f"convert-{os.getpid()}"
        try:
            convert_image(ImageSource(path=raw), other, DiskFormat.RAW, digest=False)
            assert other.read_bytes() == raw.read_bytes()
        finally:
            other.unlink()


@pytest.mark.parametrize("target", [DiskFormat.RAW, DiskFormat.VHD])
def test_what_is_stopped_or_fails_leaves_the_old_file(raw: Path, tmp_path: Path, target: DiskFormat) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"an older file")
    with pytest.raises(Cancelled):
        convert_image(ImageSource(path=raw), out, target, cancelled=lambda: True)
    damaged = convert(raw, tmp_path / "disk.vmdk", "vmdk-stream")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    damaged.write_bytes(data)
    with pytest.raises((InvalidImage, SinkError)):
        convert_image(ImageSource(path=damaged), out, target)
    assert out.read_bytes() == b"an older file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.vmdk", "out"]


def test_an_administrator_converts_an_image(raw: Path, tmp_path: Path) -> None:
    image, out = convert(raw, tmp_path / "disk.vmdk", "vmdk-stream"), tmp_path / "out.vhd"
    done = managed(tmp_path, "image", "convert", str(image), str(out), "--format", "vhd")
    assert done.returncode == 0, done.stderr
    assert "by qemu-img" in done.stdout
    assert digest_disk(ImageSource(path=image)).digest in done.stdout
    assert same(raw, out, formats=("raw", "vpc"))


def test_an_administrator_is_told_why_an_image_cannot_be_converted(raw: Path, tmp_path: Path) -> None:
    done = managed(tmp_path, "image", "convert", str(raw), str(raw), "--format", "raw")
    assert (done.returncode, "name another file" in done.stderr) == (1, True)
    done = managed(tmp_path, "image", "convert", str(tmp_path / "none"), str(tmp_path / "out"), "--format", "raw")
    assert (done.returncode, "not converted" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def managed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from coriolis.cmd.manage import main; sys.exit(main())", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
