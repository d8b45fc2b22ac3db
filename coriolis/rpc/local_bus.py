# SPDX-License-Identifier: Apache-2.0
"""The bus of one process: messages are handed to a thread of the receiver, through JSON, so that nothing mutable is
shared and the same code runs over a broker."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from coriolis.domain import codec
from coriolis.rpc.bus import Handler, NoAnswer, Served
from coriolis.rpc.messages import METHODS
from coriolis.rpc.wire import answer, method_of, unpack

_LOG = logging.getLogger(__name__)


class _Server:
    def __init__(self, bus: LocalBus, topic: str, name: str, handlers: Mapping[str, Handler], threads: int) -> None:
        self.topic, self.name = topic, name
        self._bus = bus
        self._handlers = dict(handlers)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"{topic}.{name[:8]}")

    def submit(self, method: str, text: str) -> Future[str]:
        return self._threads.submit(self._run, method, text)

    def _run(self, method: str, text: str) -> str:
        return json.dumps(answer(self.topic, method, self._handlers[method], json.loads(text)))

    def stop(self) -> None:
        self._bus.remove(self)
        self._threads.shutdown(wait=True)


class LocalBus:
    """See ``coriolis.rpc.bus.Bus``. A call to a topic that nobody serves fails at once."""

    def __init__(self, threads: int = 32) -> None:
        self._thread_count = threads
        self._lock = threading.Lock()
        self._servers: dict[str, list[_Server]] = {}
        self._turn = itertools.count()

    def serve(self, topic: str, server: str, handlers: Mapping[str, Handler]) -> Served:
        unknown = set(handlers) - set(METHODS[topic])
        if unknown:
            raise TypeError(f"topic {topic} has no methods {sorted(unknown)}")
        served = _Server(self, topic, server, handlers, self._thread_count)
        with self._lock:
            self._servers.setdefault(topic, []).append(served)
        return served

    def call(self, topic: str, request: Any, *, server: str | None = None, timeout: float = 30.0) -> Any:
        method = method_of(topic, request)
        future = self._submit(topic, method, request, server)
        if future is None:
            raise NoAnswer(f"Nobody serves {topic}{'' if server is None else '.' + server} at the moment.")
        try:
            reply = json.loads(future.result(timeout))
        except FutureTimeout:
            raise NoAnswer(f"{topic}.{method} did not answer within {timeout:g} s.") from None
        return unpack(topic, method, reply)

    def cast(self, topic: str, request: Any, *, server: str | None = None) -> None:
        method = method_of(topic, request)
        future = self._submit(topic, method, request, server)
        if future is None:
            _LOG.info("cast lost, nobody serves it topic=%s method=%s server=%s", topic, method, server)

    def close(self) -> None:
        with self._lock:
            servers = [s for group in self._servers.values() for s in group]
        for served in servers:
            served.stop()

    def remove(self, served: _Server) -> None:
        with self._lock:
            group = self._servers.get(served.topic, [])
            if served in group:
                group.remove(served)

    def _submit(self, topic: str, method: str, request: Any, name: str | None) -> Future[str] | None:
        text = json.dumps(codec.to_json(request))
        with self._lock:
            group = [s for s in self._servers.get(topic, ()) if name is None or s.name == name]
            # Submitted under the lock: a server that is still in the list has not shut its threads down yet.
            return group[next(self._turn) % len(group)].submit(method, text) if group else None
