# SPDX-License-Identifier: Apache-2.0
"""What proof costs: digest, journal and full verification, over the same copy without them; and what an increment
reads and writes, by dirty bitmap, when one per cent of a disk changed.

Run alone: ``python -m tests.perf.proof_bench [--quick] [--rounds N] [--only NAME]``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from coriolis.dataplane import CopyOptions, NbdSink, NbdSource, copy_disk, verify_disk
from coriolis.dataplane import nbd as nbd_client
from coriolis.dataplane.digest import leaf_digest
from coriolis.dataplane.engine import Counters, Engine
from coriolis.dataplane.extents import LeafRun, plan
from coriolis.dataplane.feed import connect_source
from coriolis.dataplane.types import Extent
from tests.perf.contest import (
    DENSE,
    MIB,
    SMALL_DENSE,
    SMALL_SPARSE,
    SPARSE,
    Disk,
    Rig,
    Row,
    contest,
    main,
    make_disk,
    nbd_server,
    new_disk,
    ratio_row,
    roomy_folder,
)
from tests.perf.flow_bench import ours, pairs

COST_BAR, BYTES_BAR = 1.05, 1.05
CHANGED = 0.01
GRAIN = 64 << 10  # of the dirty bitmap


def run(rounds: int = 5, *, quick: bool = False, only: str | None = None) -> Iterator[Row]:
    rounds = 1 if quick else rounds
    if only in (None, "cost"):
        for disk in (SMALL_DENSE,) if quick else (SPARSE, DENSE):
            yield from cost_rows(disk, rounds)
    if only in (None, "increment"):
        yield from increment_rows(SMALL_SPARSE if quick else SPARSE, rounds)


class Bare:
    """The engine's policy for a copy that proves nothing: no journal, every leaf is written."""

    def __init__(self, extents: Iterator[Extent], size: int) -> None:
        self._extents, self._size = extents, size

    def runs(self) -> Iterator[LeafRun]:
        return plan(self._extents, self._size)

    def complete(self, run: LeafRun, view: memoryview) -> None:
        """There is no unchanged part in a full copy."""

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        return run.parts

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        return None

    def store(self, records: list[bytes]) -> None:
        """Nothing to keep."""


def bare(rig: Rig, *, digest: Callable[[memoryview], bytes]) -> None:
    options = CopyOptions()
    sources = connect_source(NbdSource(uri=rig.uris["source0"]), options)
    sinks = [nbd_client.connect(rig.uris["sink0"])]
    size = sources[0].size
    policy = Bare(nbd_client.extents(sources[0], size), size)
    Engine(sources, sinks, policy, size, options=options, counters=Counters(), digest=digest).run()


def verified(rig: Rig) -> None:
    ours(rig)
    verify_disk(NbdSink(uri=rig.uris["sink0"]), journal=Path(rig.uris["folder"]) / "journal0")


def cost_rows(disk: Disk, rounds: int) -> list[Row]:
    contestants: dict[str, Callable[[Rig], None]] = {
        "bare": partial(bare, digest=lambda view: b""),
        "digest": partial(bare, digest=leaf_digest),
        "ours": ours,
        "verified": verified,
    }
    with roomy_folder() as folder:
        image = make_disk(folder / "disk", disk)
        found = contest(contestants, rounds, partial(pairs, folder, [image]))
    base = found["bare"]
    return [
        ratio_row(
            f"digest and journal, {disk.name}, over a copy without", found["ours"].wall, base.wall, "s", COST_BAR
        ),
        ratio_row(f"digest and journal, {disk.name}: CPU", found["ours"].cpu, base.cpu, "CPU s", None),
        ratio_row(f"digest alone, {disk.name}", found["digest"].wall, base.wall, "s", None),
        ratio_row(f"digest, journal and full verification, {disk.name}", found["verified"].wall, base.wall, "s", None),
    ]


def increment_rows(disk: Disk, rounds: int) -> list[Row]:
    with roomy_folder() as folder:
        guest = Guest(folder, disk)
        found = contest({"increment": guest.increment, "full": guest.full}, rounds, guest.stage)
        done = json.loads((folder / "result").read_text())
    changed = guest.changed
    title = f"increment of {CHANGED:.0%} of {disk.name}"
    return [
        ratio_row(f"{title}: bytes read against changed", done["bytes_read"] / MIB, changed / MIB, "MiB", BYTES_BAR),
        ratio_row(
            f"{title}: bytes written against changed", done["bytes_written"] / MIB, changed / MIB, "MiB", BYTES_BAR
        ),
        ratio_row(f"{title}, against a full copy", found["increment"].wall, found["full"].wall, "s", None),
    ]


class Guest:
    """A QCOW2 disk that was copied once, and then changed here and there, in runs of 64 KiB to 1 MiB."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._size = folder, disk.size
        self._image = folder / "disk.qcow2"
        raw = make_disk(folder / "disk.raw", disk)
        _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(self._image))
        raw.unlink()
        _run("qemu-img", "bitmap", "--add", "-g", str(GRAIN), str(self._image), "dirty")
        self._base, self._target = new_disk(folder / "base", disk.size), folder / "target"
        with nbd_server(self._image, format="qcow2") as (source, _), nbd_server(self._base, writable=True) as (sink, _):
            copy_disk(
                NbdSource(uri=source, identity="first"), NbdSink(uri=sink), journal=folder / "kept-journal", epoch=1
            )
        self.changed = self._change(round(disk.size * CHANGED))

    def _change(self, wanted: int) -> int:
        rng = random.Random(1)
        grains: set[int] = set()
        commands: list[str] = []
        while len(grains) * GRAIN < wanted:
            length = rng.choice((1, 4, 16))
            first = rng.randrange(self._size // GRAIN - length)
            run = set(range(first, first + length))
            if not run & grains:
                grains |= run
                commands += ["-c", f"write -P {rng.randrange(1, 256)} {first * GRAIN} {length * GRAIN}"]
        _run("qemu-io", "-f", "qcow2", *commands, str(self._image))
        return len(grains) * GRAIN

    @contextlib.contextmanager
    def stage(self) -> Iterator[Rig]:
        for old in self._folder.glob("journal*"):
            old.unlink()
        for kept in self._folder.glob("kept-journal*"):
            shutil.copy(kept, self._folder / kept.name.removeprefix("kept-"))
        _run("cp", "--sparse=always", str(self._base), str(self._target))
        bitmap = ["-B", "dirty"]
        with (
            nbd_server(self._image, format="qcow2", options=bitmap) as (source, source_pid),
            nbd_server(self._target, writable=True) as (sink, sink_pid),
        ):
            yield Rig(uris={"source": source, "sink": sink}, servers=(source_pid, sink_pid))
        self._target.unlink()

    def increment(self, rig: Rig) -> None:
        source = NbdSource(uri=rig.uris["source"], identity="second", bitmap="dirty", base_identity="first")
        done = copy_disk(source, NbdSink(uri=rig.uris["sink"]), journal=self._folder / "journal", epoch=2)
        if done.mode != "dirty":
            raise RuntimeError(f"the copy was {done.mode}: this measures nothing")
        (self._folder / "result").write_text(json.dumps(dataclasses.asdict(done)))

    def full(self, rig: Rig) -> None:
        source = NbdSource(uri=rig.uris["source"], identity="second")
        copy_disk(source, NbdSink(uri=rig.uris["sink"]), journal=self._folder / "journal-full", epoch=1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(run, __doc__, only=("cost", "increment"))
