# SPDX-License-Identifier: Apache-2.0
"""Local images: a stream-optimized VMDK into QCOW2 and NBD, a raw file into QCOW2, against ``qemu-img convert``.

Ours digests and keeps a journal; qemu-img runs with its defaults and with ``-W -m 16``, and the better median is the
peer. One more pair shows what leaving out free space saves on a file system whose free space is full of old bytes.

Run alone: ``python -m tests.perf.format_bench [--rounds N] [--quick]``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from coriolis.dataplane import CopyOptions, DiskFormat, FileSink, ImageSource, NbdSink, Sink, copy_disk
from tests.perf.contest import (
    GIB,
    MIB,
    SMALL_DENSE,
    SMALL_SPARSE,
    SPARSE,
    Disk,
    Rig,
    Row,
    Sample,
    Work,
    check_some,
    contest,
    limit_row,
    main,
    make_disk,
    nbd_server,
    new_disk,
    program,
    ratio_row,
    roomy_folder,
)

VMDK_BAR, RAW_BAR = 0.67, 1.10
FLAGS = {"qemu-img": (), "qemu-img -W -m 16": ("-W", "-m", "16")}
DISKS, QUICK = (SPARSE, Disk("1 GiB dense", GIB, GIB)), (SMALL_SPARSE, SMALL_DENSE)


def run(quick: bool = False, rounds: int = 5) -> Iterator[Row]:
    with roomy_folder((2 if quick else 6) * GIB) as folder:
        for disk in QUICK if quick else DISKS:
            yield from measure(disk, 3 if quick else rounds, folder)
        if shutil.which("mkfs.ext4"):
            yield from measure_live((256 * MIB) if quick else GIB, 3, folder)


def measure(disk: Disk, rounds: int, folder: Path) -> Iterator[Row]:
    raw, vmdk = make_disk(folder / "disk.raw", disk), folder / "disk.vmdk"
    program("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(vmdk))
    cases: list[tuple[str, Path, Callable[[Path, Path], contextlib.AbstractContextManager[Rig]], float]] = [
        ("stream-optimized VMDK to QCOW2", vmdk, _file, VMDK_BAR),
        ("stream-optimized VMDK to NBD", vmdk, _export, VMDK_BAR),
        ("raw to QCOW2", raw, _file, RAW_BAR),
    ]
    for name, source, stage, bar in cases:
        work: dict[str, Work] = {"ours": partial(_ours, source, folder)}
        for peer, flags in FLAGS.items():
            work[peer] = partial(_theirs, source, flags)
        found = contest(work, rounds, partial(stage, raw, folder))
        yield from _rows(f"{name}, {disk.name}", found, bar)
    for path in (raw, vmdk):
        path.unlink()


def _rows(name: str, found: dict[str, Sample], bar: float) -> list[Row]:
    ours, best = found["ours"], min((found[peer] for peer in FLAGS), key=lambda sample: sample.wall)
    return [
        ratio_row(f"{name}: wall against qemu-img", ours.wall, best.wall, "s", bar),
        ratio_row(f"{name}: CPU against qemu-img", ours.cpu, best.cpu, "CPU s", None),
        limit_row(f"{name}: peak memory", ours.peak / MIB, "MiB", most=150),
    ]


def _ours(source: Path, folder: Path, rig: Rig) -> None:
    sink: Sink = FileSink(path=folder / "target", format=DiskFormat.QCOW2)
    if "target" in rig.uris:
        sink = NbdSink(uri=rig.uris["target"], zeroed=True)
    copy_disk(ImageSource(path=source), sink, journal=folder / "journal", epoch=1)


def _theirs(source: Path, flags: tuple[str, ...], rig: Rig) -> None:
    command = ["qemu-img", "convert", *flags, "-f", "raw" if source.suffix == ".raw" else "vmdk"]
    if "target" in rig.uris:
        program(*command, "-n", "--target-is-zero", "-O", "raw", str(source), rig.uris["target"])
    else:
        program(*command, "-O", "qcow2", str(source), str(source.parent / "target"))


@contextlib.contextmanager
def _file(raw: Path, folder: Path) -> Iterator[Rig]:
    target = folder / "target"
    with _clean(folder):
        yield Rig(uris={})
        program("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", str(raw), str(target))


@contextlib.contextmanager
def _export(raw: Path, folder: Path) -> Iterator[Rig]:
    with _clean(folder):
        target = new_disk(folder / "target", raw.stat().st_size)
        with nbd_server(target, writable=True) as (uri, pid):
            yield Rig(uris={"target": uri}, servers=[pid])
        check_some(raw, target)


@contextlib.contextmanager
def _clean(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for path in [*folder.glob("target*"), *folder.glob("journal*")]:
            path.unlink()


def measure_live(used: int, rounds: int, folder: Path) -> list[Row]:
    """A file system four times as large as its files, with old bytes in its free space."""
    files, image = folder / "files", folder / "ext4.raw"
    files.mkdir()
    for number in range(used // (8 * MIB)):
        (files / f"file{number}").write_bytes(os.urandom(8 * MIB))
    make_disk(image, Disk("old", 4 * used, 4 * used))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-d", str(files), str(image)], check=True)
    shutil.rmtree(files)
    found = contest(
        {"live": partial(_copied, image, folder, True), "whole": partial(_copied, image, folder, False)},
        rounds,
        partial(_target, folder),
    )
    result = _copied(image, folder, True, Rig(uris={}))
    for path in [image, *folder.glob("target*"), *folder.glob("journal*")]:
        path.unlink()
    name = f"ext4 of {4 * used // MIB} MiB with {used // MIB} MiB of files"
    return [
        ratio_row(
            f"live data only, {name}: wall against a whole copy", found["live"].wall, found["whole"].wall, "s", None
        ),
        limit_row(f"live data only, {name}: left out of what is free", result / (3 * used), "share", least=0.9),
    ]


def _copied(image: Path, folder: Path, live: bool, _rig: Rig) -> int:
    sink = FileSink(path=folder / "target")
    options = CopyOptions(live_only=live)
    done = copy_disk(ImageSource(path=image), sink, journal=folder / "journal", epoch=1, options=options)
    return done.bytes_saved


@contextlib.contextmanager
def _target(folder: Path) -> Iterator[Rig]:
    with _clean(folder):
        yield Rig(uris={})


if __name__ == "__main__":
    main(run, __doc__)
