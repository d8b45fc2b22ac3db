# SPDX-License-Identifier: Apache-2.0
"""A copy journal's mirror at the conductor: what another worker goes on with when this host is lost.

Beside the journal stands ``NAME.turn``: the turn in which the file equalled the mirror. If the mirror's last writer had
that turn, nobody has written since, and the file serves; otherwise the mirror's bytes are fetched.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coriolis.dataplane import JournalError, StaleEpoch
from coriolis.rpc.messages import (
    Attempt,
    JournalAck,
    JournalOpen,
    JournalOpened,
    JournalPieces,
    JournalRead,
    JournalWrite,
)

PIECE = 256 << 10  # bytes of the journal in one message; the conductor takes no more
Ask = Callable[[Any], Any]  # a request to the conductor -> its reply; blocks until it is there


class ConductorMirror:
    """A `dataplane.Mirror` over messages. ``ask`` insists until the conductor has answered."""

    def __init__(self, path: Path, name: str, attempt: Attempt, ask: Ask) -> None:
        self._note = path.with_name(path.name + ".turn")
        self._name, self._attempt, self._ask = name, attempt, ask
        self._turn = self._length = 0

    @property
    def length(self) -> int:
        return self._length

    def open(self) -> bool:
        reply: JournalOpened = self._ask(JournalOpen(attempt=self._attempt, name=self._name))
        self._demand(reply.accepted)
        self._turn, self._length = reply.turn, reply.length
        return reply.before in (0, self._noted())

    def read(self) -> bytes:
        content = bytearray()
        while len(content) < self._length:
            request = JournalRead(attempt=self._attempt, name=self._name, offset=len(content))
            reply: JournalPieces = self._ask(request)
            self._demand(reply.accepted)
            for piece in reply.pieces:
                content += zlib.decompress(base64.b64decode(piece))
            if len(content) != reply.end:
                raise JournalError("the conductor's copy of the journal has a gap; the disk is copied again")
        return bytes(content)

    def append(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._send(self._length, piece, expected=self._length + len(piece))

    def replace(self, data: bytes) -> None:
        kept = self._length
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            done = start + len(piece) == len(data)
            self._send(start, piece, draft=True, done=done, expected=len(data) if done else kept)

    def settle(self) -> None:
        temporary = self._note.with_name(self._note.name + ".new")
        temporary.write_text(str(self._turn))
        os.replace(temporary, self._note)

    def _send(self, offset: int, piece: bytes, *, expected: int, draft: bool = False, done: bool = True) -> None:
        reply: JournalAck = self._ask(
            JournalWrite(
                attempt=self._attempt,
                name=self._name,
                turn=self._turn,
                offset=offset,
                size=len(piece),
                data=base64.b64encode(zlib.compress(piece, 1)).decode(),
                draft=draft,
                done=done,
            )
        )
        self._demand(reply.accepted)
        if reply.length != expected:
            raise JournalError(
                f"the conductor has {reply.length} bytes of the journal, not {expected}; the copy goes on when it is "
                "tried again",
                retryable=True,
            )
        self._length = reply.length

    def _demand(self, accepted: bool) -> None:
        if not accepted:
            raise StaleEpoch("the conductor has given this disk to another attempt; this one stops")

    def _noted(self) -> int | None:
        try:
            return int(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return None
