# SPDX-License-Identifier: Apache-2.0
"""Disks with known, mixed contents in every format, and the independent judge: qemu-img."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

from coriolis.dataplane import DiskFormat

MIB = 1 << 20
NEEDED = ("qemu-img", "qemu-storage-daemon", "nbdkit", "setpriv")
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None]

#: name -> (format, options of qemu-img)
VARIANTS: dict[str, tuple[DiskFormat, str]] = {
    "raw": (DiskFormat.RAW, ""),
    "qcow2": (DiskFormat.QCOW2, ""),
    "qcow2-compat-0.10": (DiskFormat.QCOW2, "compat=0.10"),
    "qcow2-extended-l2": (DiskFormat.QCOW2, "extended_l2=on"),
    "vmdk-sparse": (DiskFormat.VMDK, "subformat=monolithicSparse"),
    "vmdk-flat": (DiskFormat.VMDK, "subformat=monolithicFlat"),
    "vmdk-stream": (DiskFormat.VMDK, "subformat=streamOptimized"),
    "vmdk-split-sparse": (DiskFormat.VMDK, "subformat=twoGbMaxExtentSparse"),
    "vmdk-split-flat": (DiskFormat.VMDK, "subformat=twoGbMaxExtentFlat"),
    "vhd-dynamic": (DiskFormat.VHD, "subformat=dynamic,force_size=on"),
    "vhd-fixed": (DiskFormat.VHD, "subformat=fixed,force_size=on"),
    "vhdx": (DiskFormat.VHDX, "subformat=dynamic"),
}


def make_raw(path: Path, *, size: int = 40 * MIB + 512 * 3, seed: int = 1, runs: int = 25) -> Path:
    """A sparse file with runs of random bytes, of text and of written zeros, from 512 bytes to 3 MiB."""
    rng = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        for _ in range(runs):
            length = rng.choice((512, 4096, 65536, 700 * 1024, MIB, 3 * MIB))
            offset = rng.randrange(0, max(1, size - length) // 512) * 512
            file.seek(offset)
            content = rng.choice((rng.randbytes(length), b"coriolis" * (length // 8), bytes(length)))
            file.write(content[: size - offset])
        file.seek(size - 512)
        file.write(b"the end!" * 64)
    return path


def convert(raw: Path, target: Path, variant: str) -> Path:
    format, options = VARIANTS[variant]
    extra = ["-o", options] if options else []
    run("qemu-img", "convert", "-f", "raw", "-O", format.value, *extra, str(raw), str(target))
    return target


def same(one: Path, two: Path, *, formats: tuple[str, str] = ("raw", "raw")) -> bool:
    """Equal in contents, by qemu-img; sizes may differ by zeros."""
    command = ["qemu-img", "compare", "-f", formats[0], "-F", formats[1], str(one), str(two)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return done.stdout
