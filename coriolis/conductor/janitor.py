# SPDX-License-Identifier: Apache-2.0
"""Forgets what is no longer needed, in small chunks: old jobs, idempotency keys, dead sessions and processes."""

from __future__ import annotations

import datetime as dt

from coriolis.commands import jobs
from coriolis.store import idempotency, processes, sessions
from coriolis.store.engine import Database

CHUNK = 100
KEYS_KEPT = dt.timedelta(days=7)
SESSIONS_KEPT = dt.timedelta(days=7)
PROCESSES_KEPT = dt.timedelta(hours=1)


def clean(db: Database, *, retention_days: int) -> int:
    """One chunk of each kind; gives how many rows of the largest kind went, so that the caller knows to come again.

    ``retention_days`` 0 keeps jobs.
    """
    now = db.utcnow()
    gone = [
        db.write(idempotency.forget, now - KEYS_KEPT, CHUNK),
        db.write(sessions.forget, now - SESSIONS_KEPT, CHUNK),
        db.write(processes.forget, PROCESSES_KEPT.total_seconds(), CHUNK),
    ]
    if retention_days:
        gone.append(jobs.purge_chunk(db, now - dt.timedelta(days=retention_days), limit=CHUNK))
    return max(gone)
