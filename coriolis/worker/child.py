# SPDX-License-Identifier: Apache-2.0
"""The parent's side of one child process: its channel, its output, its end, and the ladder on which it is stopped."""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from coriolis.worker import proctree
from coriolis.worker.channel import Lines
from coriolis.worker.forks import ForkServer
from coriolis.worker.masking import Mask

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 16
_AFTER_KILL_SECONDS = 5.0
_SEND_SECONDS = 5.0  # a child that was stopped does not read; the ladder must not wait for it


class Rung(enum.IntEnum):
    """How far up the ladder a child is."""

    NONE = 0
    TOKEN = 1  # it is asked
    TERM = 2
    KILL = 3  # the fork server ends its tree
    REACH_OVER = 4  # we do, since the fork server is stuck


class Child:
    """Starts with ``start``; everything else happens in a thread of its own, which calls

    ``on_message(message)`` for each message but logs, and ``on_end(result, status)`` once the whole tree is gone:
    the child's last word or None, and its exit status.
    """

    def __init__(
        self,
        name: str,
        *,
        ids: Mapping[str, Any],
        grace_seconds: float,
        on_message: Callable[[dict[str, Any]], None],
        on_end: Callable[[dict[str, Any] | None, int], None],
    ) -> None:
        self.name = name
        self.mask = Mask()
        self._ids, self._grace = dict(ids), grace_seconds
        self._on_message, self._on_end = on_message, on_end
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._rung = Rung.NONE  # reached
        self._wanted: tuple[Rung, float] | None = None  # next rung, when
        self._status: int | None = None
        self._result: dict[str, Any] | None = None
        self._alarm, self._alarmed = socket.socketpair()
        self._ended = threading.Event()

    def start(self, forks: ForkServer, order: Any, *, leased: bool) -> None:
        """:raises Unavailable: the fork server is gone"""
        self._forks = forks
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(_SEND_SECONDS)
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        descriptors = (theirs.fileno(), their_out, their_err)
        try:
            self._pid = forks.fork(self.name, descriptors, leased=leased, on_exit=self._exited)
        except BaseException:
            self._channel.close()
            os.close(out)
            os.close(err)
            raise
        finally:
            theirs.close()
            os.close(their_out)
            os.close(their_err)
        self._outputs = {out: (logging.INFO, bytearray()), err: (logging.WARNING, bytearray())}
        threading.Thread(target=self._run, name=f"child-{self.name[:13]}", daemon=True).start()
        self.send({"job": order})

    def send(self, message: dict[str, Any]) -> None:
        """Content when the child is gone."""
        data = json.dumps(message).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):
            self._channel.sendall(data)

    def stop(self, rung: Rung) -> None:
        """Begins the ladder at this rung; never goes down again."""
        with self._lock:
            if rung <= self._rung or (self._wanted is not None and self._wanted[0] <= rung < Rung.KILL):
                return
            self._wanted = (rung, time.monotonic())
        self._ring()

    def wait(self, timeout: float | None = None) -> bool:
        """Until ``on_end`` has returned."""
        return self._ended.wait(timeout)

    # ---- in the child's thread

    def _run(self) -> None:
        try:
            self._watch()
            for descriptor in self._outputs:
                self._read_output(descriptor)
                self._emit_output(descriptor, final=True)
                os.close(descriptor)
            self._channel.close()
            assert self._status is not None
            self._on_end(self._result, self._status)
        finally:
            self._ended.set()
            self._alarm.close()

    def _watch(self) -> None:
        lines = Lines()
        for descriptor in self._outputs:
            os.set_blocking(descriptor, False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._alarmed, selectors.EVENT_READ)
            for descriptor in self._outputs:
                selector.register(descriptor, selectors.EVENT_READ)
            reading = True
            while self._status is None or reading:
                for key, _ in selector.select(self._climb()):
                    if key.fileobj is self._alarmed:
                        self._alarmed.recv(_CHUNK)
                    elif key.fileobj is self._channel:
                        reading = self._read_channel(lines)
                        if not reading:
                            selector.unregister(self._channel)
                    elif not self._read_output(int(key.fd)):
                        selector.unregister(key.fd)
        self._alarmed.close()

    def _read_channel(self, lines: Lines) -> bool:
        try:
            data = self._channel.recv(_CHUNK)
            for message in lines.feed(data):
                self._take(message)
        except ConnectionError:
            return False
        except Exception as error:  # noqa: BLE001 - whatever a child says, it must stay supervised
            _LOG.error("a child talks nonsense name=%s error=%s", self.name, type(error).__name__)
            self.stop(Rung.KILL)
            return False
        return bool(data)

    def _take(self, message: dict[str, Any]) -> None:
        if "log" in message:
            log = message["log"]
            self._emit(str(log["name"]), int(log["level"]), str(log["message"]))
        elif "mask" in message:
            self.mask.add(message["mask"])
        elif "result" in message:
            self._result = self.mask.data(message["result"])
        elif "recall" in message:
            self.send({"reply": message["ask"], "value": self._forks.keepsakes.read(message["recall"])})
        elif "keep" in message:
            self._forks.keepsakes.write(*message["keep"])
        else:
            self._on_message(message)

    def _read_output(self, descriptor: int) -> bool:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(descriptor, _CHUNK):
                self._outputs[descriptor][1].extend(data)
                self._emit_output(descriptor, final=False)
            return False
        return True

    def _emit_output(self, descriptor: int, *, final: bool) -> None:
        level, buffer = self._outputs[descriptor]
        *lines, rest = bytes(buffer).split(b"\n")
        if final or len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        buffer[:] = rest
        for line in lines:
            if line.strip():
                self._emit(__name__, level, "output: " + line.decode(errors="replace"))

    def _emit(self, name: str, level: int, message: str) -> None:
        logger = logging.getLogger(name)
        if logger.isEnabledFor(level):
            tail = " ".join(f"{key}={value}" for key, value in self._ids.items())
            text = f"{self.mask.text(message)} {tail}"
            logger.handle(logger.makeRecord(name, level, "(child)", 0, text, (), None, extra=self._ids))

    # ---- the ladder

    def _climb(self) -> float | None:
        """Takes the rungs that are due; gives the seconds to the next one."""
        with self._lock:
            if self._wanted is None:
                return None
            rung, due = self._wanted
            if due > time.monotonic():
                return due - time.monotonic()
            self._rung = max(rung, self._rung)
            wait = self._grace if rung < Rung.KILL else _AFTER_KILL_SECONDS
            self._wanted = (Rung(min(rung + 1, Rung.REACH_OVER)), time.monotonic() + wait)
        self._step(rung)
        return 0.0

    def _step(self, rung: Rung) -> None:
        if rung is Rung.TOKEN:
            self.send({"cancel": True})
        elif rung is Rung.TERM:
            self._forks.signal(self.name, signal.SIGTERM)
        elif rung is Rung.KILL:
            self._forks.signal(self.name, signal.SIGKILL)
        else:
            proctree.kill_descendants(self._pid, within_seconds=_AFTER_KILL_SECONDS)
            proctree.kill(self._pid, signal.SIGKILL)
            if proctree.is_gone(self._pid):
                self._exited(128 + signal.SIGKILL)

    def _exited(self, status: int) -> None:
        """Called by the fork server's listener; the second call counts nothing."""
        if self._status is None:
            self._status = status
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._alarm.send(b"x")
