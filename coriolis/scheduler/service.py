# SPDX-License-Identifier: Apache-2.0
"""The scheduler as a service. As many as wanted may run."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass

from coriolis.commands.schedules import Outcome
from coriolis.rpc.bus import Bus, Handler, Served
from coriolis.rpc.messages import CONDUCTOR, SCHEDULER, WORKER, Wake
from coriolis.runtime.loops import Loop
from coriolis.scheduler.cron import fire_due
from coriolis.scheduler.dispatch import dispatch
from coriolis.store.engine import Database

CRON_PAUSE = 5.0  # seconds that a schedule may be late
CRON_BATCH = 50
GATHER = 0.12  # seconds in which tasks that become ready close together are gathered into one transaction


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """``tasks_per_endpoint``: how many tasks may run at the same time against one endpoint."""

    poll_seconds: float = 3.0
    batch_size: int = 100
    tasks_per_endpoint: int = 64


class SchedulerService:
    """``start`` returns at once; ``stop`` finishes what is under way."""

    def __init__(self, settings: SchedulerSettings, db: Database, bus: Bus) -> None:
        self._settings = settings
        self._db = db
        self._bus = bus
        self._loop = Loop("dispatch", self._turn, settings.poll_seconds, GATHER)
        self._cron = Loop("cron", self._cron_turn, min(CRON_PAUSE, settings.poll_seconds))
        self._served: Served | None = None

    def start(self) -> None:
        self._loop.start()
        self._cron.start()
        name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        self._served = self._bus.serve(SCHEDULER, name, self.handlers())

    def stop(self) -> None:
        if self._served is not None:
            self._served.stop()
        self._cron.stop()
        self._loop.stop()

    def handlers(self) -> dict[str, Handler]:
        """Method to what answers it."""
        return {"wake": self.wake}

    def wake(self, _: Wake) -> None:
        self._loop.wake()

    def _cron_turn(self) -> bool:
        outcomes = fire_due(self._db, limit=CRON_BATCH)
        if Outcome.STARTED in outcomes:
            self._bus.cast(CONDUCTOR, Wake(what="advance"))
        return len(outcomes) == CRON_BATCH and Outcome.STARTED in outcomes

    def _turn(self) -> bool:
        settings = self._settings
        done = dispatch(self._db, limit=settings.batch_size, tasks_per_endpoint=settings.tasks_per_endpoint)
        for one in done.assigns:
            self._bus.cast(WORKER, one, server=one.attempt.session_id)
        return done.full and bool(done.assigns)
