# SPDX-License-Identifier: Apache-2.0
"""Queries on the copy journals that the conductor keeps. Their bytes mean nothing here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.engine import Connection

from coriolis.store.tables import journal, journal_piece

AT_ONCE = 512 << 10  # compressed bytes of one answer, about
_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Head:
    """A journal without its bytes."""

    replica_id: str
    name: str
    turn: int
    task_id: str
    generation: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """``size`` bytes at ``offset``; ``data`` is their compressed form."""

    offset: int
    size: int
    data: bytes


_HEAD = (
    journal.c.replica_id,
    journal.c.name,
    journal.c.turn,
    journal.c.task_id,
    journal.c.generation,
    journal.c.length,
)


def get(conn: Connection, replica_id: str, name: str) -> Head | None:
    found = conn.execute(select(*_HEAD).where(journal.c.replica_id == replica_id, journal.c.name == name)).first()
    return None if found is None else Head(**found._mapping)


def of_writer(conn: Connection, task_id: str, name: str) -> Head | None:
    """The journal of that name which the task has opened."""
    found = conn.execute(select(*_HEAD).where(journal.c.task_id == task_id, journal.c.name == name)).first()
    return None if found is None else Head(**found._mapping)


def take_over(conn: Connection, replica_id: str, name: str, task_id: str, now: dt.datetime) -> Head:
    """The journal before this, with its last turn; 0 for a new one. From now on it has the next turn."""
    known = get(conn, replica_id, name)
    if known is None:
        values = {"replica_id": replica_id, "name": name, "turn": 1, "task_id": task_id, "generation": 0, "length": 0}
        conn.execute(insert(journal).values(**values, updated_at=now))
        return Head(replica_id=replica_id, name=name, turn=0, task_id=task_id, generation=0, length=0)
    _set(conn, known, now, turn=known.turn + 1, task_id=task_id)
    return known


def read(conn: Connection, head: Head, offset: int) -> list[Piece]:
    """Pieces from ``offset`` on, in order; at least one when there is one, about ``AT_ONCE`` bytes at most."""
    columns = (journal_piece.c.offset, journal_piece.c.size, journal_piece.c.data)
    query = (
        select(*columns)
        .where(*_pieces_of(head), journal_piece.c.generation == head.generation, journal_piece.c.offset >= offset)
        .order_by(journal_piece.c.offset)
        .limit(_ROWS)
    )
    found: list[Piece] = []
    total = 0
    for row in conn.execute(query):
        if found and total + len(row.data) > AT_ONCE:
            break
        found.append(Piece(offset=row.offset, size=row.size, data=bytes(row.data)))
        total += len(row.data)
    return found


def append(conn: Connection, head: Head, piece: Piece, now: dt.datetime) -> int:
    """Adds to the end, unless the piece does not continue the journal (it is there already, or one before it is
    missing). Gives the length."""
    if piece.offset != head.length:
        return head.length
    _put(conn, head, head.generation, piece)
    end = piece.offset + piece.size
    _set(conn, head, now, length=end)
    return end


def draft(conn: Connection, head: Head, piece: Piece) -> None:
    """Keeps a piece of what shall replace the journal; what was drafted from there on is dropped."""
    where = (*_pieces_of(head), journal_piece.c.generation == head.generation + 1)
    conn.execute(delete(journal_piece).where(*where, journal_piece.c.offset >= piece.offset))
    _put(conn, head, head.generation + 1, piece)


def replace(conn: Connection, head: Head, length: int, now: dt.datetime) -> None:
    """The drafted pieces, ``length`` bytes, are the journal from now on."""
    _set(conn, head, now, generation=head.generation + 1, length=length)
    conn.execute(delete(journal_piece).where(*_pieces_of(head), journal_piece.c.generation <= head.generation))


def forget(conn: Connection, replica_ids: Sequence[str]) -> None:
    """Removes all journals of these jobs. Two statements."""
    if not replica_ids:
        return
    for table in (journal_piece, journal):
        conn.execute(delete(table).where(table.c.replica_id.in_(list(replica_ids))))


def forget_some(conn: Connection, replica_id: str, names: Sequence[str]) -> None:
    """Removes these journals of a job, if they are there. Two statements."""
    for table in (journal_piece, journal):
        conn.execute(delete(table).where(table.c.replica_id == replica_id, table.c.name.in_(list(names))))


def _put(conn: Connection, head: Head, generation: int, piece: Piece) -> None:
    place = {"replica_id": head.replica_id, "name": head.name, "generation": generation, "offset": piece.offset}
    conn.execute(insert(journal_piece).values(**place, size=piece.size, data=piece.data))


def _set(conn: Connection, head: Head, now: dt.datetime, **values: object) -> None:
    where = (journal.c.replica_id == head.replica_id, journal.c.name == head.name)
    conn.execute(update(journal).where(*where).values(**values, updated_at=now))


def _pieces_of(head: Head) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return journal_piece.c.replica_id == head.replica_id, journal_piece.c.name == head.name
