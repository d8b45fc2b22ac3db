# SPDX-License-Identifier: Apache-2.0
"""What copying means for each leaf, given what the journal knows about the target. No I/O but the journal's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from coriolis.dataplane.digest import leaf_digest, zero_digest
from coriolis.dataplane.earlier import Earlier
from coriolis.dataplane.engine import Counters
from coriolis.dataplane.errors import SinkError
from coriolis.dataplane.extents import LeafRun, leaf_span, plan
from coriolis.dataplane.journal import Journal
from coriolis.dataplane.records import Record, identity_hash, pack
from coriolis.dataplane.types import LEAF_SIZE, Extent, Kind

Mode = Literal["full", "dirty", "compare", "done"]
_MODES: tuple[Mode, ...] = ("full", "dirty", "compare", "done")  # as numbered in the journal
_SAME = (Kind.UNCHANGED, Kind.UNKNOWN)  # parts of a leaf that did not change: taken from the target, or read
_AHEAD = 1024  # leaves that the journal's frontier is moved ahead at a time


def begin(book: Journal, identity: str | None, bitmap_base: str | None) -> Mode:
    """Goes on with the journal's round, or starts one, and says how.

    ``bitmap_base``: the identity that the bitmap is relative to. The bitmap serves only when the journal's last
    finished round is that one: otherwise the target may lack changes that the bitmap does not show.
    """
    wanted = identity_hash(identity)
    last, base = book.round, book.base
    same = last is not None and wanted is not None and last.identity == wanted
    if same and last is not None and last.finished and book.leaves.missing() is not None:
        same = False  # the disk has grown meanwhile
    if same and last is not None and last.finished:
        return "done"
    mode: Mode = "full" if base is None else "compare"
    if base is not None and bitmap_base is not None and base.identity == identity_hash(bitmap_base):
        mode = "dirty"
    if not same:
        book.begin(identity, _MODES.index(mode), 0)
    return mode


class CopyPolicy:
    """The engine's policy for copying: what to read, what to write, what to put into the journal.

    ``extents``: the source, tidy, with what did not change since the journal's base marked so. ``zeroed``: leaves that
    nobody touched read as zeros on the target. ``check`` raises when the source changed while it was read. ``learned``:
    what is known of the target was read from it just now, and is not in the journal. ``earlier``: gives what did not
    change in a leaf; without it, leaves are read whole.
    """

    def __init__(
        self,
        book: Journal,
        extents: Iterable[Extent],
        *,
        zeroed: bool,
        check: Callable[[], None],
        counters: Counters,
        learned: bool = False,
        earlier: Earlier | None = None,
    ) -> None:
        self._book, self._leaves, self._size = book, book.leaves, book.size
        self._extents, self._zeroed, self._check, self._counters = extents, zeroed, check, counters
        self._learned, self._earlier = learned, earlier
        self._touched = book.frontier  # by an attempt before this one, in the same round

    def runs(self) -> Iterator[LeafRun]:
        """What is left to do; counts the rest."""
        for run in plan(self._extents, self._size):
            for index, count in self._leaves.spans(run.index, run.count):
                yield from self._wanted(LeafRun(index, count, run.kind, run.parts))

    def complete(self, run: LeafRun, view: memoryview) -> None:
        """Takes what did not change from the target, if the leaf there is still the one of the round before."""
        assert self._earlier is not None
        old = memoryview(bytearray(view.nbytes))
        offset = run.index * LEAF_SIZE
        self._earlier.read(old, offset)
        if leaf_digest(old) != self._leaves.get(run.index):
            self._leaves.doubt_one(run.index)
            self._book.append([pack(Record.DOUBT, index=run.index, epoch=self._book.epoch)])
            raise SinkError(
                f"the target does not hold what was copied, in the {view.nbytes} bytes at {offset}: something else "
                "wrote to it; when the copy is tried again, they are read whole from the source"
            )
        for part in run.parts:
            if part.kind is Kind.UNCHANGED:
                low = part.offset - offset
                view[low : low + part.length] = old[low : low + part.length]

    def decide(self, run: LeafRun, digest: bytes) -> tuple[Extent, ...]:
        offset, length = leaf_span(run.index, self._size)
        known = self._leaves.get(run.index)
        if known == digest:
            return ()
        untouched = self._zeroed and self._leaves.is_untouched(run.index)
        if digest == zero_digest(length):
            return () if untouched else (Extent(offset, length, Kind.ZERO),)
        parts = [part for part in run.parts if known is None or part.kind not in _SAME]
        if untouched:
            parts = [part for part in parts if part.kind is not Kind.ZERO]
        return tuple(
            Extent(part.offset, part.length, Kind.ZERO if part.kind is Kind.ZERO else Kind.DATA) for part in parts
        )

    def settled(self, run: LeafRun, digest: bytes | None) -> bytes | None:
        if digest is None:
            self._leaves.put_zero(run.index, run.count)
            return pack(Record.ZERO, index=run.index, count=run.count, epoch=self._book.epoch)
        if digest == zero_digest(leaf_span(run.index, self._size)[1]):
            self._leaves.put_zero(run.index, 1)
            return pack(Record.ZERO, index=run.index, count=1, epoch=self._book.epoch)
        self._leaves.put(run.index, digest)
        return pack(Record.LEAF, index=run.index, epoch=self._book.epoch, digest=digest)

    def store(self, records: list[bytes]) -> None:
        self._check()  # never record what was read from a source that changed meanwhile
        self._book.append(records)

    def _wanted(self, run: LeafRun) -> Iterator[LeafRun]:
        """The work in leaves about which the same is known."""
        length = leaf_span(run.index, self._size, run.count)[1]
        if self._leaves.is_done(run.index):
            self._counters.resumed += length
        elif run.kind is Kind.DATA:
            yield self._announced(self._completable(run))
        elif run.kind is Kind.ZERO:
            yield from self._zero(run, length)
        elif self._leaves.is_known(run.index):
            self._leaves.mark_done(run.index, run.count)
            self._skip(length)
        else:  # unchanged, but nobody knows what the target holds: read it
            for index in range(run.index, run.index + run.count):
                whole = Extent(*leaf_span(index, self._size), Kind.DATA)
                yield self._announced(LeafRun(index, 1, Kind.DATA, (whole,)))

    def _zero(self, run: LeafRun, length: int) -> Iterator[LeafRun]:
        if self._leaves.is_zero(run.index) and self._learned:
            yield LeafRun(run.index, run.count, Kind.UNCHANGED)
        elif self._leaves.is_zero(run.index):
            self._leaves.mark_done(run.index, run.count)
            self._skip(length)
        elif self._zeroed and self._leaves.is_untouched(run.index):
            yield LeafRun(run.index, run.count, Kind.UNCHANGED)
        else:
            yield self._announced(run)

    def _completable(self, run: LeafRun) -> LeafRun:
        """The leaf, whole from the source unless the target can give what did not change."""
        if self._earlier is not None and run.index >= self._touched and self._leaves.is_known(run.index):
            return run
        kinds = {Kind.UNCHANGED: Kind.UNKNOWN}
        parts = (Extent(part.offset, part.length, kinds.get(part.kind, part.kind)) for part in run.parts)
        return LeafRun(run.index, 1, Kind.DATA, tuple(parts))

    def _skip(self, length: int) -> None:
        self._counters.skipped += length
        self._counters.settled += length

    def _announced(self, run: LeafRun) -> LeafRun:
        """Lets the journal know, durably, how far writes may reach, before they do."""
        stop = run.index + run.count
        if stop > self._book.frontier:
            self._book.advance(min(stop + _AHEAD, self._leaves.count))
        return run
