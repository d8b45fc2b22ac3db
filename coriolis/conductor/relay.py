# SPDX-License-Identifier: Apache-2.0
"""Sends the outbox: at least once, in order of writing. What it sends are hints, so that doubles do no harm."""

from __future__ import annotations

from typing import Any

from coriolis.rpc.bus import Bus
from coriolis.rpc.messages import METHODS
from coriolis.store import outbox
from coriolis.store.engine import Database
from coriolis.store.rows import Hint


def relay(db: Database, bus: Bus, *, limit: int) -> int:
    """Sends at most ``limit`` lines, equal ones once; gives how many lines were taken."""
    hints = db.read(outbox.oldest, limit)
    sent: list[Any] = []
    for hint in hints:
        message = _message(hint)
        if (hint.topic, hint.server, message) not in sent:
            sent.append((hint.topic, hint.server, message))
            bus.cast(hint.topic, message, server=hint.server)
    if hints:
        db.write(outbox.remove, [hint.id for hint in hints])
    return len(hints)


def _message(hint: Hint) -> Any:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in hint.payload.items()}
    return METHODS[hint.topic][hint.method][0](**fields)
