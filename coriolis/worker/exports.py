# SPDX-License-Identifier: Apache-2.0
"""Exports: sources that this worker opens for copies that run on workers of other sites.

A child of its own opens the source and offers it over a link, to the one peer that the conductor names. It lives for as
long as the copy asks for it. It only reads, so it needs no fence: one that is left over harms nobody, and ends.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.errors import CoriolisError
from coriolis.rpc.messages import Error, Export, Exported, RemoteSource
from coriolis.worker import classify, host
from coriolis.worker.child import Child, Rung
from coriolis.worker.forks import ForkServer
from coriolis.worker.settings import LinkFiles, VaultSettings, WorkerSettings

_LOG = logging.getLogger(__name__)
KEPT_SECONDS = 60.0  # after the last question
_LOOK_SECONDS = 5.0
Key = tuple[str, int, str]


class _Exporting:
    def __init__(self, child: Child, scratch: Path) -> None:
        self.child, self.scratch = child, scratch
        self.asked = time.monotonic()
        self.answer = Exported()


class Exports:
    """Safe to use from several threads; ``open`` never waits for a platform."""

    def __init__(
        self,
        settings: WorkerSettings,
        vault: VaultSettings,
        server: Callable[[], ForkServer],
        files: Callable[[], LinkFiles],
        threads: Executor,
    ) -> None:
        """``files``: what a link needs; may ask the conductor."""
        self._settings, self._vault, self._server = settings, vault, server
        self._files, self._threads = files, threads
        self._lock = threading.Lock()
        self._exports: dict[Key, _Exporting] = {}

    def open(self, export: Export) -> Exported:
        """Starts it, or says how far it is. One that failed is told once, and may be started again."""
        key = (export.task_id, export.epoch, export.item)
        with self._lock:
            found = self._exports.get(key)
            if found is None:
                found = self._exports[key] = self._new(key, export)
                self._threads.submit(self._run, key, found, export)
            found.asked = time.monotonic()
            if found.answer.error is not None:
                del self._exports[key]
            return found.answer

    def stop(self) -> None:
        with self._lock:
            everything = list(self._exports.values())
            self._exports.clear()
        for one in everything:
            one.child.stop(Rung.KILL)

    def _new(self, key: Key, export: Export) -> _Exporting:
        scratch = self._settings.state_path / "scratch"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        child = Child(
            f"export.{uuid.uuid4()}",
            ids={"request": export.request_id or "-", "task": key[0], "epoch": key[1], "disk": key[2]},
            grace_seconds=self._settings.cancel_grace_seconds,
            on_message=lambda message: self._hear(key, message),
            on_end=lambda answer, status: self._ended(key, answer, status),
        )
        return _Exporting(child, Path(tempfile.mkdtemp(dir=scratch)))

    def _run(self, key: Key, exporting: _Exporting, export: Export) -> None:
        try:
            order = host.Order(
                settings=self._settings,
                vault=self._vault,
                scratch=str(exporting.scratch),
                log_level=logging.getLogger("coriolis").getEffectiveLevel(),
                export=export,
                link=self._files(),
            )
            exporting.child.start(self._server(), to_json(order), leased=True)
        except CoriolisError as error:
            exporting.answer = Exported(error=classify.classify(error))
            return
        while not exporting.child.wait(_LOOK_SECONDS):
            if time.monotonic() - exporting.asked > KEPT_SECONDS:
                _LOG.info("an export is not asked for any more task=%s epoch=%d disk=%s", *key)
                exporting.child.stop(Rung.TOKEN)
        shutil.rmtree(exporting.scratch, ignore_errors=True)

    def _hear(self, key: Key, message: dict[str, Any]) -> None:
        exporting = self._exports.get(key)
        if "exported" in message and exporting is not None:
            exporting.answer = Exported(source=from_json(RemoteSource, message["exported"]))

    def _ended(self, key: Key, answer: dict[str, Any] | None, status: int) -> None:
        exporting = self._exports.get(key)
        if exporting is None:
            return
        error = classify.died(status)
        if answer is not None and answer["outcome"] == host.FAILED:
            error = from_json(Error, answer["error"])
        if answer is not None and answer["outcome"] == host.COMPLETED:
            with self._lock:
                self._exports.pop(key, None)
            return
        exporting.answer = Exported(error=error)
