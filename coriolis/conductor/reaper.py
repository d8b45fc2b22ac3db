# SPDX-License-Identifier: Apache-2.0
"""Ends silent sessions, by the database's clock, and frees what they ran in the same transaction."""

from __future__ import annotations

import datetime as dt
import logging

from prometheus_client import Counter
from sqlalchemy.engine import Connection

from coriolis.conductor.plans import Plans
from coriolis.domain.facts import SessionLost
from coriolis.store import sessions, tasks
from coriolis.store.engine import Database

LOG = logging.getLogger(__name__)

LOST = Counter("coriolis_sessions_lost_total", "Worker sessions that were silent for longer than their lease.")

BATCH = 5  # sessions per transaction


def reap(db: Database, *, lease_seconds: float, quarantine: dt.timedelta) -> list[str]:
    """Gives the ids of the sessions that this call has ended.

    Tasks of any dead session are freed, not only of those that end now: a claim that was under way while its session
    died may have come through after the look.
    """
    ended = db.write(_reap, db, lease_seconds, quarantine)
    for session_id in ended:
        LOST.inc()
        LOG.warning("Session %s was silent for more than %s s; its tasks are free", session_id, lease_seconds)
    return ended


def _reap(conn: Connection, db: Database, lease_seconds: float, quarantine: dt.timedelta) -> list[str]:
    now = db.utcnow()
    ended = sessions.expire(conn, lease_seconds, now, BATCH)
    free(conn, now, quarantine)
    return ended


def free(conn: Connection, now: dt.datetime, quarantine: dt.timedelta) -> None:
    """Frees all tasks of dead sessions."""
    lost = tasks.without_owner(conn)
    if not lost:
        return
    plans = Plans(conn, lost, now, quarantine)
    for key in plans.graphs:
        for session_id in sorted(lost[key]):
            plans.take(key, SessionLost(at=now, session_id=session_id))
    plans.save()
