# SPDX-License-Identifier: Apache-2.0
"""Copy journals at the conductor: whoever owns the task goes on with them, nobody else, and they go with their job."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from coriolis.conductor import journals
from coriolis.dataplane import JournalError, StaleEpoch
from coriolis.dataplane.journal import Journal, load
from coriolis.dataplane.records import RECORD_SIZE, Record, pack
from coriolis.dataplane.types import LEAF_SIZE
from coriolis.domain.errors import Invalid
from coriolis.rpc.messages import Assign, JournalOpen, JournalRead, JournalWrite
from coriolis.store import tables
from coriolis.worker.journal_mirror import PIECE, ConductorMirror
from tests.unit.conductor.rig import LEASE, Rig, badly

HANDLERS = {JournalOpen: journals.take_over, JournalRead: journals.read, JournalWrite: journals.write}


def mirror(rig: Rig, assign: Assign, folder: Path, name: str = "j") -> ConductorMirror:
    folder.mkdir(exist_ok=True)

    def ask(request: Any) -> Any:
        return HANDLERS[type(request)](rig.db, request)

    return ConductorMirror(folder / "disk.journal", name, assign.attempt, ask)


def rows(rig: Rig) -> tuple[int, int]:
    with rig.db.reader() as conn:
        tables_ = (tables.journal, tables.journal_piece)
        return tuple(conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables_)  # type: ignore[return-value]


@pytest.fixture
def first(rig: Rig) -> Assign:
    rig.worker(host="first", kind="full")
    rig.create(kind="full")
    rig.run(until="copy")
    return rig.held[0]


def lose(rig: Rig, assign: Assign) -> Assign:
    """The attempt's worker dies; gives the attempt that takes over elsewhere."""
    rig.clock.forward(LEASE + 1)
    rig.reap()
    rig.sessions.clear()
    rig.worker(host="second", kind="full")
    (again,) = [one for one in rig.dispatch() if one.attempt.task_id == assign.attempt.task_id]
    return again


def test_a_copy_goes_on_with_it_on_another_host(rig: Rig, first: Assign, tmp_path: Path) -> None:
    size = 40 * LEAF_SIZE
    book = Journal.open(tmp_path / "a" / "disk.journal", size=size, epoch=1, mirror=mirror(rig, first, tmp_path / "a"))
    book.begin("snap-1", 0, 40)
    for index in range(20):
        book.leaves.put(index, bytes([index]) * 32)
        book.append([pack(Record.LEAF, index=index, digest=bytes([index]) * 32)])
    second = lose(rig, first)
    with pytest.raises(StaleEpoch):
        book.append([pack(Record.LEAF, index=20, digest=bytes(32))])
    book.close()
    path = tmp_path / "b" / "disk.journal"
    other = Journal.open(path, size=size, epoch=2, mirror=mirror(rig, second, tmp_path / "b"))
    assert [other.leaves.is_done(i) for i in range(40)] == [True] * 20 + [False] * 20
    other.close()
    assert load(path).leaves.get(19) == bytes([19]) * 32


def test_large_journals_travel_in_pieces(rig: Rig, first: Assign, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(5 * PIECE + 77)
    one = mirror(rig, first, tmp_path / "a")
    assert one.open()
    one.replace(content)
    one.append(b"x" * (PIECE + 1))
    one.settle()
    again = mirror(rig, first, tmp_path / "a")
    assert again.open()  # nobody wrote since
    assert again.read() == content + b"x" * (PIECE + 1)
    other = mirror(rig, first, tmp_path / "b")
    assert not other.open()
    assert other.length == len(content) + PIECE + 1
    other.replace(b"short")
    assert rows(rig) == (1, 1)
    assert not again.open()
    assert again.read() == b"short"


def test_until_a_replacement_is_complete_the_old_one_counts(rig: Rig, first: Assign, tmp_path: Path) -> None:
    one = mirror(rig, first, tmp_path / "a")
    one.open()
    one.replace(b"before")
    one._send(0, b"half of it", draft=True, done=False, expected=6)
    other = mirror(rig, first, tmp_path / "b")
    other.open()
    assert other.read() == b"before"
    other.replace(b"after")
    assert other.read() == b"after"


def test_an_older_turn_is_refused(rig: Rig, first: Assign, tmp_path: Path) -> None:
    old, new = mirror(rig, first, tmp_path / "a"), mirror(rig, first, tmp_path / "b")
    old.open()
    new.open()
    with pytest.raises(StaleEpoch):
        old.append(b"x")
    new.append(b"y")


def test_a_piece_that_does_not_fit_changes_nothing(rig: Rig, first: Assign, tmp_path: Path) -> None:
    one = mirror(rig, first, tmp_path / "a")
    one.open()
    one.append(b"abc")
    with pytest.raises(JournalError, match="not 7"):
        one._send(5, b"fg", expected=7)
    assert one.read() == b"abc"
    one._send(0, b"abc", expected=3)  # the same message again
    assert one.read() == b"abc"


def test_data_that_lies_about_its_size_is_refused(rig: Rig, first: Assign) -> None:
    request = JournalWrite(attempt=first.attempt, name="j", turn=1, offset=0, size=RECORD_SIZE, data="AAAA")
    with pytest.raises(Invalid):
        journals.write(rig.db, request)


@pytest.mark.parametrize("good", [True, False])
def test_a_migration_that_is_over_leaves_none(rig: Rig, first: Assign, tmp_path: Path, good: bool) -> None:
    one = mirror(rig, first, tmp_path / "a")
    one.open()
    one.append(b"x")
    assert rows(rig) == (1, 1)
    for assign in rig.held:
        rig.end(assign)
    rig.run() if good else rig.run(badly("verify"))
    assert rows(rig) == (0, 0)
