# SPDX-License-Identifier: Apache-2.0
"""The worker process: one session with the conductor, and the attempts that run under it.

Three threads. *agent* registers and syncs: what is new of all attempts goes up in one message, cancel, revoke, missing
and drain come down. *watchdog* kills all attempts before the lease can have run out, however the other thread hangs;
the fork server does the same should this whole process be frozen. *janitor* removes old journals. Times of the lease
are on the clock of ``forkserver.now``, which goes on while the machine sleeps.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from coriolis.domain.errors import Conflict, CoriolisError
from coriolis.rpc.bus import Bus, Served
from coriolis.rpc.messages import (
    CONDUCTOR,
    WORKER,
    Assign,
    Cancel,
    Error,
    Register,
    Registered,
    Result,
    Share,
    Sync,
    SyncReply,
)
from coriolis.runtime import diagnostics
from coriolis.worker import attempt, classify, forks, host, journals, proctree
from coriolis.worker.attempt import Running, Wish
from coriolis.worker.child import Rung
from coriolis.worker.exports import Exports
from coriolis.worker.forkserver import now
from coriolis.worker.identity import Identity
from coriolis.worker.questions import Questions
from coriolis.worker.settings import VaultSettings, WorkerSettings
from coriolis.worker.warm import Warm

_LOG = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_JANITOR_SECONDS = 3600.0
_DAY_SECONDS = 86400
_REMEMBERED = 10_000  # attempts that are over; a doubled assignment of one of them is not started again
_LAST_WORDS_SECONDS = 10.0
_KILL_SECONDS = 10.0
_SHARE_SECONDS = 2.0  # between syncs while bytes move: a changed budget is felt within twice this, and a moment


@dataclasses.dataclass
class Session:
    """``fence_at``: when the attempts must be dead."""

    id: str
    lease_seconds: float
    sync_seconds: float
    fence_at: float
    served: Served | None = None


class WorkerService:
    """A worker on this host. There is one per state directory at a time."""

    def __init__(self, settings: WorkerSettings, bus: Bus, vault: VaultSettings) -> None:
        self._settings, self._bus, self._vault = settings, bus, vault
        self._mark = hashlib.sha256(str(settings.state_path.resolve()).encode()).hexdigest()[:16]
        self._warm = Warm(settings.providers, self._mark)
        self._questions = Questions(settings, vault, self._warm.server)
        self._threads = ThreadPoolExecutor(max(64, 4 * settings.slots), thread_name_prefix="attempt")
        self._identity = Identity(settings, bus, lambda: self.session_id)
        self._exports = Exports(settings, vault, self._warm.server, self._identity.files, self._threads)
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._running: dict[str, Running] = {}  # by task id
        self._over: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._fallen: set[tuple[str, int]] = set()  # attempts of this session that were killed without a word
        self._draining = False
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._loops: list[threading.Thread] = []
        self._state_lock: IO[str] | None = None
        self.drain_asked = threading.Event()  # the conductor wants this worker to drain

    # ---- life

    def start(self) -> None:
        """:raises Conflict: another worker uses the state directory"""
        self._settings.state_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state_lock = _lock(self._settings)
        # What an earlier life left behind, should it and its fork server have been killed together.
        proctree.kill_marked(forks.MARK, self._mark, within_seconds=_KILL_SECONDS)
        shutil.rmtree(self._settings.state_path / "scratch", ignore_errors=True)
        self._warm.start()
        for loop in (self._agent, self._watchdog, self._janitor):
            thread = threading.Thread(target=loop, name=loop.__name__.strip("_"), daemon=True)
            thread.start()
            self._loops.append(thread)

    def stop(self, drain: bool = True) -> None:
        """Takes no more work and ends. ``drain``: attempts may finish for ``drain_seconds``; what is left then, or at
        once without ``drain``, goes back to the conductor and is resumed elsewhere."""
        self._draining = True
        self._wake.set()
        if drain:
            self._wait_for_attempts(time.monotonic() + self._settings.drain_seconds)
        for running in self._all():
            running.wish(Wish.GIVE_BACK, Rung.TOKEN if drain else Rung.KILL)
        ladder = 2 * self._settings.cancel_grace_seconds if drain else 0.0
        self._wait_for_attempts(time.monotonic() + ladder + _LAST_WORDS_SECONDS)
        self._stopped.set()
        self._wake.set()
        left = self._all()
        for running in left:
            running.wish(Wish.ABANDON)
        for running in left:
            running.wait(_KILL_SECONDS)
        self._exports.stop()
        self._warm.stop()
        for thread in self._loops:
            thread.join(self._settings.call_timeout_seconds + 1.0)
        session = self._session
        if session is not None and session.served is not None:
            session.served.stop()
        self._threads.shutdown(wait=False)
        if self._state_lock is not None:
            self._state_lock.close()

    @property
    def session_id(self) -> str | None:
        session = self._session
        return None if session is None else session.id

    def _wait_for_attempts(self, limit: float) -> None:
        for running in self._all():
            running.wait(max(0.0, limit - time.monotonic()))

    def _all(self) -> list[Running]:
        with self._lock:
            return list(self._running.values())

    # ---- session

    def _agent(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            session = self._session
            try:
                if session is None:
                    self._register()
                    pause = _FIRST_PAUSE
                    continue
                self._sync(session)
                wait, pause = self._until_sync(session), _FIRST_PAUSE
            except CoriolisError as error:
                _LOG.warning("no contact with the conductor reason=%s", error.message)
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            except Exception:  # noqa: BLE001 - a process shell: a worker that lost this thread would be no worker
                _LOG.exception("the agent failed, and goes on")
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            self._wake.wait(wait)
            self._wake.clear()

    def _register(self) -> None:
        server = self._warm.server()
        sent = now()
        registered: Registered = self._bus.call(
            CONDUCTOR,
            Register(
                host=self._settings.host,
                pid=os.getpid(),
                regions=self._settings.regions,
                providers={name: about["capabilities"] for name, about in server.providers.items()},
                schema_digests={name: about["digest"] for name, about in server.providers.items()},
                slots=self._settings.slots,
                release=self._settings.release,
                specs=diagnostics.collect("coriolis-worker"),
            ),
            timeout=self._settings.call_timeout_seconds,
        )
        session = Session(
            id=registered.session_id,
            lease_seconds=registered.lease_seconds,
            sync_seconds=registered.sync_seconds,
            fence_at=self._fence(sent, registered.lease_seconds),
        )
        self._session = session
        session.served = self._bus.serve(
            WORKER,
            session.id,
            {
                "assign": self._assign,
                "cancel": self._cancel,
                "provider": self._questions.ask,
                "export": self._exports.open,
            },
        )
        server.lease(session.fence_at)
        _LOG.info("registered session=%s lease=%gs", session.id, session.lease_seconds)

    def _fence(self, sent: float, lease_seconds: float) -> float:
        """The conductor got the message later than we sent it, so the lease ends later than this."""
        return sent + lease_seconds - min(self._settings.lease_margin_seconds, lease_seconds / 3)

    def _sync(self, session: Session) -> None:
        everyone = self._all()
        collected = [(running, running.reporter.collect()) for running in everyone]
        sent = now()
        reply: SyncReply = self._bus.call(
            CONDUCTOR,
            Sync(
                session_id=session.id,
                attempts=tuple(item.report for _, item in collected),
                draining=self._draining,
                load=round(os.getloadavg()[0] / (os.cpu_count() or 1), 2),
            ),
            timeout=min(self._settings.call_timeout_seconds, session.lease_seconds / 3),
        )
        if not reply.accepted:
            self._lose(session)
            return
        session.fence_at = self._fence(sent, session.lease_seconds)
        server = self._warm.current()
        if server is not None:
            server.lease(session.fence_at)
        for running, item in collected:
            running.reporter.confirm(item)
        self._share_out([running for running, item in collected if item.report.stream is not None], reply.shares)
        self._obey(reply)

    def _until_sync(self, session: Session) -> float:
        moves = any(running.reporter.moves_bytes for running in self._all())
        return min(session.sync_seconds, _SHARE_SECONDS) if moves else session.sync_seconds

    def _share_out(self, everyone: Sequence[Running], shares: Sequence[Share]) -> None:
        found = {share.task_id: share for share in shares}
        for running in everyone:
            task_id = running.assign.attempt.task_id
            running.share(found.get(task_id, Share(task_id=task_id)))

    def _obey(self, reply: SyncReply) -> None:
        self._cancel(Cancel(task_ids=reply.cancel))
        for task_id in reply.revoke:
            self._abandon(task_id)
        for assign in reply.missing:
            self._assign(assign)
        if reply.drain and not self._draining:
            self._draining = True
            self.drain_asked.set()

    def _lose(self, session: Session) -> None:
        """Dead is final: everything of the session ends, and the next one begins empty."""
        _LOG.error("the session is dead, its attempts are killed session=%s", session.id)
        self._session = None
        self._fell()
        self._fallen.clear()
        if session.served is not None:
            session.served.stop()

    def _fell(self) -> None:
        """Kills all attempts without a word. Those that come back as missing have failed: what the killed child has
        asked a platform for may still be made, so that only a new attempt may make it again (``domain.effects``)."""
        self._exports.stop()
        with self._lock:
            fallen = list(self._running.values())
            self._running.clear()
            self._fallen.update(running.key for running in fallen)
        for running in fallen:
            running.wish(Wish.ABANDON)
        for running in fallen:
            if not running.wait_for_child(_KILL_SECONDS):
                _LOG.critical("an attempt does not die task=%s epoch=%d", *running.key)

    # ---- the watchdog

    def _watchdog(self) -> None:
        while not self._stopped.wait(self._until_fence()):
            if self._is_fenced() and self._all():
                _LOG.error("no contact before the lease ended, all attempts are killed session=%s", self.session_id)
                self._fell()

    def _until_fence(self) -> float:
        session = self._session
        return 1.0 if session is None else min(1.0, max(0.05, session.fence_at - now()))

    def _is_fenced(self) -> bool:
        session = self._session
        return session is None or now() >= session.fence_at

    # ---- attempts

    def _assign(self, assign: Assign) -> None:
        session = self._session
        if session is None or assign.attempt.session_id != session.id or self._is_fenced():
            _LOG.warning("assignment to another session ignored task=%s", assign.attempt.task_id)
            return
        if (assign.attempt.task_id, assign.attempt.epoch) in self._fallen:
            self._threads.submit(self._decline, assign, host.FAILED, classify.died(128 + signal.SIGKILL))
            return
        if self._draining:
            self._threads.submit(self._decline, assign, attempt.RETURNED, None)
            return
        running = self._new(assign)
        with self._lock:
            older = self._running.get(assign.attempt.task_id)
            if running.key in self._over or (older is not None and older.key[1] >= assign.attempt.epoch):
                return  # a doubled message
            self._running[assign.attempt.task_id] = running
        if older is not None:
            older.wish(Wish.ABANDON)
            older.wait_for_child(_KILL_SECONDS)
        running.start(self._warm.server)

    def _new(self, assign: Assign) -> Running:
        return Running(
            assign,
            settings=self._settings,
            vault=self._vault,
            bus=self._bus,
            threads=self._threads,
            fenced=self._is_fenced,
            on_end=self._ended,
            on_stream=self._wake.set,
            link=self._identity.files,
        )

    def _decline(self, assign: Assign, outcome: str, error: Error | None) -> None:
        try:
            self._bus.call(CONDUCTOR, Result(attempt=assign.attempt, outcome=outcome, error=error))
        except CoriolisError as error:
            _LOG.info("not declined, the sync will bring it again task=%s: %s", assign.attempt.task_id, error.message)

    def _ended(self, running: Running) -> None:
        with self._lock:
            if self._running.get(running.assign.attempt.task_id) is running:
                del self._running[running.assign.attempt.task_id]
                if self._is_fenced():  # the fork server was faster than the watchdog
                    self._fallen.add(running.key)
                    return
                self._over[running.key] = None
                while len(self._over) > _REMEMBERED:
                    self._over.popitem(last=False)

    def _cancel(self, cancel: Cancel) -> None:
        with self._lock:
            found = [self._running[task_id] for task_id in cancel.task_ids if task_id in self._running]
        for running in found:
            running.wish(Wish.CANCEL)

    def _abandon(self, task_id: str) -> None:
        with self._lock:
            running = self._running.pop(task_id, None)
        if running is not None:
            _LOG.warning("the task was taken away task=%s epoch=%d", *running.key)
            running.wish(Wish.ABANDON)

    # ---- the janitor

    def _janitor(self) -> None:
        while not self._stopped.is_set():
            try:
                journals.sweep(self._settings.state_path, time.time() - self._settings.journal_days * _DAY_SECONDS)
            except OSError as error:  # a journal went while it was looked at
                _LOG.info("journals not swept this time reason=%s", error)
            self._stopped.wait(_JANITOR_SECONDS)


def _lock(settings: WorkerSettings) -> IO[str]:
    """Held for as long as the worker lives; the kernel lets go of it whatever happens."""
    file = open(settings.state_path / "worker.lock", "w", encoding="utf-8")  # noqa: SIM115 - held open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Conflict(f"Another worker uses {settings.state_path}; give this one its own state_path.") from None
    return file
