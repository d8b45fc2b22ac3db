# SPDX-License-Identifier: Apache-2.0
"""How the parts of the benchmark that move bytes measure: disks, servers, and contestants that take turns.

A contestant runs in a child process of its own: ours in a fork of this one (as the worker does, with its imports done),
a peer's program by exec. Its CPU seconds are those of the child, of its children and of the servers that it talks to;
its memory is the peak of the child. Rounds are interleaved, every other one backwards, and medians are compared, since
other work on the machine changes from minute to minute.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MIB, GIB = 1 << 20, 1 << 30
_TICKS = os.sysconf("SC_CLK_TCK")
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Disk:
    """``data`` of ``size`` bytes hold something: half random bytes, half the text of a program."""

    name: str
    size: int
    data: int


SPARSE, DENSE = Disk("4 GiB, 1 GiB of data", 4 * GIB, GIB), Disk("4 GiB dense", 4 * GIB, 4 * GIB)
SMALL_SPARSE = Disk("1 GiB, 256 MiB of data", GIB, 256 * MIB)
SMALL_DENSE = Disk("512 MiB dense", 512 * MIB, 512 * MIB)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One run: seconds of wall clock and of CPU (with the servers), and the peak memory of the child in bytes."""

    wall: float
    cpu: float
    peak: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rig:
    """What a run finds: addresses by name, and the pids of the servers, whose CPU time counts."""

    uris: Mapping[str, str]
    servers: Sequence[int] = ()


#: Runs in a forked child; raises when it failed.
Work = Callable[[Rig], object]
#: Sets everything up for one run, new servers too, and afterwards raises when the run did not do what it should.
Stage = Callable[[], contextlib.AbstractContextManager[Rig]]


def contest(contestants: Mapping[str, Work], rounds: int, stage: Stage) -> dict[str, Sample]:
    """Runs them in turns; medians by name. What ``stage`` does before and after a run does not count."""
    found: dict[str, list[Sample]] = {name: [] for name in contestants}
    for name in turns(contestants, rounds):
        with stage() as rig:
            found[name].append(sample(contestants[name], rig))
    return {name: median(samples) for name, samples in found.items()}


def turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Whose turn it is: everybody's once a round, in every other round backwards."""
    for turn in range(rounds):
        yield from sorted(names, reverse=turn % 2 == 1)


def median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        wall=statistics.median(s.wall for s in samples),
        cpu=statistics.median(s.cpu for s in samples),
        peak=max(s.peak for s in samples),
    )


def sample(work: Work, rig: Rig) -> Sample:
    """One run. Raises `RuntimeError` when the child failed."""
    report, result = os.pipe()
    before = sum(map(cpu_of, rig.servers))
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(_child(work, rig, result))
    os.close(result)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    with open(report, "rb") as file:
        peak = int(file.read() or 0)
    if status:
        raise RuntimeError(f"a contestant failed with status {status}: this measures nothing")
    servers = sum(map(cpu_of, rig.servers)) - before
    return Sample(wall=wall, cpu=usage.ru_utime + usage.ru_stime + servers, peak=peak)


def _child(work: Work, rig: Rig, result: int) -> int:
    """Peak memory is reported by the child itself: what rusage says includes the parent's at the fork."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # start VmHWM anew, proc(5)
        work(rig)
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
        os.write(result, str(peak).encode())
        return 0
    except BaseException:  # noqa: BLE001 - the border of the process
        traceback.print_exc(file=sys.stderr)
        return 1


def cpu_of(pid: int) -> float:
    """CPU seconds that a live process has used, all of its threads, those that ended too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def program(*command: str) -> None:
    """Runs a peer; raises when it fails."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def nbd_server(
    image: Path, *, format: str = "raw", writable: bool = False, options: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """qemu-nbd in front of ``image``: its URI and pid."""
    path = Path(tempfile.mkdtemp(prefix="contest-", dir="/tmp")) / "nbd"
    command = ["qemu-nbd", "-t", "-e", "16", "-f", format, "-k", str(path), *options]
    quiet = subprocess.DEVNULL  # it complains of each client that hangs up, as those that look whether it listens do
    process = subprocess.Popen([*command, *([] if writable else ["-r"]), str(image)], stderr=quiet)
    try:
        await_listener(process, path)
        yield f"nbd+unix:///?socket={path}", process.pid
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(path.parent, ignore_errors=True)


def await_listener(process: subprocess.Popen[bytes], path: Path) -> None:
    """Returns when ``process`` accepts connections on the socket ``path``."""
    deadline = time.monotonic() + 30
    while not _listens(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start")
        time.sleep(0.01)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextlib.contextmanager
def roomy_folder(needs: int = 9 * GIB) -> Iterator[Path]:
    """A folder in memory where there is enough of it (no disk limits, as in the published baselines), else on disk."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > needs and _available() > needs
    with tempfile.TemporaryDirectory(prefix="contest-", dir=memory if roomy else None) as name:
        yield Path(name)


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def make_disk(path: Path, disk: Disk) -> Path:
    """Half random bytes, half text of a program, in runs of 64 KiB to 16 MiB, spread over the disk."""
    rng = random.Random(1)
    text = Path(os.path.realpath(shutil.which("qemu-img") or "/bin/sh")).read_bytes()
    text *= 1 + 16 * MIB // len(text)
    lengths: list[int] = []
    left = disk.data
    while left:
        lengths.append(min(rng.choice((64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB)), left))
        left -= lengths[-1]
    gap = (disk.size - disk.data) // len(lengths) // 4096 * 4096
    with open(path, "wb") as file:
        file.truncate(disk.size)
        offset = 0
        for number, length in enumerate(lengths):
            file.seek(offset)
            file.write(os.urandom(length) if number % 2 else text[:length])
            offset += length + gap
    return path


def new_disk(path: Path, size: int) -> Path:
    """An empty, sparse target."""
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def check_some(one: Path, two: Path, *, pieces: int = 400, length: int = 64 << 10) -> None:
    """Raises unless both files have the same bytes in ``pieces`` places, as many as a benchmark can afford."""
    size = one.stat().st_size
    if two.stat().st_size != size:
        raise RuntimeError(f"{two} has {two.stat().st_size} bytes, not {size}: this measures nothing")
    with open(one, "rb") as left, open(two, "rb") as right:
        for number in range(pieces):
            offset = number * (size - length) // max(1, pieces - 1)
            left.seek(offset)
            right.seek(offset)
            if left.read(length) != right.read(length):
                raise RuntimeError(f"{two} differs from {one} near {offset}: this measures nothing")


def ratio_row(name: str, ours: float, peer: float, unit: str, bar: float | None) -> Row:
    """``bar`` is the most that ours / peer may be."""
    ratio = ours / peer
    return {
        "name": name,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "unit": unit,
        "ratio": round(ratio, 3),
        "bar": bar,
        "holds": None if bar is None else ratio <= bar,
    }


def least_row(name: str, ours: float, peer: float, unit: str, bar: float | None) -> Row:
    """As `ratio_row`, where more is better: ``bar`` is the least that ours / peer may be."""
    row = ratio_row(name, ours, peer, unit, None)
    return row if bar is None else {**row, "bar": f">= {bar:g}", "holds": ours / peer >= bar}


def limit_row(name: str, ours: float, unit: str, *, most: float | None = None, least: float | None = None) -> Row:
    """A figure of ours with an absolute limit."""
    bar = f"<= {most:g}" if most is not None else f">= {least:g}" if least is not None else None
    holds = None if bar is None else (most is None or ours <= most) and (least is None or ours >= least)
    return {"name": name, "ours": round(ours, 3), "peer": None, "unit": unit, "ratio": None, "bar": bar, "holds": holds}


def main(run: Callable[..., Iterable[Row]], about: str | None, *, only: Sequence[str] = ()) -> None:
    """A part of the benchmark by itself, as a program: prints its rows. ``only``: the names of its own parts."""
    parser = argparse.ArgumentParser(description=about, argument_default=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    if only:
        parser.add_argument("--only", choices=only)
    for row in run(**vars(parser.parse_args())):
        print(json.dumps(row), flush=True)
