# SPDX-License-Identifier: Apache-2.0
"""The journal file: what survives, what is refused, who may write."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from coriolis.dataplane import JournalBusy, JournalError, SourceShrank, StaleEpoch
from coriolis.dataplane.journal import Journal, load
from coriolis.dataplane.records import RECORD_SIZE, Record, identity_hash, pack
from coriolis.dataplane.types import LEAF_SIZE

SIZE = 4 * LEAF_SIZE
D = [bytes([i]) * 32 for i in range(1, 9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.journal"


def write(path: Path, *, finish: bool = False, identity: str = "snap-1", epoch: int = 1) -> None:
    journal = Journal.open(path, size=SIZE, epoch=epoch)
    journal.begin(identity, 0, 4)
    for index in range(4 if finish else 2):
        journal.leaves.put(index, D[index])
        journal.append([pack(Record.LEAF, index=index, epoch=epoch, digest=D[index])])
    if finish:
        journal.finish()
    journal.close()


def test_what_was_appended_is_there_again(path: Path) -> None:
    write(path)
    loaded = load(path)
    assert [loaded.leaves.get(i) for i in range(4)] == [D[0], D[1], None, None]
    assert loaded.leaves.is_done(1)
    assert loaded.round is not None
    assert loaded.round.identity == identity_hash("snap-1")
    assert not loaded.round.finished
    assert loaded.base is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_finished_round_is_the_base_of_the_next(path: Path) -> None:
    write(path, finish=True)
    journal = Journal.open(path, size=SIZE, epoch=2)
    assert journal.base is not None
    assert journal.base.digest == journal.leaves.root()
    journal.begin("snap-2", 0, 4)
    assert journal.base.identity == identity_hash("snap-1")
    assert not journal.leaves.is_done(0)
    assert journal.leaves.get(0) == D[0]
    journal.close()


def test_what_was_left_out_is_kept_with_its_round(path: Path) -> None:
    for number in range(1, 5):  # until it is written anew, too
        with contextlib.closing(Journal.open(path, size=SIZE, epoch=1)) as journal:
            journal.begin(f"snap-{number}", 0, 0)
            for _ in range(30):
                journal.append([pack(Record.LEAF, index=0, digest=b"x" * 32)])
            journal.leaves.put_zero(0, journal.leaves.count)
            journal.append([pack(Record.ZERO, index=0, count=journal.leaves.count)])
            journal.finish(number * 4096 - 1)
            assert journal.round is not None
            assert journal.round.left_out == number * 4096
        known = load(path)
        assert known.round == known.base
        assert known.base is not None
        assert known.base.left_out == number * 4096
    with contextlib.closing(Journal.open(path, size=SIZE + (1 << 20), epoch=1)) as journal:
        assert journal.base is not None
        assert journal.base.left_out == 4 * 4096


@pytest.mark.parametrize("rubbish", [b"\0", b"\0" * RECORD_SIZE, b"x" * (3 * RECORD_SIZE + 5)])
def test_a_torn_tail_is_dropped(path: Path, rubbish: bytes) -> None:
    write(path)
    good = path.stat().st_size
    with open(path, "ab") as file:
        file.write(rubbish)
    journal = Journal.open(path, size=SIZE, epoch=1)
    assert not journal.damaged
    assert journal.leaves.get(1) == D[1]
    journal.append([pack(Record.LEAF, index=2, digest=D[2])])
    journal.close()
    assert path.stat().st_size == good + RECORD_SIZE
    assert load(path).leaves.get(2) == D[2]


def test_damage_before_the_end_is_never_trusted(path: Path) -> None:
    write(path)
    raw = bytearray(path.read_bytes())
    raw[3 * RECORD_SIZE + 20] ^= 1
    path.write_bytes(raw)
    with pytest.raises(JournalError, match="damaged"):
        load(path)
    journal = Journal.open(path, size=SIZE, epoch=1)
    assert journal.damaged
    assert journal.base is None
    journal.begin("snap-1", 0, 0)
    assert journal.leaves.get(0) is None
    assert not any(journal.leaves.is_untouched(i) for i in range(4))
    journal.close()
    assert not load(path).leaves.is_untouched(0)  # also for the next attempt
    assert path.with_name("disk.journal.damaged").read_bytes() == raw


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 64])
def test_a_file_that_is_no_journal_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    journal = Journal.open(path, size=SIZE, epoch=1)
    assert journal.damaged
    journal.close()


def test_a_disk_that_shrank_is_refused(path: Path) -> None:
    write(path)
    with pytest.raises(SourceShrank, match="as large as before"):
        Journal.open(path, size=SIZE - 512, epoch=1)
    write(path)  # and the lock was let go


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("more", [512, LEAF_SIZE, 3 * LEAF_SIZE + 512])
def test_a_disk_that_grew_keeps_what_is_known(path: Path, finish: bool, more: int) -> None:
    write(path, finish=finish)
    for _ in range(2):  # also when it is loaded again
        journal = Journal.open(path, size=SIZE + more, epoch=1)
        assert journal.size == SIZE + more
        assert [journal.leaves.get(i) for i in range(4)] == (D[:4] if finish else [D[0], D[1], None, None])
        assert journal.base == (None if not finish else journal.base)
        journal.close()
    journal = Journal.open(path, size=SIZE + more, epoch=1)
    journal.begin("snap-2", 0, 0)
    assert [journal.leaves.is_untouched(i) for i in range(2, 5)] == [False, False, True]
    journal.close()


def test_a_short_last_leaf_is_not_known_after_the_disk_grew(tmp_path: Path) -> None:
    path, size = tmp_path / "j", 2 * LEAF_SIZE + 512
    journal = Journal.open(path, size=size, epoch=1)
    journal.begin("snap-1", 0, 3)
    for index in range(3):
        journal.leaves.put(index, D[index])
        journal.append([pack(Record.LEAF, index=index, digest=D[index])])
    journal.finish()
    journal.close()
    for _ in range(2):
        journal = Journal.open(path, size=3 * LEAF_SIZE, epoch=1)
        assert journal.base is not None
        assert journal.base.identity == identity_hash("snap-1")
        journal.begin("snap-2", 0, 0)
        assert [journal.leaves.get(i) for i in range(3)] == [D[0], D[1], None]
        assert not journal.leaves.is_untouched(2)
        journal.close()


def test_an_older_epoch_is_refused_even_after_everything_else_is_gone(path: Path) -> None:
    write(path, epoch=7)
    path.unlink()
    with pytest.raises(StaleEpoch, match="epoch 7 owns"):
        Journal.open(path, size=SIZE, epoch=6)


def test_the_same_epoch_may_come_back(path: Path) -> None:
    write(path, epoch=7)
    Journal.open(path, size=SIZE, epoch=7).close()


def test_a_second_writer_is_kept_out_while_the_first_lives(path: Path) -> None:
    first = Journal.open(path, size=SIZE, epoch=1)
    with pytest.raises(JournalBusy, match="another process"):
        Journal.open(path, size=SIZE, epoch=1, lock_seconds=0)
    first.close()
    Journal.open(path, size=SIZE, epoch=1, lock_seconds=0).close()


def test_a_zombie_stops_at_its_next_checkpoint_once_a_newer_one_came(path: Path) -> None:
    zombie = Journal.open(path, size=SIZE, epoch=1)
    zombie.begin("snap-1", 0, 4)
    with pytest.raises(JournalBusy):
        Journal.open(path, size=SIZE, epoch=2, lock_seconds=0)
    before = path.read_bytes()
    with pytest.raises(StaleEpoch):
        zombie.append([pack(Record.LEAF, index=0, digest=D[0])])
    assert path.read_bytes() == before
    zombie.close()
    Journal.open(path, size=SIZE, epoch=2, lock_seconds=0).close()


def test_an_unfinished_round_of_another_identity_leaves_doubt_up_to_its_frontier(path: Path) -> None:
    write(path, finish=True)
    journal = Journal.open(path, size=SIZE, epoch=1)
    journal.begin("snap-2", 0, 0)
    journal.advance(3)
    journal.leaves.put(0, D[5])
    journal.append([pack(Record.LEAF, index=0, digest=D[5])])
    journal.begin("snap-3", 0, 0)
    assert [journal.leaves.get(i) for i in range(4)] == [D[5], None, None, D[3]]
    journal.close()
    loaded = load(path)
    assert [loaded.leaves.get(i) for i in range(4)] == [D[5], None, None, D[3]]


def test_a_long_journal_is_compacted_between_rounds_and_says_the_same(path: Path) -> None:
    write(path, finish=True)
    for number in range(2, 40):
        journal = Journal.open(path, size=SIZE, epoch=1)
        journal.begin(f"snap-{number}", 0, 4)
        digest = bytes([number]) * 32
        for index in range(4):
            journal.leaves.put(index, digest)
            journal.append([pack(Record.LEAF, index=index, digest=digest)])
        journal.finish()
        journal.close()
    assert path.stat().st_size < 90 * RECORD_SIZE
    loaded = load(path)
    assert loaded.round is not None
    assert loaded.round.number == 39
    assert loaded.round.digest == loaded.leaves.root()
    assert loaded.leaves.get(3) == bytes([39]) * 32


def test_finishing_needs_every_leaf(path: Path) -> None:
    journal = Journal.open(path, size=SIZE, epoch=1)
    journal.begin("snap-1", 0, 4)
    journal.leaves.put_zero(0, 3)
    with pytest.raises(JournalError, match="leaf 3 is missing"):
        journal.finish()
    journal.close()


def test_a_damaged_epoch_file_is_not_taken_for_a_low_epoch(path: Path) -> None:
    write(path)
    epoch = path.with_name("disk.journal.epoch")
    raw = bytearray(epoch.read_bytes())
    raw[0] ^= 0xFF
    epoch.write_bytes(raw)
    with pytest.raises(JournalError, match="damaged"):
        Journal.open(path, size=SIZE, epoch=9)
    assert not os.path.exists(path.with_name("disk.journal.damaged"))
