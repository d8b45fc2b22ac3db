# SPDX-License-Identifier: Apache-2.0
"""Kills at any moment, in any round, and the target still ends equal to the source with the right digest.

The real journal file and the real copy policy run against a model of a disk: each leaf holds two halves, each a small
number, 0 for zeros. The model plays the engine and what can happen to it: leaves settle out of order, a kill leaves any
part of what was under way on the target, unsynced records are cut off anywhere, rounds are abandoned for newer
snapshots, bitmaps are too old, journals rot.
"""

from __future__ import annotations

import dataclasses
import random
import tempfile
from pathlib import Path

import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from coriolis.dataplane.digest import LeafTable, zero_digest
from coriolis.dataplane.engine import Counters
from coriolis.dataplane.extents import LeafRun
from coriolis.dataplane.journal import Journal
from coriolis.dataplane.policy import CopyPolicy, begin
from coriolis.dataplane.records import RECORD_SIZE
from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

HALF = LEAF_SIZE // 2
LEAVES = 10
SIZE = LEAVES * LEAF_SIZE
Disk = list[int]  # one number per half leaf


def digest_of(leaf: tuple[int, int]) -> bytes:
    return zero_digest() if leaf == (0, 0) else blake3.blake3(bytes(leaf)).digest()


def leaf_of(disk: Disk, index: int) -> tuple[int, int]:
    return disk[2 * index], disk[2 * index + 1]


def root_of(disk: Disk) -> bytes:
    table = LeafTable(SIZE)
    for index in range(LEAVES):
        table.put(index, digest_of(leaf_of(disk, index)))
    return table.root()


@dataclasses.dataclass
class Snapshot:
    identity: str
    disk: Disk
    dirty: set[int]  # halves written since the base, whether or not their value differs now
    base: str | None


class Killed(Exception):
    """The process is gone."""


class World:
    """A source that changes, a target, and the journal between them."""

    def __init__(self, rng: random.Random, folder: Path, *, zeroed: bool) -> None:
        self.rng, self.zeroed = rng, zeroed
        self.path = folder / "journal"
        self.live: Disk = [rng.choice((0, 0, 1, 2)) for _ in range(2 * LEAVES)]
        self.target: Disk = [0 if zeroed else 9] * (2 * LEAVES)
        self.written: dict[str, set[int]] = {}  # since each snapshot
        self.snapshots = 0
        self.copied: str | None = None
        self.epoch = 0

    def snapshot(self) -> Snapshot:
        for _ in range(self.rng.randrange(4)):
            half = self.rng.randrange(2 * LEAVES)
            self.live[half] = self.rng.choice((0, 1, 2, 3))
            for written in self.written.values():
                written.add(half)
        self.snapshots += 1
        identity = f"snap-{self.snapshots}"
        older: list[str | None] = [None, self.copied, self.copied, *self.written]  # bitmaps may be of any age
        base = self.rng.choice(older)
        dirty = set(self.written[base]) if base is not None else set()
        self.written[identity] = set()
        return Snapshot(identity, list(self.live), dirty, base)

    def attempt(self, snapshot: Snapshot, *, kill_after: int | None) -> bytes | None:
        """One run of the engine; None when it was killed on the way."""
        self.epoch += 1
        book = Journal.open(self.path, size=SIZE, epoch=self.epoch)
        try:
            mode = begin(book, snapshot.identity, snapshot.base)
            if mode == "done":
                assert book.round is not None
                return book.round.digest
            policy = CopyPolicy(
                book,
                self.extents(snapshot, dirty=mode == "dirty"),
                zeroed=self.zeroed,
                check=lambda: None,
                counters=Counters(),
            )
            self.flow(policy, snapshot, kill_after)
            return book.finish()
        except Killed:
            return None
        finally:
            book.close()

    def extents(self, snapshot: Snapshot, *, dirty: bool) -> list[Extent]:
        found = []
        for half, value in enumerate(snapshot.disk):
            kind = Kind.DATA if value or self.rng.random() < 0.2 else Kind.ZERO
            if dirty and half not in snapshot.dirty:
                kind = Kind.UNCHANGED
            found.append(Extent(half * HALF, HALF, kind))
        return found

    def flow(self, policy: CopyPolicy, snapshot: Snapshot, kill_after: int | None) -> None:
        under_way: list[LeafRun] = []
        unstored: list[bytes] = []
        steps = 0
        runs = policy.runs()
        exhausted = False
        while not exhausted or under_way or unstored:
            if kill_after is not None and steps >= kill_after:
                for run in under_way:
                    self.write(policy, run, snapshot, torn=True)
                raise Killed
            steps += 1
            choice = self.rng.random()
            if choice < 0.4 and not exhausted and len(under_way) < 4:
                run = next(runs, None)
                exhausted = run is None
                under_way += [run] if run is not None else []
            elif choice < 0.8 and under_way:
                run = under_way.pop(self.rng.randrange(len(under_way)))
                digest = self.write(policy, run, snapshot, torn=False)
                record = policy.settled(run, digest)
                unstored += [record] if record is not None else []
            elif unstored:
                policy.store(unstored)
                unstored = []

    def write(self, policy: CopyPolicy, run: LeafRun, snapshot: Snapshot, *, torn: bool) -> bytes | None:
        """Does to the target what the engine would; ``torn``: any part of it."""
        if run.kind is Kind.UNCHANGED:
            return None
        if run.kind is Kind.ZERO:
            digest, parts = (
                None,
                tuple(Extent(i * HALF, HALF, Kind.ZERO) for i in range(2 * run.index, 2 * (run.index + run.count))),
            )
        else:
            digest = digest_of(leaf_of(snapshot.disk, run.index))
            parts = policy.decide(run, digest)
        for part in parts:
            for half in range(part.offset // HALF, part.end // HALF):
                if torn and self.rng.random() < 0.5:
                    continue
                self.target[half] = 0 if part.kind is Kind.ZERO else snapshot.disk[half]
        return digest

    def lose_power(self) -> None:
        """Rubbish where an unsynced append was cut off."""
        if self.rng.random() < 0.3:
            with open(self.path, "ab") as file:
                file.write(bytes(self.rng.randrange(1, 2 * RECORD_SIZE)))

    def rot(self) -> None:
        raw = bytearray(self.path.read_bytes()) if self.path.exists() else bytearray()
        if len(raw) >= 4 * RECORD_SIZE:
            raw[self.rng.randrange(RECORD_SIZE, len(raw) - 2 * RECORD_SIZE)] ^= 0x40
            self.path.write_bytes(raw)


@settings(max_examples=250)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_whatever_happens_the_target_ends_equal(seed: int, zeroed: bool, rots: bool) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(rng, Path(folder), zeroed=zeroed)
        for _round in range(5):
            if rots and rng.random() < 0.3:
                world.rot()
            snapshot = world.snapshot()
            for _attempt in range(rng.randrange(3)):
                if world.attempt(snapshot, kill_after=rng.randrange(40)) is not None:
                    break
                world.lose_power()
                if rots and rng.random() < 0.2:
                    world.rot()
            if rng.random() < 0.3:
                continue  # abandoned for a newer snapshot
            digest = world.attempt(snapshot, kill_after=None)
            assert world.target == snapshot.disk
            assert digest == root_of(snapshot.disk)
            world.copied = snapshot.identity


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_an_increment_writes_only_what_was_dirty(seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(rng, Path(folder), zeroed=True)
        first = world.snapshot()
        world.attempt(first, kill_after=None)
        world.copied = first.identity
        second = dataclasses.replace(world.snapshot(), base=first.identity, dirty=set(world.written[first.identity]))
        clean = [half for half in range(2 * LEAVES) if half not in second.dirty]
        for half in clean:
            world.target[half] = 77  # would be repaired if it were written
        world.attempt(second, kill_after=None)
        assert all(world.target[half] == 77 or second.disk[half] == 0 for half in clean)
