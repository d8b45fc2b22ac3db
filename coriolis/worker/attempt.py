# SPDX-License-Identifier: Apache-2.0
"""One attempt, as the agent sees it: a child, what it reports, and the result that must reach the conductor."""

from __future__ import annotations

import enum
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.errors import CoriolisError, Invalid, Stale
from coriolis.rpc.bus import Bus
from coriolis.rpc.messages import (
    CONDUCTOR,
    METHODS,
    Assign,
    Error,
    Progress,
    Result,
    Share,
    Stream,
)
from coriolis.rpc.wire import method_of
from coriolis.worker import classify, host
from coriolis.worker.child import Child, Rung
from coriolis.worker.forks import ForkServer
from coriolis.worker.reporter import Reporter
from coriolis.worker.settings import LinkFiles, VaultSettings, WorkerSettings

_LOG = logging.getLogger(__name__)
RETURNED = "returned"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
# What a child may ask of the conductor, by method.
_METHODS = ("effect", "journal_open", "journal_read", "journal_write", "source_open")
_ASKED = {name: METHODS[CONDUCTOR][name][0] for name in _METHODS}


class Wish(enum.IntEnum):
    """What the agent wants of the attempt; it only ever grows."""

    FINISH = 0
    CANCEL = 1  # the user's wish: stop, and say so
    GIVE_BACK = 2  # the worker leaves: stop, and let another worker go on
    ABANDON = 3  # not ours any more: kill, say nothing


class Running:
    """An attempt from its assignment until its result is acknowledged. ``start`` returns at once."""

    def __init__(
        self,
        assign: Assign,
        *,
        settings: WorkerSettings,
        vault: VaultSettings,
        bus: Bus,
        threads: Executor,
        fenced: Callable[[], bool],
        on_end: Callable[[Running], None],
        on_stream: Callable[[], None] = lambda: None,
        link: Callable[[], LinkFiles] | None = None,
    ) -> None:
        """``fenced``: whether the lease may have run out, in which case a dead child was killed for that.
        ``on_stream``: it has begun to move bytes, and waits for its share. ``link``: what a link to another worker
        needs; may ask the conductor."""
        self.assign = assign
        self.settled = False  # the conductor has had the result
        self.reporter = Reporter(assign.attempt.task_id, assign.attempt.epoch)
        self._settings, self._vault, self._bus, self._threads = settings, vault, bus, threads
        self._fenced, self._on_end, self._on_stream = fenced, on_end, on_stream
        self._share: Share | None = None
        self._link = link
        self._wish = Wish.FINISH
        self._wish_grew = threading.Event()
        self._over = threading.Event()
        self._scratch: Path | None = None
        self._child = Child(
            f"{assign.attempt.task_id}.{assign.attempt.epoch}",
            ids={
                "request": assign.request_id or "-",
                "execution": assign.execution_id,
                "task": assign.attempt.task_id,
                "epoch": assign.attempt.epoch,
            },
            grace_seconds=settings.cancel_grace_seconds,
            on_message=self._hear,
            on_end=self._ended,
        )

    @property
    def key(self) -> tuple[str, int]:
        return self.assign.attempt.task_id, self.assign.attempt.epoch

    def start(self, server: Callable[[], ForkServer]) -> None:
        """``server`` gives the fork server, and may wait for it to come up."""
        self._threads.submit(self._start, server)

    def wish(self, wish: Wish, rung: Rung = Rung.TOKEN) -> None:
        """Asks the child to stop, from this rung of the ladder on, or kills it (``ABANDON``)."""
        if wish > self._wish:
            self._wish = wish
            self._wish_grew.set()
        self._child.stop(Rung.KILL if wish is Wish.ABANDON else rung)

    def share(self, share: Share) -> None:
        """What the child may read per second from now on."""
        if share != self._share:
            self._share = share
            self._child.send({"pace": [share.bytes_per_second, share.backoff_factor]})

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is over: no process left, and the result acknowledged, refused or not wanted."""
        return self._over.wait(timeout)

    def wait_for_child(self, timeout: float) -> bool:
        """Until no process is left."""
        return self._child.wait(timeout)

    # ---- the child

    def _start(self, server: Callable[[], ForkServer]) -> None:
        scratch = self._settings.state_path / "scratch"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._scratch = Path(tempfile.mkdtemp(dir=scratch))
        try:
            order = host.Order(
                settings=self._settings,
                vault=self._vault,
                scratch=str(self._scratch),
                log_level=logging.getLogger("coriolis").getEffectiveLevel(),
                assign=self.assign,
                link=self._link() if self.assign.apart and self._link is not None else None,
            )
            self._child.start(server(), to_json(order), leased=True)
        except CoriolisError as error:
            self._conclude({"outcome": host.FAILED, "error": to_json(classify.classify(error))}, 0)

    def _hear(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            self.reporter.progress(from_json(Progress, message["progress"]))
        elif "event" in message:
            level, text = message["event"]
            self.reporter.event(level, self._child.mask.text(text))
        elif "checkpoint" in message:
            self.reporter.checkpoint(message["checkpoint"])
        elif "stream" in message:
            if self.reporter.stream(from_json(Stream, message["stream"])):
                self._on_stream()
        elif "ask" in message:
            (method,) = message.keys() - {"ask"}
            self._threads.submit(self._answer, message["ask"], from_json(_ASKED[method], message[method]))

    def _answer(self, number: int, request: Any) -> None:
        reply = self._insist(request)
        if reply is not None:
            self._child.send({"reply": number, "value": to_json(reply)})

    def _ended(self, answer: dict[str, Any] | None, status: int) -> None:
        # In a pool thread, so that the child's thread can end: who waits for the child must not wait for the conductor.
        self._threads.submit(self._conclude, answer, status)

    # ---- the result

    def _conclude(self, answer: dict[str, Any] | None, status: int) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        result = self._result(answer, status)
        try:
            if result is not None and self._wish is not Wish.ABANDON:
                self._deliver(result)
        finally:
            self._on_end(self)
            self._over.set()

    def _result(self, answer: dict[str, Any] | None, status: int) -> Result | None:
        outcome = host.CANCELED if answer is None else str(answer["outcome"])
        error: Error | None = None
        if outcome == host.STALE or self._wish is Wish.ABANDON or (answer is None and self._fenced()):
            return None
        if outcome != host.COMPLETED and self._wish is Wish.CANCEL:
            outcome, error = host.CANCELED, classify.died(status) if answer is None else None
        elif outcome != host.COMPLETED and self._wish is Wish.GIVE_BACK:
            outcome, error = RETURNED, classify.died(status) if answer is None else None
        elif outcome == host.CANCELED:  # nobody asked it to stop: it died, or was terminated
            outcome, error = host.FAILED, classify.died(status)
        elif answer is not None and outcome == host.FAILED:
            error = from_json(Error, answer["error"])
        return Result(
            attempt=self.assign.attempt,
            outcome=outcome,
            outputs=answer.get("outputs", {}) if answer is not None and outcome == host.COMPLETED else {},
            error=error,
            report=self.reporter.collect(all_events=True).report,
        )

    def _deliver(self, result: Result) -> None:
        try:
            ack = self._insist(result)
        except Invalid as error:  # the conductor cannot store it (too large an output): say that instead
            failed = Error(code=error.code, message=error.message)
            ack = self._insist(Result(attempt=result.attempt, outcome=host.FAILED, error=failed))
        self.settled = ack is not None
        if ack is not None and not ack.accepted:
            _LOG.warning("result refused as stale task=%s epoch=%d outcome=%s", *self.key, result.outcome)

    def _insist(self, request: Any) -> Any:
        """The answer of the conductor, however long that takes; None once the attempt is abandoned.

        :raises Invalid: the conductor refuses the request itself
        """
        pause = _FIRST_PAUSE
        while self._wish is not Wish.ABANDON:
            try:
                return self._bus.call(CONDUCTOR, request, timeout=self._settings.call_timeout_seconds)
            except Stale:
                return METHODS[CONDUCTOR][method_of(CONDUCTOR, request)][1](accepted=False)  # type: ignore[misc]
            except Invalid:
                raise
            except CoriolisError as error:
                _LOG.warning("not delivered yet task=%s epoch=%d reason=%s", *self.key, error.message)
                self._wish_grew.wait(pause)
                self._wish_grew.clear()
                pause = min(pause * 2, _LONGEST_PAUSE)
        return None
