# SPDX-License-Identifier: Apache-2.0
"""The engine itself, over real journals and disks in memory, with random extents, orders, errors, kills and power cuts.

Whatever happens on the way, in the end the target holds the source's bytes and the digest is that of its definition;
nothing is written twice but what ``redo_limit`` allows; a target that promises zeros gets none.
"""

from __future__ import annotations

import dataclasses
import random
import struct
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coriolis.dataplane import Cancelled, CopyOptions, SinkError, SourceError, Stalled
from coriolis.dataplane.engine import Counters, Engine
from coriolis.dataplane.journal import Journal
from coriolis.dataplane.policy import CopyPolicy, begin
from coriolis.dataplane.records import Record
from coriolis.dataplane.types import LEAF_SIZE, MIB, Extent, Kind, Progress
from tests.property.memory_nbd import Disk, Killed, MemoryConnection, MemoryLoop, Trouble

SECTOR = 512
REDO = 3 * MIB


def digest_of(data: bytes | bytearray) -> str:
    """By the definition in `coriolis.dataplane.digest`."""
    leaves = (data[at : at + LEAF_SIZE] for at in range(0, len(data), LEAF_SIZE))
    head = b"coriolis disk 1\n" + struct.pack("<QQ", len(data), LEAF_SIZE)
    return blake3.blake3(head + b"".join(blake3.blake3(bytes(leaf)).digest() for leaf in leaves)).hexdigest()


def random_source(rng: random.Random) -> tuple[bytearray, list[Extent]]:
    """Up to 9 MiB of it, and extents that lie only on the safe side: what is said to be zero is."""
    size = rng.randrange(1, 9 * MIB // SECTOR) * SECTOR
    data, extents = bytearray(size), []
    offset = 0
    while offset < size:
        length = min(rng.choice((SECTOR, 4096, 65536, 300 * 1024, MIB, 3 * MIB)) * rng.randrange(1, 4), size - offset)
        kind = rng.choice((Kind.DATA, Kind.ZERO, Kind.UNKNOWN))
        if kind is not Kind.ZERO and rng.random() < 0.8:
            data[offset : offset + length] = bytes([rng.randrange(256)]) * length
        extents.append(Extent(offset, length, kind))
        offset += length
    return data, extents


class Watched(CopyPolicy):
    """Knows which leaves are in the journal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stored: set[int] = set()

    def store(self, records: list[bytes]) -> None:
        super().store(records)
        for record in records:
            kind, count, index = struct.unpack_from("<B3xIQ", record)
            self.stored |= {index} if kind == Record.LEAF else set(range(index, index + count))


class World:
    """A source, a target and the journal between them."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.rng, self.path = rng, folder / "journal"
        self.data, self.extents = random_source(rng)
        self.zeroed = rng.random() < 0.5
        spare = rng.choice((0, 0, SECTOR, 2 * MIB))
        filling = b"\0" if self.zeroed else b"\xee"
        self.target = Disk(bytearray(filling * (len(self.data) + spare)))
        self.dirty: list[Extent] | None = None
        self.least, self.most = rng.choice(((1, 1 << 25), (SECTOR, 1 << 25), (1, 65536), (SECTOR, 300 * 1024)))
        self.zeroes = rng.random() < 0.7
        self.connections = rng.randrange(1, 4)
        self.epoch = 0
        self.identity = "snap-1"
        self.base: str | None = None

    def attempt(
        self,
        trouble: Trouble,
        *,
        cancel_after: int | None = None,
        clock: Callable[[int], float] | None = None,
        **options: float,
    ) -> str:
        """``clock``: the time after so many turns; real time by default."""
        self.epoch += 1
        self.target.leaves.clear()
        loop = MemoryLoop(self.rng, trouble)
        sizes: dict[str, Any] = {"least": self.least, "most": self.most}
        sources = [MemoryConnection(Disk(self.data), f"source-{n}", **sizes) for n in range(self.connections)]
        sinks = [
            MemoryConnection(self.target, f"sink-{n}", zeroes=self.zeroes, **sizes) for n in range(self.connections)
        ]
        counters = Counters()
        seen: list[Progress] = []
        chosen = CopyOptions(
            requests=self.rng.randrange(1, 8), window=12, redo_limit=REDO, flush_bytes=2 * MIB, progress_seconds=0
        )
        chosen = dataclasses.replace(chosen, **options)  # type: ignore[arg-type]
        book = Journal.open(self.path, size=len(self.data), epoch=self.epoch)
        try:
            mode = begin(book, self.identity, self.base)
            if mode == "done":
                assert book.round is not None
                assert book.round.digest is not None
                return book.round.digest.hex()
            extents = self.dirty if mode == "dirty" and self.dirty is not None else self.extents
            policy = Watched(book, extents, zeroed=self.zeroed, check=lambda: None, counters=counters)
            Engine(
                list(sources), list(sinks), policy, len(self.data), options=chosen, counters=counters, loop=loop,
                progress=partial(self.watch, policy, seen),
                cancelled=lambda: cancel_after is not None and loop.turns >= cancel_after,
                clock=time.monotonic if clock is None else lambda: clock(loop.turns),
            ).run()  # fmt: skip
            assert seen[-1].done == len(self.data)
            return book.finish().hex()
        finally:
            assert loop.closed or not loop.turns
            assert loop.deepest <= (12 + 4) * MIB
            book.close()

    def watch(self, policy: Watched, seen: list[Progress], progress: Progress) -> None:
        """Called after each turn: what a kill would cost now is within the limit."""
        seen.append(progress)
        assert len(self.target.leaves - policy.stored) <= REDO // LEAF_SIZE

    def arrived(self) -> bool:
        return self.target.data[: len(self.data)] == self.data

    def change(self) -> None:
        """Another snapshot of the source, with the extents that an increment is told."""
        dirty: list[Extent] = []
        for extent in self.extents:
            touched = self.rng.random() < 0.3
            if touched and extent.kind is not Kind.ZERO:
                self.data[extent.offset : extent.end] = bytes([self.rng.randrange(256)]) * extent.length
            dirty.append(extent if touched else dataclasses.replace(extent, kind=Kind.UNCHANGED))
        self.dirty, self.base, self.identity = dirty, self.identity, f"{self.identity}+"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_bytes_arrive_in_any_order(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(random.Random(seed), Path(folder))
        assert world.attempt(Trouble()) == digest_of(world.data)
        assert world.arrived()
        if world.zeroed:
            assert world.target.zeroed == 0
            data = sum(e.length for e in world.extents if e.kind is not Kind.ZERO)
            assert world.target.written <= data + 64 * 1024 * len(world.extents)  # short gaps are written through
        beyond = world.target.data[len(world.data) :]
        assert beyond == bytes([0 if world.zeroed else 0xEE]) * len(beyond)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_after_kills_power_cuts_and_errors_the_next_call_goes_on(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(rng, Path(folder))
        for _round in range(rng.randrange(1, 3)):
            for _ in range(rng.randrange(4)):
                trouble = rng.choice(
                    (
                        Trouble(kill_after=rng.randrange(60)),
                        Trouble(read_error=0.05),
                        Trouble(write_error=0.05),
                        Trouble(lost=0.03),
                    )
                )
                try:
                    world.attempt(trouble, cancel_after=rng.choice((None, 30)))
                    break
                except (SourceError, SinkError, Cancelled, Killed):
                    pass
                if rng.random() < 0.5:
                    world.target.lose_power(rng)
            assert world.attempt(Trouble()) == digest_of(world.data)
            assert world.arrived()
            world.change()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_kill_costs_no_more_than_the_redo_limit(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(rng, Path(folder))
        world.zeroes, world.least, world.most = True, 1, 1 << 25
        kills = 0
        for _ in range(3):
            try:
                world.attempt(Trouble(kill_after=rng.randrange(20, 90)))
                break
            except Killed:
                kills += 1
        world.attempt(Trouble())
        assert world.arrived()
        wanted = -(-len(world.data) // LEAF_SIZE) * LEAF_SIZE
        assert world.target.written <= wanted + kills * REDO


@pytest.mark.parametrize("seed", range(4))
def test_a_command_that_never_ends_is_noticed(seed: int, tmp_path: Path) -> None:
    world = World(random.Random(seed), tmp_path)
    world.zeroed = False
    with pytest.raises(Stalled, match="nothing moved"):
        world.attempt(Trouble(hang=1.0), stall_seconds=0.05)
    assert world.attempt(Trouble()) == digest_of(world.data)
    assert world.arrived()


@pytest.mark.parametrize("seed", range(6))
def test_a_clock_that_jumps_is_no_stall(seed: int, tmp_path: Path) -> None:
    """As it does for a process that was stopped, or on a host that slept or was moved."""
    rng = random.Random(seed)
    world = World(rng, tmp_path)
    jumps = sorted(rng.randrange(60) for _ in range(3))

    def clock(turns: int) -> float:
        return turns * 0.2 + sum(100_000.0 for jump in jumps if turns > jump)

    assert world.attempt(Trouble(), clock=clock, stall_seconds=120.0) == digest_of(world.data)
    assert world.arrived()


@pytest.mark.parametrize("jump", [0.0, 100_000.0])
def test_a_stall_is_noticed_whatever_the_clock_did(jump: float, tmp_path: Path) -> None:
    world = World(random.Random(3), tmp_path)
    turns = 0

    def clock(now: int) -> float:
        nonlocal turns
        turns = now
        return now * 0.2 + (jump if now > 100 else 0.0)

    with pytest.raises(Stalled, match="for 120 s"):
        world.attempt(Trouble(hang=1.0), clock=clock, stall_seconds=120.0)
    assert 600 < turns < 1000  # a fifth of a second each
