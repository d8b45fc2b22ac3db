# SPDX-License-Identifier: Apache-2.0
"""The child: one process for one attempt or one provider call, forked from the warm server.

The third-party code of a provider runs here and nowhere else. The child opens the credentials itself, forwards its
log records to the agent, and ends with one answer; how it is stopped is the agent's business (``attempt``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import hashlib
import itertools
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

from coriolis import dataplane
from coriolis.dataplane.pace import Pace
from coriolis.domain.capabilities import wire_types
from coriolis.domain.codec import from_json, to_json
from coriolis.domain.errors import Invalid, Stale
from coriolis.providers.api import Cancelled, Connection, Context, Provider
from coriolis.rpc.messages import (
    CONDUCTOR,
    METHODS,
    Assign,
    Attempt,
    Effect,
    EffectAck,
    EffectWrite,
    Endpoint,
    Export,
    ProviderCall,
)
from coriolis.rpc.wire import method_of
from coriolis.worker import calls, classify, credentials, exporting, journals, keepsakes, sequence
from coriolis.worker.channel import Channel
from coriolis.worker.effects import Ledger
from coriolis.worker.job import Job
from coriolis.worker.kinds import KINDS
from coriolis.worker.masking import Mask, secrets_in
from coriolis.worker.settings import LinkFiles, VaultSettings, WorkerSettings

COMPLETED, FAILED, CANCELED, STALE = "completed", "failed", "canceled", "stale"
_POLL_SECONDS = 0.2
_EPOCH_BITS = 20
_ORDER_BITS = 16
_HELD_SECONDS = 5.0  # at most: until the conductor has said what the copy may use
_LOG = logging.getLogger(__name__)


class Terminated(BaseException):
    """TERM came: leave by the shortest way, but tidy up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What the agent wants of the child: one of ``assign``, ``call`` and ``export``."""

    settings: WorkerSettings
    vault: VaultSettings
    scratch: str
    log_level: int
    assign: Assign | None = None
    call: ProviderCall | None = None
    export: Export | None = None
    link: LinkFiles | None = None  # for an export, and for an attempt whose source is exported elsewhere


def run(channel: int, stdout: int, stderr: int, *, providers: Mapping[str, Provider]) -> int:
    """The whole life of the child; gives its exit status."""
    _settle_in(stdout, stderr)
    child = _Child(Channel(channel), providers)
    try:
        child.work()
    except OSError:
        return 1  # the agent is gone
    except Terminated:
        return 128 + signal.SIGTERM
    return 0


def warm_up() -> None:
    """Does once, before any fork, what is slow the first time: TaskFlow looks for its engines on the whole disk, and
    the codec resolves the annotations of the records."""
    settings = WorkerSettings(host="", state_path=Path())
    assign = Assign(
        attempt=Attempt(task_id="", epoch=0, session_id=""),
        execution_id="",
        project_id="",
        instance="",
        kind="",
        name="",
        source=Endpoint(type=""),
        effects=(Effect(key="", kind="", name="", state=""),),
    )
    order = Order(settings=settings, vault=VaultSettings(key_file=""), scratch="", log_level=0, assign=assign)
    from_json(Order, to_json(order))
    nothing = [sequence.Step(name=name, run=lambda results: None) for name in ("one", "two")]
    sequence.run(nothing, may_revert)


def describe(provider: Provider) -> dict[str, Any]:
    """What the agent tells others about a provider, without importing it."""
    return {
        "title": provider.title,
        "support": provider.support,
        "capabilities": sorted(provider.capabilities),
        "types": wire_types(provider.capabilities),
        "schemas": provider.schemas,
        "digest": hashlib.sha256(json.dumps(provider.schemas, sort_keys=True).encode()).hexdigest(),
    }


def _settle_in(stdout: int, stderr: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Short of memory, the kernel shall end attempts, which are resumed, before it ends the agent.
    Path("/proc/self/oom_score_adj").write_text("500")
    faulthandler.enable()


class _Child:
    def __init__(self, channel: Channel, providers: Mapping[str, Provider]) -> None:
        self._channel = channel
        self._providers = providers
        self._cancelled = threading.Event()
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._mask = Mask()
        self._pace = Pace(held_seconds=_HELD_SECONDS)
        self._order: Order

    def work(self) -> None:
        messages = self._channel.receive()
        order = next(messages, None)
        if order is None:
            return
        self._order = from_json(Order, order["job"])
        self._limit_memory()
        self._start_logging()
        signal.signal(signal.SIGTERM, self._terminated)
        threading.Thread(target=self._listen, args=(messages,), name="channel", daemon=True).start()
        answer = self._answered(self._work())
        logging.shutdown()
        self._channel.send({"result": self._mask.data(answer)})

    def _work(self) -> Callable[[], dict[str, Any]]:
        if self._order.export is not None:
            return self._export
        return self._attempt if self._order.assign is not None else self._call

    # ---- the three kinds of work

    def _export(self) -> dict[str, Any]:
        """Until the agent says stop."""
        export, files = self._order.export, self._order.link
        assert export is not None
        assert files is not None
        with contextlib.ExitStack() as stack:
            connection = self._connect(export.source, self._context(epoch=0, deadline=None), stack)
            source = stack.enter_context(exporting.opened(export, connection, self._context(epoch=0, deadline=None)))
            ready = stack.enter_context(exporting.offered(source, export, files, self._order.settings))
            self._channel.send({"exported": to_json(ready)})
            self._cancelled.wait()
        return {"outcome": COMPLETED}

    def _attempt(self) -> dict[str, Any]:
        assign = self._order.assign
        assert assign is not None
        if assign.kind not in KINDS:
            raise Invalid(f"This worker does not know tasks of kind '{assign.kind}'; upgrade it.")
        with contextlib.ExitStack() as stack:
            job = self._job(assign, stack)
            outputs = sequence.run(KINDS[assign.kind](job), may_revert)
        return {"outcome": COMPLETED, "outputs": to_json(outputs)}

    def _call(self) -> dict[str, Any]:
        call = self._order.call
        assert call is not None
        with contextlib.ExitStack() as stack:
            deadline = time.monotonic() + call.timeout_seconds
            context = self._context(epoch=0, deadline=deadline)
            anew = call.operation == calls.CHECK  # credentials are proven by using them
            connect = functools.partial(self._connect, call.endpoint, context, stack, anew=anew)
            value = calls.carry_out(call, connect, context)
        return {"outcome": COMPLETED, "value": to_json(value)}

    def _answered(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The answer, whatever happens. The process's last shell: only here anything is caught."""
        try:
            return work()
        except (Cancelled, dataplane.Cancelled, Terminated):
            return {"outcome": CANCELED}
        except Stale as error:
            _LOG.warning("stopped, the task is not ours any more reason=%s", error.message)
            return {"outcome": STALE}
        except Exception as error:  # noqa: BLE001 - see the docstring
            if classify.is_bug(error):
                _LOG.error("bug in a task\n%s", "".join(traceback.format_exception(error)))
            found = classify.classify(error)
            return {
                "outcome": FAILED,
                "error": to_json(dataclasses.replace(found, message=self._mask.text(found.message))),
            }

    # ---- what the work gets

    def _job(self, assign: Assign, stack: contextlib.ExitStack) -> Job:
        ledger = Ledger(assign.attempt, assign.effects, self._write_effect, owner=assign.params.get("maker"))
        context = dataclasses.replace(self._context(epoch=fence(assign), deadline=None), new_keys=ledger.new_keys)
        endpoints = {"source": assign.source, "destination": assign.destination}
        opened: dict[str, Connection] = {}
        lock = threading.Lock()

        def connect(side: str) -> Connection:
            with lock:
                if side not in opened:
                    opened[side] = self._connect(endpoints[side], context, stack)
                return opened[side]

        return Job(
            assign=assign,
            settings=self._order.settings,
            context=context,
            ledger=ledger,
            connect=connect,
            checkpoint=lambda data: self._channel.send({"checkpoint": data}),
            ask=self._ask,
            link=self._order.link,
            stream=lambda stream: self._channel.send({"stream": to_json(stream)}),
            pace=self._pace,
        )

    def _context(self, *, epoch: int, deadline: float | None) -> Context:
        def progress(item: str, done: int, total: int, message: str) -> None:
            words = self._mask.text(message)
            self._channel.send({"progress": {"item": item, "done": done, "total": total, "message": words}})

        return Context(
            log=logging.getLogger("coriolis.providers"),
            scratch=Path(self._order.scratch),
            staging=journals.staging(self._order.settings.state_path),
            epoch=epoch,
            deadline=deadline,
            cancelled=self._cancelled,
            progress=progress,
            event=lambda level, message: self._channel.send({"event": [level, self._mask.text(message)]}),
        )

    def _connect(
        self, endpoint: Endpoint | None, context: Context, stack: contextlib.ExitStack, *, anew: bool = False
    ) -> Connection:
        """``anew``: with nothing that earlier connections left."""
        if endpoint is None:
            raise Invalid("The task needs an endpoint that it was not given.")
        provider = self._providers.get(endpoint.type)
        if provider is None:
            raise Invalid(f"This worker does not offer the provider '{endpoint.type}'.")
        info = credentials.open_endpoint(endpoint, self._order.vault, provider)
        secrets = secrets_in(info)
        if secrets:
            self._mask.add(secrets)
            self._channel.send({"mask": secrets})
        self._channel.send({"started": time.monotonic()})
        key = None if anew else keepsakes.key_of(endpoint)
        if key is not None:
            context = dataclasses.replace(context, keepsake=_Keepsake(key, self._asked_for, self._channel))
        connection = provider.connect(info, context)
        stack.callback(connection.close)
        return connection

    def _write_effect(self, write: EffectWrite) -> EffectAck:
        """Blocks until the ledger has it. A note of what is *intended* gives way to a cancel; what exists must be
        noted whatever happens."""
        return from_json(EffectAck, self._asked_for("effect", write, yields=write.effect.state == "intended"))

    def _ask(self, request: Any) -> Any:
        """The conductor's reply to a journal's request. :raises Cancelled:"""
        method = method_of(CONDUCTOR, request)
        reply = METHODS[CONDUCTOR][method][1]
        assert reply is not None
        return from_json(reply, self._asked_for(method, request, yields=True))

    def _asked_for(self, method: str, request: Any, *, yields: bool) -> Any:
        """Blocks until the agent has the answer; ``yields``: or until the attempt is cancelled."""
        number = next(self._numbers)
        future: Future[Any] = Future()
        self._asked[number] = future
        self._channel.send({"ask": number, method: to_json(request)})
        while True:
            try:
                return future.result(_POLL_SECONDS)
            except FutureTimeout:
                if yields and self._cancelled.is_set():
                    raise Cancelled from None

    # ---- the process

    def _listen(self, messages: Any) -> None:
        for message in messages:
            if message.get("cancel"):
                self._cancelled.set()
            elif "pace" in message:
                self._pace.set(*message["pace"])
            elif "reply" in message:
                self._asked.pop(message["reply"]).set_result(message["value"])
        os.killpg(0, signal.SIGKILL)  # the agent closed the channel: it is dead, or does not want us any more

    def _terminated(self, number: int, frame: Any) -> None:
        self._cancelled.set()
        raise Terminated

    def _limit_memory(self) -> None:
        limit = self._order.settings.memory_limit_mib << 20
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def _start_logging(self) -> None:
        root = logging.getLogger()
        root.handlers[:] = [_ToAgent(self._channel, self._mask)]
        root.setLevel(self._order.log_level)


@dataclasses.dataclass(frozen=True)
class _Keepsake:
    """In the agent's memory."""

    key: str
    ask: Callable[..., Any]
    channel: Channel

    def read(self) -> str | None:
        text: str | None = self.ask("recall", self.key, yields=False)  # the agent answers from its memory, at once
        return text

    def write(self, text: str) -> None:
        self.channel.send({"keep": [self.key, text]})


class _ToAgent(logging.Handler):
    """Log records go to the agent, which has the file, the format and the ids."""

    def __init__(self, channel: Channel, mask: Mask) -> None:
        super().__init__()
        self._channel, self._mask = channel, mask

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        with contextlib.suppress(OSError):
            message = {"level": record.levelno, "name": record.name, "message": self._mask.text(text)}
            self._channel.send({"log": message})


def fence(assign: Assign) -> int:
    """The fencing number for volumes and journals. Epochs count the attempts of one task, but several tasks write (and
    read back) the same volume one after the other: a copy that needed three attempts must not lock the next round out.
    """
    return (assign.fence << _ORDER_BITS | assign.order) << _EPOCH_BITS | assign.attempt.epoch


def may_revert(error: BaseException) -> bool:
    """Only a permanent failure of an attempt that still owns its task takes back what it did."""
    if isinstance(error, (Cancelled, dataplane.Cancelled, Stale, Terminated)):
        return False
    return not classify.classify(error).retryable
