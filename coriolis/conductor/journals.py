# SPDX-License-Identifier: Apache-2.0
"""Keeps copy journals for workers, so that a copy goes on elsewhere when its host is lost.

Who may write is fenced twice: the attempt must own its task, and its turn must be the journal's last one.
"""

from __future__ import annotations

import base64
import zlib

from sqlalchemy.engine import Connection

from coriolis.commands import assign
from coriolis.conductor.ingest import STALE
from coriolis.domain.errors import Invalid
from coriolis.rpc.messages import (
    Attempt,
    JournalAck,
    JournalOpen,
    JournalOpened,
    JournalPieces,
    JournalRead,
    JournalWrite,
)
from coriolis.store import fence, journals, tasks
from coriolis.store.engine import Database
from coriolis.store.fence import Owner

LONGEST_PIECE = 256 << 10  # bytes of the journal


def take_over(db: Database, request: JournalOpen) -> JournalOpened:
    """Gives the attempt the next turn."""
    return db.write(_take_over, db, request)


def _take_over(conn: Connection, db: Database, request: JournalOpen) -> JournalOpened:
    if not _owns(conn, db, request.attempt):
        return JournalOpened(accepted=False)
    task_id = request.attempt.task_id
    execution_id, _ = tasks.locate(conn, {task_id})[task_id]
    job = assign.background(conn, [execution_id]).job(execution_id)
    before = journals.take_over(conn, job.replica_of, request.name, task_id, db.utcnow())
    return JournalOpened(accepted=True, before=before.turn, turn=before.turn + 1, length=before.length)


def read(db: Database, request: JournalRead) -> JournalPieces:
    """Some pieces; none at the end."""
    with db.reader() as conn:
        head = journals.of_writer(conn, request.attempt.task_id, request.name)
        if head is None:
            return JournalPieces(accepted=False)
        found = journals.read(conn, head, request.offset)
    pieces = tuple(base64.b64encode(piece.data).decode() for piece in found)
    return JournalPieces(accepted=True, pieces=pieces, end=found[-1].offset + found[-1].size if found else 0)


def write(db: Database, request: JournalWrite) -> JournalAck:
    """Adds to the journal, or drafts another one.

    :raises Invalid: the data is not what it says it is. :raises Conflict: it does not fit to what is kept"""
    data = base64.b64decode(request.data)
    if request.size > LONGEST_PIECE or len(_inflated(data)) != request.size:
        raise Invalid(f"A piece of a journal does not have the {request.size} bytes that it announces.", field="size")
    return db.write(_write, db, request, journals.Piece(offset=request.offset, size=request.size, data=data))


def _write(conn: Connection, db: Database, request: JournalWrite, piece: journals.Piece) -> JournalAck:
    if not _owns(conn, db, request.attempt):
        return JournalAck(accepted=False)
    head = journals.of_writer(conn, request.attempt.task_id, request.name)
    if head is None or head.turn != request.turn:
        return JournalAck(accepted=False)
    now = db.utcnow()
    if not request.draft:
        return JournalAck(accepted=True, length=journals.append(conn, head, piece, now))
    journals.draft(conn, head, piece)
    if not request.done:
        return JournalAck(accepted=True, length=head.length)
    length = piece.offset + piece.size
    journals.replace(conn, head, length, now)
    return JournalAck(accepted=True, length=length)


def _owns(conn: Connection, db: Database, attempt: Attempt) -> bool:
    owner = Owner(attempt.task_id, attempt.epoch, attempt.session_id)
    if fence.touch(conn, [owner], db.utcnow()) == 1:
        return True
    STALE.labels("journal").inc()
    return False


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, LONGEST_PIECE + 1)
    except zlib.error:
        return b""
