# SPDX-License-Identifier: Apache-2.0
"""The copy engine from NBD server to NBD server, with digest and journal, against nbdcopy; and at its limits: a slow
source, several disks at once, a huge disk.

Servers are qemu-nbd in front of raw files in memory, new ones for each run. See `contest` for the method.

Run alone: ``python -m tests.perf.flow_bench [--quick] [--rounds N] [--only NAME]``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from coriolis.dataplane import CopyOptions, NbdSink, NbdSource, copy_disk
from tests.perf.contest import (
    DENSE,
    GIB,
    MIB,
    SMALL_DENSE,
    SMALL_SPARSE,
    SPARSE,
    Disk,
    Rig,
    Row,
    Sample,
    await_listener,
    check_some,
    contest,
    least_row,
    limit_row,
    main,
    make_disk,
    median,
    nbd_server,
    new_disk,
    program,
    ratio_row,
    roomy_folder,
)

WALL_BAR, CPU_BAR = 1.00, 1.10
DELAY_MS = 5
LEAST_DISTANT = 250.0  # MiB/s
PEAK_BAR = 150.0  # MiB
AT_ONCE = 8
HUGE = Disk("2 TiB, 1 GiB of data", 2048 * GIB, GIB)
SMALL_HUGE = Disk("2 TiB, 256 MiB of data", 2048 * GIB, 256 * MIB)


def run(rounds: int = 5, *, quick: bool = False, only: str | None = None) -> Iterator[Row]:
    rounds = 1 if quick else rounds
    parts = {"nbd": nbd_rows, "distant": distant_rows, "at-once": at_once_rows, "huge": huge_rows}
    for name, part in parts.items():
        if only in (None, name):
            yield from part(rounds, quick)


def ours(rig: Rig, *, number: int = 0, options: CopyOptions | None = None) -> None:
    """What the product does, in this process."""
    copy_disk(
        NbdSource(uri=rig.uris[f"source{number}"], identity="bench"),
        NbdSink(uri=rig.uris[f"sink{number}"]),
        journal=Path(rig.uris["folder"]) / f"journal{number}",
        epoch=1,
        options=options,
    )


def nbdcopy(rig: Rig, *options: str) -> None:
    program("nbdcopy", *options, rig.uris["source0"], rig.uris["sink0"])


NBDCOPY: dict[str, Callable[[Rig], None]] = {
    "nbdcopy": nbdcopy,
    "nbdcopy-1-16": lambda rig: nbdcopy(rig, "--connections=1", "--requests=16"),
}


@contextlib.contextmanager
def pairs(folder: Path, images: list[Path], *, delay_ms: int = 0) -> Iterator[Rig]:
    """A source and an empty sink for each image, new ones; ``delay_ms`` before each read."""
    uris, pids, targets = {"folder": str(folder)}, [], []
    for old in folder.glob("journal*"):
        old.unlink()
    with contextlib.ExitStack() as stack:
        for number, image in enumerate(images):
            targets.append(new_disk(folder / f"target{number}", image.stat().st_size))
            serve = partial(delayed_server, delay_ms=delay_ms) if delay_ms else nbd_server
            source, source_pid = stack.enter_context(serve(image))
            sink, sink_pid = stack.enter_context(nbd_server(targets[-1], writable=True))
            uris |= {f"source{number}": source, f"sink{number}": sink}
            pids += [source_pid, sink_pid]
        yield Rig(uris=uris, servers=pids)
    for image, target in zip(images, targets, strict=True):
        check_some(image, target)
        target.unlink()


@contextlib.contextmanager
def delayed_server(image: Path, *, delay_ms: int) -> Iterator[tuple[str, int]]:
    """nbdkit in front of ``image``, with its delay filter: nothing else of it is on these processors."""
    path = Path(tempfile.mkdtemp(prefix="contest-", dir="/tmp")) / "nbd"
    command = ["nbdkit", "--foreground", "--exit-with-parent", "--readonly", "--threads=32", "--filter=delay"]
    command += ["--unix", str(path), "file", str(image), f"rdelay={delay_ms}ms"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        await_listener(process, path)
        yield f"nbd+unix:///?socket={path}", process.pid
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(path.parent, ignore_errors=True)


def nbd_rows(rounds: int, quick: bool) -> list[Row]:
    rows: list[Row] = []
    for disk in (SMALL_SPARSE, SMALL_DENSE) if quick else (SPARSE, DENSE):
        with roomy_folder() as folder:
            image = make_disk(folder / "disk", disk)
            found = contest({"ours": ours, **NBDCOPY}, rounds, partial(pairs, folder, [image]))
        mine, peers = found["ours"], [found[name] for name in NBDCOPY]
        title = f"NBD to NBD, {disk.name}, against nbdcopy"
        rows += [
            ratio_row(title, mine.wall, min(p.wall for p in peers), "s", WALL_BAR),
            ratio_row(f"{title}: CPU", mine.cpu, min(p.cpu for p in peers), "CPU s", CPU_BAR),
        ]
    return rows


def distant_rows(rounds: int, quick: bool) -> list[Row]:
    disk = SMALL_DENSE if quick else Disk("2 GiB dense", 2 * GIB, 2 * GIB)
    contestants: dict[str, Callable[[Rig], None]] = {
        "ours": ours,
        "two": lambda rig: nbdcopy(rig, "--connections=1", "--requests=2", f"--request-size={32 * MIB}"),
        **NBDCOPY,
    }
    with roomy_folder() as folder:
        image = make_disk(folder / "disk", disk)
        found = contest(contestants, rounds, partial(pairs, folder, [image], delay_ms=DELAY_MS))
    rate = {name: disk.data / MIB / sample.wall for name, sample in found.items()}
    title = f"source {DELAY_MS} ms away, {disk.name}"
    return [
        limit_row(title, rate["ours"], "MiB/s", least=LEAST_DISTANT),
        least_row(f"{title}, against two reads of 32 MiB at a time", rate["ours"], rate["two"], "MiB/s", 3.0),
        least_row(f"{title}, against nbdcopy", rate["ours"], max(rate[n] for n in NBDCOPY), "MiB/s", None),
    ]


def at_once_rows(rounds: int, quick: bool) -> list[Row]:
    """Each of the disks is copied by a process of its own, as tasks of a worker are."""
    each = 128 * MIB if quick else 512 * MIB
    whole = Disk("one", AT_ONCE * each, AT_ONCE * each)
    with roomy_folder() as folder:
        one = make_disk(folder / "one", whole)
        alone = partial(pairs, folder, [one])
        images = [make_disk(folder / f"disk{n}", Disk("", each, each)) for n in range(AT_ONCE)]
        together = partial(pairs, folder, images)
        walls: dict[str, list[Sample]] = {"one": [], "all": []}
        for _ in range(rounds):
            walls["one"].append(contest({"one": ours}, 1, alone)["one"])
            walls["all"].append(contest({"all": _all_at_once}, 1, together)["all"])
    rates = {name: sorted(whole.data / MIB / s.wall for s in found)[rounds // 2] for name, found in walls.items()}
    return [
        least_row(f"{AT_ONCE} disks at once: sum of rates against one disk", rates["all"], rates["one"], "MiB/s", 0.9)
    ]


def _all_at_once(rig: Rig) -> None:
    pids = []
    for number in range(AT_ONCE):
        pid = os.fork()
        if pid == 0:
            ours(rig, number=number)
            os._exit(0)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    if any(statuses):
        raise RuntimeError("a copy failed")


def huge_rows(rounds: int, quick: bool) -> list[Row]:
    usual, huge = (SMALL_SPARSE, SMALL_HUGE) if quick else (SPARSE, HUGE)
    samples: dict[str, list[Sample]] = {usual.name: [], huge.name: []}
    with roomy_folder() as folder:
        images = {disk.name: make_disk(folder / f"disk{n}", disk) for n, disk in enumerate((usual, huge))}
        for turn in range(rounds):
            for name in sorted(images, reverse=turn % 2 == 1):
                samples[name].append(contest({"ours": ours}, 1, partial(pairs, folder, [images[name]]))["ours"])
    found = {name: median(runs) for name, runs in samples.items()}
    return [
        *(limit_row(f"peak memory, {d.name}", found[d.name].peak / MIB, "MiB", most=PEAK_BAR) for d in (usual, huge)),
        ratio_row(f"{huge.name}, against {usual.name}", found[huge.name].wall, found[usual.name].wall, "s", 2.0),
    ]


if __name__ == "__main__":
    main(run, __doc__, only=("nbd", "distant", "at-once", "huge"))
