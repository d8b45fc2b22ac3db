# SPDX-License-Identifier: Apache-2.0
"""A conductor, a scheduler and a worker in one: takes part in a race for the same rows.

As a program: ``python -m tests.integration.engine_racer URL SECONDS`` runs until nothing is left to do, and prints
how many results it had accepted and refused.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

from coriolis.conductor import advance, ingest, reaper
from coriolis.rpc.messages import Register, Result, Sync
from coriolis.scheduler.dispatch import dispatch
from coriolis.store import executions, tasks
from coriolis.store.engine import Database
from tests.unit.conductor.rig import DEFINITION, QUARANTINE, well


@dataclass
class Score:
    accepted: int = 0
    refused: int = 0


def race(db: Database, seconds: float, *, lease: float = 120.0) -> Score:
    """Compiles, places and ends whatever it finds, until all executions are over or the time is up."""
    request = Register(host="racer", pid=1, providers={"null": sorted(DEFINITION)}, slots=7)
    me = ingest.register(db, request, lease_seconds=lease, sync_seconds=5).session_id
    score = Score()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        advance.compile_pending(db, limit=3)
        reaper.reap(db, lease_seconds=lease, quarantine=QUARANTINE)
        assigns = dispatch(db, limit=5, tasks_per_endpoint=1000).assigns
        batch = [Result(attempt=one.attempt, **well(one)) for one in assigns]
        for ack in ingest.results(db, batch, quarantine=QUARANTINE) if batch else []:
            score.accepted += ack.accepted
            score.refused += not ack.accepted
        if not assigns:
            # What was assigned in a transaction whose answer was lost is told with a sync.
            missing = ingest.sync(db, Sync(session_id=me), grace_seconds=5).missing
            again = [Result(attempt=one.attempt, **well(one)) for one in missing]
            score.refused += sum(not ack.accepted for ack in ingest.results(db, again, quarantine=QUARANTINE))
            score.accepted += len(again)
        if not assigns and not db.read(tasks.counts) and not db.read(executions.uncompiled, 1):
            break
    return score


if __name__ == "__main__":
    database = Database(sys.argv[1], retry_seconds=60)
    found = race(database, float(sys.argv[2]))
    sys.stdout.write(json.dumps([found.accepted, found.refused]) + "\n")
