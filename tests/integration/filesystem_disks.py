# SPDX-License-Identifier: Apache-2.0
"""Disks with real file systems, made by their own tools: used, partly emptied, and full of old bytes where free."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.integration.dataplane_disks import MIB, run

#: name -> (command that makes it, mount command, command that checks it)
FILE_SYSTEMS: dict[str, tuple[list[str], list[str], list[str]]] = {}
_EXT = ["fsck.ext4", "-fn"]
for _name, _options in {
    "ext4": [],
    "ext4-1k": ["-b", "1024"],
    "ext4-bigalloc": ["-O", "bigalloc"],
    "ext4-old": ["-O", "^64bit,^metadata_csum"],
    "ext4-no-flex-bg": ["-O", "^flex_bg"],
    "ext4-no-uninit": ["-O", "^uninit_bg,^metadata_csum"],
    "ext4-sparse-super2": ["-O", "sparse_super2,^resize_inode"],
    "ext3": ["-t", "ext3"],
    "ext2": ["-t", "ext2"],
}.items():
    FILE_SYSTEMS[_name] = (["mkfs.ext4", "-q", "-F", "-E", "nodiscard", *_options], ["mount", "-o", "loop"], _EXT)
for _name, _options in {
    "xfs": [],
    "xfs-1k": ["-b", "size=1024"],
    "xfs-rmap": ["-m", "reflink=0,rmapbt=1"],
    "xfs-many-groups": ["-d", "agcount=5", "-l", "size=64m"],
}.items():
    FILE_SYSTEMS[_name] = (["mkfs.xfs", "-q", "-f", "-K", *_options], ["mount", "-o", "loop"], ["xfs_repair", "-n"])
for _name, _options in {"ntfs": [], "ntfs-64k": ["-c", "65536"], "ntfs-1k": ["-c", "1024"]}.items():
    FILE_SYSTEMS[_name] = (["mkntfs", "-q", "-F", "-Q", *_options], ["ntfs-3g"], ["ntfsfix", "-n"])

NEEDED = ("mkfs.ext4", "mkfs.xfs", "mkntfs", "ntfs-3g", "sfdisk", "mkswap", "losetup")
MISSING = [tool for tool in NEEDED if shutil.which(tool) is None] + ([] if os.geteuid() == 0 else ["root"])


def rubbish(path: Path, size: int) -> Path:
    """A file of old bytes, none of them zero."""
    block = random.Random(7).randbytes(MIB).replace(b"\0", b"\1")
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(block)
    return path


def make(path: Path, kind: str, size: int = 400 * MIB) -> dict[str, bytes]:
    """A file system of this kind with files of which a third was deleted again; the files that are left."""
    run(*FILE_SYSTEMS[kind][0], str(rubbish(path, size)))
    rng = random.Random(1)
    with mounted(path, kind) as top:
        for number in range(90):
            folder = top / f"folder{number % 7}"
            folder.mkdir(exist_ok=True)
            (folder / f"file{number}").write_bytes(rng.randbytes(rng.choice((10, 5000, 70_000, 3 * MIB))))
        os.sync()
        for number in range(0, 90, 3):
            (top / f"folder{number % 7}" / f"file{number}").unlink()
        return contents(top)


@contextmanager
def mounted(path: Path, kind: str, *options: str) -> Iterator[Path]:
    top = path.with_name(path.name + ".mnt")
    top.mkdir(exist_ok=True)
    run(*FILE_SYSTEMS[kind][1], *options, str(path), str(top))
    try:
        yield top
    finally:
        run("umount", str(top))


def contents(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


def check(path: Path, kind: str, files: Mapping[str, bytes]) -> None:
    """The file system's own tool finds nothing wrong, and every file is there and equal."""
    done = subprocess.run([*FILE_SYSTEMS[kind][2], str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with mounted(path, kind, "-o", "ro") as top:
        found = contents(top)
    assert sorted(found) == sorted(files)
    assert [name for name in files if found[name] != files[name]] == []


def partitioned(path: Path, label: str, parts: list[tuple[Path, str]]) -> list[int]:
    """A disk with a partition for each of ``parts``, (image, type for sfdisk); their offsets."""
    lines = [f"label: {label}"] + [f"size={image.stat().st_size // 512}, type={kind}" for image, kind in parts]
    rubbish(path, sum(image.stat().st_size for image, _ in parts) + (len(parts) + 8) * MIB)
    subprocess.run(
        ["sfdisk", "-q", "--wipe", "never", str(path)],
        input="\n".join(lines),
        text=True,
        check=True,
        capture_output=True,
    )
    listed = run("sfdisk", "-d", str(path)).splitlines()
    starts = [line.split("start=")[1].split(",") for line in listed if "start=" in line]
    sizes = [line.split("size=")[1].split(",")[0] for line in listed if "start=" in line]
    offsets = [int(s[0]) * 512 for s, n in zip(starts, sizes, strict=True) if int(n) > 2048 or label == "gpt"]
    with open(path, "r+b") as file:
        for (image, _), offset in zip(parts, offsets, strict=False):
            file.seek(offset)
            with open(image, "rb") as part:
                shutil.copyfileobj(part, file, MIB)
    return offsets
