# SPDX-License-Identifier: Apache-2.0
"""A journal that is kept elsewhere too: another host goes on with it, and damage here is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from coriolis.dataplane import StaleEpoch
from coriolis.dataplane.journal import Journal, load
from coriolis.dataplane.records import RECORD_SIZE, Record, pack, parse
from coriolis.dataplane.types import LEAF_SIZE

SIZE = 4 * LEAF_SIZE
D = [bytes([i]) * 32 for i in range(1, 9)]


class Shelf:
    """What all hosts can reach: bytes, and who wrote last."""

    def __init__(self) -> None:
        self.data = b""
        self.turn = 0


class MirrorOf:
    """One host's way to a shelf, as `Mirror` has it."""

    def __init__(self, shelf: Shelf, host: Path) -> None:
        self.shelf, self.note = shelf, host / "turn"
        self.turn = 0

    @property
    def length(self) -> int:
        return len(self.shelf.data)

    def open(self) -> bool:
        before, self.shelf.turn = self.shelf.turn, self.shelf.turn + 1
        self.turn = self.shelf.turn
        return before == 0 or (self.note.exists() and int(self.note.read_text()) == before)

    def read(self) -> bytes:
        return self.shelf.data

    def append(self, data: bytes) -> None:
        self._check()
        self.shelf.data += data

    def replace(self, data: bytes) -> None:
        self._check()
        self.shelf.data = data

    def settle(self) -> None:
        self.note.write_text(str(self.turn))

    def _check(self) -> None:
        if self.shelf.turn != self.turn:
            raise StaleEpoch("another writer")


class Host:
    def __init__(self, shelf: Shelf, folder: Path) -> None:
        folder.mkdir()
        self.shelf, self.folder, self.path = shelf, folder, folder / "disk.journal"

    def open(self, epoch: int) -> Journal:
        return Journal.open(self.path, size=SIZE, epoch=epoch, mirror=MirrorOf(self.shelf, self.folder))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def hosts(shelf: Shelf, tmp_path: Path) -> tuple[Host, Host]:
    return Host(shelf, tmp_path / "a"), Host(shelf, tmp_path / "b")


def put(journal: Journal, *indexes: int) -> None:
    for index in indexes:
        journal.leaves.put(index, D[index])
        journal.append([pack(Record.LEAF, index=index, epoch=journal.epoch, digest=D[index])])


def test_another_host_goes_on_and_the_first_one_follows(hosts: tuple[Host, Host], shelf: Shelf) -> None:
    first, second = hosts
    book = first.open(1)
    book.begin("snap-1", 0, 4)
    put(book, 0, 1)
    book.close()
    book = second.open(2)
    assert [book.leaves.get(i) for i in range(4)] == [D[0], D[1], None, None]
    assert book.leaves.is_done(1)
    put(book, 2)
    book.close()
    book = first.open(3)  # its own file lacks leaf 2
    assert book.leaves.get(2) == D[2]
    put(book, 3)
    digest = book.finish()
    book.close()
    assert load(first.path).base == parse(shelf.data, first.path).base
    assert parse(shelf.data, first.path).round is not None
    assert digest == parse(shelf.data, first.path).leaves.root()


def test_what_was_written_here_but_not_yet_there_is_sent_at_the_next_open(
    hosts: tuple[Host, Host], shelf: Shelf
) -> None:
    first, _ = hosts
    book = first.open(1)
    book.begin("snap-1", 0, 4)
    before = shelf.data
    put(book, 0)
    book.close()
    shelf.data = before  # killed between the two writes
    first.open(2).close()
    assert shelf.data == first.path.read_bytes()


def test_damage_here_is_mended_from_there(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts
    book = first.open(1)
    book.begin("snap-1", 0, 4)
    put(book, 0, 1, 2)
    book.close()
    good = first.path.read_bytes()
    for position in (3 * RECORD_SIZE + 20, len(good) - 10):  # in the middle, and where it would pass for a torn tail
        raw = bytearray(good)
        raw[position] ^= 1
        first.path.write_bytes(raw)
        book = first.open(2)
        assert not book.damaged
        assert book.leaves.get(2) == D[2]
        book.close()


def test_damage_in_both_places_is_never_trusted(hosts: tuple[Host, Host], shelf: Shelf) -> None:
    first, second = hosts
    book = first.open(1)
    book.begin("snap-1", 0, 4)
    put(book, 0, 1, 2)
    book.close()
    raw = bytearray(shelf.data)
    raw[3 * RECORD_SIZE + 20] ^= 1
    shelf.data = bytes(raw)
    book = second.open(2)
    assert book.damaged
    book.begin("snap-1", 0, 0)
    assert book.leaves.get(0) is None
    assert not any(book.leaves.is_untouched(i) for i in range(4))
    assert shelf.data == second.path.read_bytes()
    book.close()


def test_a_stale_file_of_an_earlier_turn_is_not_believed(hosts: tuple[Host, Host]) -> None:
    """Longer than the mirror's, which was compacted meanwhile: length alone does not tell which is newer."""
    first, second = hosts
    for number in range(1, 40):
        book = first.open(number)
        book.begin(f"snap-{number}", 0, 4)
        put(book, 0, 1, 2, 3)
        book.finish()
        book.close()
        if first.path.stat().st_size > 60 * RECORD_SIZE:
            break
    book = second.open(50)
    book._compact()
    put(book, 0)
    book.begin("other", 0, 4)
    book.close()
    book = first.open(51)
    assert book.round is not None
    assert not book.round.finished
    book.close()


def test_a_writer_that_was_replaced_is_refused_by_the_mirror(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    zombie = first.open(1)
    zombie.begin("snap-1", 0, 4)
    book = second.open(2)
    with pytest.raises(StaleEpoch):
        put(zombie, 0)
    zombie.close()
    put(book, 1)
    book.close()
    assert load(second.path).leaves.get(0) is None


def test_a_target_that_is_gone_is_forgotten_in_both_places(hosts: tuple[Host, Host], shelf: Shelf) -> None:
    first, second = hosts
    book = first.open(1)
    book.begin("snap-1", 0, 4)
    put(book, 0)
    book.reset()
    book.close()
    assert len(shelf.data) == RECORD_SIZE
    book = second.open(2)
    assert book.round is None
    assert book.leaves.is_untouched(0)
    book.close()
