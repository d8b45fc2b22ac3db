# SPDX-License-Identifier: Apache-2.0
"""Fires the schedules of transfers. As many schedulers as wanted may do so."""

from __future__ import annotations

import logging

from prometheus_client import Counter

from coriolis.commands import schedules
from coriolis.commands.schedules import Outcome
from coriolis.store.engine import Database

LOG = logging.getLogger(__name__)

FIRED = Counter("coriolis_schedules_due_total", "Schedules whose minute had come, and what came of it.", ["outcome"])


def fire_due(db: Database, *, limit: int) -> list[Outcome]:
    """Starts the executions of at most ``limit`` schedules. One that breaks does not stand in the way of the others."""
    outcomes = []
    for row in schedules.due(db, limit=limit):
        try:
            outcome = schedules.fire(db, row)
        except Exception:
            LOG.exception("Schedule %s cannot be fired", row.id)
            outcome = Outcome.FAILED
        FIRED.labels(outcome.value).inc()
        outcomes.append(outcome)
    return outcomes
