# SPDX-License-Identifier: Apache-2.0
"""The digest of a disk is what its documentation says, however its leaves became known."""

from __future__ import annotations

import struct

import blake3

from coriolis.dataplane.digest import LeafTable, leaf_digest, zero_digest
from coriolis.dataplane.types import LEAF_SIZE


def by_the_book(disk: bytes) -> str:
    leaves = b"".join(blake3.blake3(disk[i : i + LEAF_SIZE]).digest() for i in range(0, len(disk), LEAF_SIZE))
    head = b"coriolis disk 1\n" + struct.pack("<QQ", len(disk), 1 << 20)
    return blake3.blake3(head + leaves).hexdigest()


def test_the_root_is_the_documented_one() -> None:
    disk = b"a" * LEAF_SIZE + bytes(LEAF_SIZE) + b"b" * 700
    table = LeafTable(len(disk))
    table.put(0, leaf_digest(disk[:LEAF_SIZE]))
    table.put_zero(1, 1)
    table.put(2, leaf_digest(disk[2 * LEAF_SIZE :]))
    assert table.root().hex() == by_the_book(disk)


def test_zeros_count_the_same_whether_read_or_skipped_also_in_a_short_last_leaf() -> None:
    size = 5000 * LEAF_SIZE + 512
    skipped, read = LeafTable(size), LeafTable(size)
    skipped.put_zero(0, 5001)
    for index in range(5000):
        read.put(index, zero_digest())
    read.put(5000, zero_digest(512))
    assert skipped.root() == read.root()


def test_size_is_part_of_the_digest() -> None:
    one, two = LeafTable(512), LeafTable(1024)
    one.put(0, bytes(32))
    two.put(0, bytes(32))
    assert one.root() != two.root()


def test_doubt_makes_a_known_leaf_unknown_until_it_is_written_again() -> None:
    table = LeafTable(4 * LEAF_SIZE)
    table.put_zero(0, 4)
    table.new_round()
    table.put(1, bytes(32))
    table.doubt(3)
    assert [table.is_known(i) for i in range(4)] == [False, True, False, True]
    assert table.get(0) is None
    assert not table.is_untouched(0)
    assert table.missing() == 0
    table.put(0, bytes(32))
    assert table.is_known(0)


def test_a_new_round_keeps_digests_but_not_what_is_done() -> None:
    table = LeafTable(2 * LEAF_SIZE)
    table.put(0, b"x" * 32)
    assert table.is_done(0)
    table.new_round()
    assert not table.is_done(0)
    assert table.get(0) == b"x" * 32


def test_runs_join_zeros_only() -> None:
    table = LeafTable(6 * LEAF_SIZE)
    table.put_zero(0, 2)
    table.put(2, b"x" * 32)
    table.put(3, b"x" * 32)
    table.put_zero(5, 1)
    assert list(table.runs()) == [(0, 2, True), (2, 1, False), (3, 1, False), (5, 1, True)]
