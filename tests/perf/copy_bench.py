# SPDX-License-Identifier: Apache-2.0
"""Our copy, with digest and journal, against nbdcopy and qemu-img: same server, same kind of target, one run.

All start from one running NBD server (qemu-nbd, read-only, in front of a raw file in the page cache) and write a new
raw file beside the others. Rounds are interleaved, every other one backwards, medians are compared. nbdcopy runs with
its defaults and with one connection of 16 requests; the better of the two medians is the peer. Target and journal are
in memory where there is enough of it, where flushing costs nothing; one more row shows a real disk.

Run alone: ``python -m tests.perf.copy_bench [--rounds N] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coriolis.dataplane import FileSink, NbdSource, copy_disk

MIB, GIB = 1 << 20, 1 << 30
BAR = 1.25
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Disk:
    name: str
    size: int
    data: int


DISKS = (Disk("sparse 4 GiB, 1 GiB of data", 4 * GIB, GIB), Disk("dense 2 GiB", 2 * GIB, 2 * GIB))
QUICK = (Disk("sparse 1 GiB, 256 MiB of data", GIB, 256 * MIB), Disk("dense 512 MiB", 512 * MIB, 512 * MIB))


def run(rounds: int = 5, out: Path | None = None, *, quick: bool = False, folder: Path | None = None) -> list[Row]:
    """Measures; returns rows and writes them to ``out``. ``quick``: small disks and one round."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="copy-bench-", dir=folder or _roomy_folder()) as name:
        for disk in QUICK if quick else DISKS:
            rows += measure(disk, 1 if quick else rounds, Path(name))
        with tempfile.TemporaryDirectory(prefix="copy-bench-", dir="/var/tmp") as durable:
            rows += measure_durable(QUICK[1], 1 if quick else 3, Path(name), Path(durable))
    if out is not None:
        out.write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    return rows


def measure(disk: Disk, rounds: int, folder: Path) -> list[Row]:
    image, target, journal = folder / "disk.raw", folder / "target.raw", folder / "journal"
    make(image, disk)
    with server(image, folder / "nbd") as uri:
        contestants: dict[str, Callable[[], None]] = {
            "ours": lambda: ours(uri, target, journal),
            "nbdcopy": lambda: program("nbdcopy", uri, str(target)),
            "nbdcopy-1-16": lambda: program("nbdcopy", "--connections=1", "--requests=16", uri, str(target)),
            "qemu-img": lambda: program(
                "qemu-img", "convert", "-W", "-m", "8", "-f", "raw", "-O", "raw", uri, str(target)
            ),
        }
        walls: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(rounds):
            for name, contestant in sorted(contestants.items(), reverse=turn % 2 == 1):
                for old in folder.glob("target*"), folder.glob("journal*"):
                    for path in old:
                        path.unlink()
                walls[name].append(timed(contestant))
                same_size(target, disk.size)
    image.unlink()
    target.unlink()
    medians = {name: statistics.median(values) for name, values in walls.items()}
    best = min(medians["nbdcopy"], medians["nbdcopy-1-16"])
    return [
        row(f"copy {disk.name} against nbdcopy", medians["ours"], best, BAR),
        row(f"copy {disk.name} against qemu-img", medians["ours"], medians["qemu-img"], None),
    ]


def measure_durable(disk: Disk, rounds: int, folder: Path, durable: Path) -> list[Row]:
    """For information: source in memory, target on a real disk, both flushed at the end. Ours flushes all along, too,
    since its journal says what is safe; the disk and its other users decide most of this.
    """
    image, target, journal = folder / "disk.raw", durable / "target.raw", durable / "journal"
    make(image, disk)
    walls: dict[str, list[float]] = {"ours": [], "nbdcopy": []}
    with server(image, folder / "nbd") as uri:
        for _ in range(rounds):
            for name, values in walls.items():
                for path in durable.iterdir():
                    path.unlink()
                os.sync()
                if name == "ours":
                    values.append(timed(lambda: ours(uri, target, journal)))
                else:
                    values.append(timed(lambda: program("nbdcopy", "--flush", uri, str(target))))
                same_size(target, disk.size)
    image.unlink()
    medians = {name: statistics.median(values) for name, values in walls.items()}
    name = f"copy {disk.name} to a real disk against nbdcopy --flush"
    return [row(name, medians["ours"], medians["nbdcopy"], None)]


def row(name: str, ours_value: float, peer: float, bar: float | None) -> Row:
    ratio = ours_value / peer
    return {
        "name": name,
        "ours": round(ours_value, 3),
        "peer": round(peer, 3),
        "unit": "s",
        "ratio": round(ratio, 3),
        "bar": bar,
        "holds": None if bar is None else ratio <= bar,
    }


def ours(uri: str, target: Path, journal: Path) -> None:
    copy_disk(NbdSource(uri=uri, identity="bench"), FileSink(path=target), journal=journal, epoch=1)


def program(*command: str) -> None:
    subprocess.run(command, check=True)


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def same_size(path: Path, size: int) -> None:
    if path.stat().st_size != size:
        raise RuntimeError(f"{path} has {path.stat().st_size} bytes, not {size}: this measures nothing")


def make(path: Path, disk: Disk) -> None:
    """Half random bytes, half text of a program, in runs of 64 KiB to 16 MiB, spread over the disk."""
    rng = random.Random(1)
    text = Path(os.path.realpath(shutil.which("qemu-img") or "/bin/sh")).read_bytes()
    text *= 1 + 16 * MIB // len(text)
    lengths: list[int] = []
    while sum(lengths) < disk.data:
        lengths.append(min(rng.choice((64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB)), disk.data - sum(lengths)))
    gap = (disk.size - disk.data) // len(lengths) // 4096 * 4096
    with open(path, "wb") as file:
        file.truncate(disk.size)
        offset = 0
        for number, length in enumerate(lengths):
            file.seek(offset)
            file.write(os.urandom(length) if number % 2 else text[:length])
            offset += length + gap


@contextlib.contextmanager
def server(image: Path, path: Path) -> Iterator[str]:
    command = ["qemu-nbd", "-t", "-e", "16", "-r", "-f", "raw", "-k", str(path), str(image)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not _listens(path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("qemu-nbd did not start")
            time.sleep(0.02)
        yield f"nbd+unix:///?socket={path}"
    finally:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _roomy_folder() -> str:
    """Memory where there is enough of it (no disk limits, as in the published baselines), else the usual place."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 12 * GIB:
        return str(memory)
    return tempfile.gettempdir()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure our copy against nbdcopy and qemu-img.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where disks are made (default: memory)")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    for item in run(options.rounds, quick=options.quick, folder=options.folder):
        print(json.dumps(item))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
