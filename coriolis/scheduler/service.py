# SPDX-License-Identifier: Apache-2.0
"""The scheduler as a service. As many as wanted may run."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass

from coriolis.rpc.bus import Bus, Handler, Served
from coriolis.rpc.messages import SCHEDULER, WORKER, Wake
from coriolis.runtime.loops import Loop
from coriolis.scheduler.dispatch import dispatch
from coriolis.store.engine import Database

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
        self._served: Served | None = None

    def start(self) -> None:
        self._loop.start()
        name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        self._served = self._bus.serve(SCHEDULER, name, self.handlers())

    def stop(self) -> None:
        if self._served is not None:
            self._served.stop()
        self._loop.stop()

    def handlers(self) -> dict[str, Handler]:
        """Method to what answers it."""
        return {"wake": self.wake}

    def wake(self, _: Wake) -> None:
        self._loop.wake()

    def _turn(self) -> bool:
        settings = self._settings
        done = dispatch(self._db, limit=settings.batch_size, tasks_per_endpoint=settings.tasks_per_endpoint)
        for one in done.assigns:
            self._bus.cast(WORKER, one, server=one.attempt.session_id)
        return done.full and bool(done.assigns)
