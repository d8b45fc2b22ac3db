# SPDX-License-Identifier: Apache-2.0
"""The conductor as a service: answers workers, and runs its loops. As many as wanted may run."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import os
import socket
import uuid
from dataclasses import dataclass

from prometheus_client import Gauge

from coriolis.commands import trusts
from coriolis.conductor import advance, governor, ingest, janitor, journals, ledger, links, minion_pools, reaper, relay
from coriolis.domain.errors import Unavailable
from coriolis.rpc.bus import Bus, Handler, Served
from coriolis.rpc.messages import (
    CONDUCTOR,
    Ack,
    Certified,
    Certify,
    EffectAck,
    EffectWrite,
    JournalAck,
    JournalOpen,
    JournalOpened,
    JournalPieces,
    JournalRead,
    JournalWrite,
    Register,
    Registered,
    Result,
    SourceOpen,
    SourceOpened,
    Sync,
    SyncReply,
    Wake,
)
from coriolis.runtime.certificates import Authority
from coriolis.runtime.loops import Batcher, Loop
from coriolis.runtime.trusts import Trusts
from coriolis.store import outbox, placing, streams
from coriolis.store.engine import Database

LOG = logging.getLogger(__name__)

READY = Gauge("coriolis_tasks_ready", "Tasks that may be placed on a worker.")
READY_AGE = Gauge("coriolis_tasks_ready_age_seconds", "How long the first of them has waited.")
OUTBOX = Gauge("coriolis_outbox_lines", "Hints that are not sent yet.")
OUTBOX_AGE = Gauge("coriolis_outbox_age_seconds", "How long the first of them has waited.")

RELAY_PAUSE = 1.0  # seconds: what the API writes is announced no later than this
CLEAN_PAUSE = 60.0
TRUSTS_GATHER = 2.0  # under load, so often is looked for trusts whose work is over
GATHER = 0.05  # seconds in which messages that come close together are gathered into one transaction


@dataclass(frozen=True, kw_only=True)
class ConductorSettings:
    """Times in seconds. ``quarantine_seconds``: how long a request that a worker sent before it was cut off may still
    be carried out by a platform."""

    lease_seconds: float = 30.0
    sync_seconds: float = 5.0
    poll_seconds: float = 3.0
    quarantine_seconds: float = 60.0
    batch_size: int = 100
    retention_days: int = 0


class ConductorService:
    """``start`` returns at once; ``stop`` finishes what is under way."""

    def __init__(
        self,
        settings: ConductorSettings,
        db: Database,
        bus: Bus,
        keystone: Trusts | None = None,
        authority: Authority | None = None,
    ) -> None:
        """``keystone``: where trusts are ended; None: there are none. ``authority``: certifies workers for links to
        each other; None: they have certificates of the operator's, or no links."""
        self._settings = settings
        self._authority = authority
        self._db = db
        self._bus = bus
        self._quarantine = dt.timedelta(seconds=settings.quarantine_seconds)
        self._results: Batcher[Result, Ack] = Batcher(
            lambda batch: ingest.results(db, batch, quarantine=self._quarantine), settings.batch_size, GATHER
        )
        self._effects: Batcher[EffectWrite, EffectAck] = Batcher(
            lambda batch: ledger.write(db, batch), settings.batch_size
        )
        self._advance = Loop("advance", self._advance_turn, settings.poll_seconds, GATHER)
        self._relay = Loop("relay", self._relay_turn, min(RELAY_PAUSE, settings.poll_seconds), GATHER)
        self._reaper = Loop("reaper", self._reaper_turn, min(settings.poll_seconds, settings.lease_seconds / 4))
        self._minions = Loop("minions", self._minions_turn, settings.poll_seconds, GATHER)
        self._janitor = Loop("janitor", self._janitor_turn, CLEAN_PAUSE)
        self._keystone = keystone
        self._trusts = Loop("trusts", self._trusts_turn, CLEAN_PAUSE, TRUSTS_GATHER)
        self._served: Served | None = None

    def start(self) -> None:
        for loop in self._loops:
            loop.start()
        name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        self._served = self._bus.serve(CONDUCTOR, name, self.handlers())

    def stop(self) -> None:
        if self._served is not None:
            self._served.stop()
        for loop in self._loops:
            loop.stop()

    def handlers(self) -> dict[str, Handler]:
        """Method to what answers it."""
        return {
            "register": self.register,
            "sync": self.sync,
            "result": self.result,
            "effect": self.effect,
            "journal_open": self.journal_open,
            "journal_read": self.journal_read,
            "journal_write": self.journal_write,
            "certify": self.certify,
            "source_open": self.source_open,
            "wake": self.wake,
        }

    @property
    def _loops(self) -> tuple[Loop, ...]:
        return self._advance, self._relay, self._reaper, self._minions, self._janitor, self._trusts

    # ---- messages ----------------------------------------------------------------------------------------------

    def register(self, request: Register) -> Registered:
        settings = self._settings
        reply = ingest.register(
            self._db, request, lease_seconds=settings.lease_seconds, sync_seconds=settings.sync_seconds
        )
        self._relay.wake()
        return reply

    def sync(self, request: Sync) -> SyncReply:
        reply = ingest.sync(self._db, request, grace_seconds=2 * self._settings.sync_seconds)
        return dataclasses.replace(reply, shares=governor.share(self._db, request)) if reply.accepted else reply

    def result(self, request: Result) -> Ack:
        ack = self._results.submit(request)
        self._relay.wake()
        if self._keystone is not None:
            self._trusts.wake()  # it may have been the last one of its job
        return ack

    def effect(self, request: EffectWrite) -> EffectAck:
        return self._effects.submit(request)

    def journal_open(self, request: JournalOpen) -> JournalOpened:
        return journals.take_over(self._db, request)

    def journal_read(self, request: JournalRead) -> JournalPieces:
        return journals.read(self._db, request)

    def journal_write(self, request: JournalWrite) -> JournalAck:
        return journals.write(self._db, request)

    def certify(self, request: Certify) -> Certified:
        return links.certify(self._db, self._authority, request)

    def source_open(self, request: SourceOpen) -> SourceOpened:
        return links.open_source(self._db, self._bus, request)

    def wake(self, _: Wake) -> None:
        self._advance.wake()
        self._minions.wake()
        self._relay.wake()

    # ---- loops -------------------------------------------------------------------------------------------------

    def _advance_turn(self) -> bool:
        limit = self._settings.batch_size
        compiled = advance.compile_pending(self._db, limit=limit)
        cancelled = advance.cancel_asked(self._db, limit=limit, quarantine=self._quarantine)
        if compiled or cancelled:
            self._relay.wake()
        return limit in (compiled, cancelled)

    def _relay_turn(self) -> bool:
        limit = self._settings.batch_size
        return relay.relay(self._db, self._bus, limit=limit) == limit

    def _reaper_turn(self) -> bool:
        ended = reaper.reap(self._db, lease_seconds=self._settings.lease_seconds, quarantine=self._quarantine)
        if ended:
            self._relay.wake()
        return bool(ended)

    def _minions_turn(self) -> bool:
        changed = minion_pools.turn(self._db)
        if changed:
            self._advance.wake()
        return changed

    def _trusts_turn(self) -> bool:
        """Apart from the other cleaning, which does not wait for Keystone."""
        if self._keystone is None:
            return False
        try:
            return trusts.sweep(self._db, self._keystone) == trusts.CHUNK
        except Unavailable as error:
            LOG.warning("Trusts whose work is over are ended later: %s", error.message)
            return False

    def _janitor_turn(self) -> bool:
        now = self._db.utcnow()
        for gauges, figures in (
            ((READY, READY_AGE), self._db.read(placing.waiting, now)),
            ((OUTBOX, OUTBOX_AGE), self._db.read(outbox.age, now)),
        ):
            for gauge, figure in zip(gauges, figures, strict=True):
                gauge.set(figure)
        self._db.write(streams.sweep)
        return janitor.clean(self._db, retention_days=self._settings.retention_days) == janitor.CHUNK
