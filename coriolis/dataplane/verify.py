# SPDX-License-Identifier: Apache-2.0
"""Reads disks back: compares them with a journal's leaf digests, or computes their digest."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from coriolis.dataplane.digest import LeafTable, zero_digest
from coriolis.dataplane.engine import Counters, Engine
from coriolis.dataplane.errors import JournalError, Mismatch
from coriolis.dataplane.export import Opened, open_target, opened
from coriolis.dataplane.extents import LeafRun, leaf_span, plan
from coriolis.dataplane.feed import Feed, disk_size, feed_extents, open_feed
from coriolis.dataplane.journal import load
from coriolis.dataplane.types import (
    CancelCheck,
    CopyOptions,
    Extent,
    ImageSource,
    Kind,
    NbdSource,
    ProgressCallback,
    Sink,
    Source,
    VerifyResult,
)

_SHOWN = 8  # differing extents in a message


def verify_disk(
    target: Source | Sink,
    *,
    journal: Path,
    mode: Literal["full", "sample"] = "full",
    fraction: float = 0.05,
    seed: int = 0,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> VerifyResult:
    """Reads ``target`` and compares it with the leaf digests of a finished ``journal``.

    ``sample`` reads ``fraction`` of the leaves, picked by ``seed``. What the target's server reports as
    zeros is not read but compared as zeros. Raises `Mismatch` naming the extents that differ. The target
    may be larger than the journal's disk; what lies beyond is not looked at.
    """
    start = time.monotonic()
    try:
        book = load(journal)
    except FileNotFoundError:
        raise JournalError(f"{journal} is not there: nothing to compare with") from None
    if book.round is None or book.round.digest is None:
        raise JournalError(f"{journal} has no finished round: finish the copy, then verify")
    leaves = book.leaves
    chosen = None if mode == "full" else _sample(leaves.count, fraction, seed)
    policy = _Compare(leaves, chosen)
    counters = read_disk(target, book.size, policy, options, progress, cancelled)
    if policy.wrong:
        raise _mismatch(policy.wrong, book.size)
    digest = book.round.digest.hex()
    if mode == "full" and leaves.root().hex() != digest:
        raise JournalError(f"{journal} contradicts itself: its leaves do not add up to its digest; copy again")
    return VerifyResult(
        mode=mode,
        size=book.size,
        leaves=leaves.count,
        leaves_checked=policy.checked,
        bytes_read=counters.read,
        digest=digest if mode == "full" else None,
        seconds=time.monotonic() - start,
    )


def digest_disk(
    source: Source | Sink,
    *,
    size: int | None = None,
    options: CopyOptions | None = None,
    progress: ProgressCallback | None = None,
    cancelled: CancelCheck | None = None,
) -> VerifyResult:
    """Reads all of ``source``, or its first ``size`` bytes, and returns their digest, which equals
    `CopyResult.digest` for the same bytes.
    """
    start = time.monotonic()
    policy = _Digest()
    counters = read_disk(source, size, policy, options, progress, cancelled)
    assert policy.leaves is not None
    return VerifyResult(
        mode="full",
        size=policy.leaves.size,
        leaves=policy.leaves.count,
        leaves_checked=policy.leaves.count,
        bytes_read=counters.read,
        digest=policy.leaves.root().hex(),
        seconds=time.monotonic() - start,
    )


class Reading:
    """An engine policy that writes nothing."""

    size: int
    feed: Feed

    def attach(self, feed: Feed, size: int) -> None:
        self.feed, self.size = feed, size

    def runs(self) -> Iterator[LeafRun]:
        yield from plan(feed_extents(self.feed, self.size), self.size)

    def complete(self, run: LeafRun, view: memoryview) -> None:
        raise AssertionError("a disk that is only read is read whole")

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        return ()

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        return None

    def store(self, records: list[bytes]) -> None:
        """Nothing to keep."""


class _Digest(Reading):
    leaves: LeafTable | None = None

    def attach(self, feed: Feed, size: int) -> None:
        super().attach(feed, size)
        self.leaves = LeafTable(size)

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        assert self.leaves is not None
        if digest is None:
            self.leaves.put_zero(run.index, run.count)
        else:
            self.leaves.put(run.index, digest)
        return None


class _Compare(Reading):
    def __init__(self, leaves: LeafTable, chosen: frozenset[int] | None) -> None:
        self._leaves, self._chosen = leaves, chosen
        self.wrong: list[int] = []
        self.checked = 0

    def runs(self) -> Iterator[LeafRun]:
        for run in super().runs():
            if run.kind is not Kind.DATA or self._chosen is None or run.index in self._chosen:
                yield run

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        self.checked += run.count
        if digest is not None:
            if self._leaves.get(run.index) != digest:
                self.wrong.append(run.index)
            return None
        for index, count in self._leaves.spans(run.index, run.count):
            if not self._leaves.is_zero(index):
                self.wrong.extend(i for i in range(index, index + count) if not self._holds_zeros(i))
        return None

    def _holds_zeros(self, index: int) -> bool:
        return self._leaves.get(index) == zero_digest(leaf_span(index, self._leaves.size)[1])


@contextlib.contextmanager
def _opened(disk: Source | Sink) -> Iterator[Opened]:
    if isinstance(disk, NbdSource | ImageSource):
        with opened(disk) as result:
            yield result
        return
    with open_target(disk) as source:
        yield Opened(source=source, identity=None, check=_nothing)


def _nothing() -> None:
    """A target that we made is not watched for changes: its digests are what is checked."""


def read_disk(
    what: Source | Sink,
    size: int | None,
    policy: Reading,
    options: CopyOptions | None,
    progress: ProgressCallback | None,
    cancelled: CancelCheck | None,
) -> Counters:
    """Runs a policy over ``size`` bytes of a disk, or all of it."""
    options = options or CopyOptions()
    counters = Counters()
    with _opened(what) as disk:
        feed = open_feed(disk, options)
        policy.attach(feed, disk_size(feed, size))
        Engine(
            feed, None, policy, policy.size,
            options=options, counters=counters, progress=progress, cancelled=cancelled,
        ).run()  # fmt: skip
        disk.check()
    return counters


def _sample(count: int, fraction: float, seed: int) -> frozenset[int]:
    wanted = min(count, max(1, round(count * fraction)))
    return frozenset(random.Random(seed).sample(range(count), wanted))


def _mismatch(wrong: list[int], size: int) -> Mismatch:
    spans: list[tuple[int, int]] = []
    for index in sorted(wrong):
        offset, length = leaf_span(index, size)
        if spans and sum(spans[-1]) == offset:
            spans[-1] = (spans[-1][0], spans[-1][1] + length)
        else:
            spans.append((offset, length))
    shown = ", ".join(f"{length} bytes at {offset}" for offset, length in spans[:_SHOWN])
    more = f" and {len(spans) - _SHOWN} more" if len(spans) > _SHOWN else ""
    return Mismatch(
        f"the target differs from what was copied: {shown}{more}; something else wrote to it, or its storage fails. "
        "Copy it again and look at its storage",
        extents=tuple(spans),
    )
