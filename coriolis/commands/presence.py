# SPDX-License-Identifier: Apache-2.0
"""Tells that a process is there. Workers tell by their registration; this is for the programs beside the database."""

from __future__ import annotations

import os
import uuid

from coriolis.domain.errors import CoriolisError
from coriolis.runtime import diagnostics
from coriolis.runtime.loops import Loop
from coriolis.store import processes
from coriolis.store.engine import Database

RENEW_SECONDS = 20.0
SILENT_SECONDS = 60.0  # who is silent for longer is taken for gone


class Presence:
    """A row of this process, renewed while it runs, removed when it stops."""

    def __init__(self, db: Database, *, application: str, host: str, renew_seconds: float = RENEW_SECONDS) -> None:
        self._db = db
        self._application = application
        self._host = host
        self._id: str | None = None
        self._loop = Loop(f"presence of {application}", self._turn, renew_seconds)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()
        if self._id is not None:
            try:
                self._db.write(processes.end, self._id)
            except CoriolisError:
                pass  # the database went first; the row is taken for gone soon

    def _turn(self) -> bool:
        """Begins anew under another id when the row was forgotten meanwhile."""
        if self._id is not None and self._db.write(processes.renew, self._id):
            return False
        key = str(uuid.uuid4())
        self._db.write(
            processes.start,
            key,
            application=self._application,
            host=self._host,
            pid=os.getpid(),
            specs=diagnostics.collect(self._application),
            now=self._db.utcnow(),
        )
        self._id = key
        return False
