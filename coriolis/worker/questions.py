# SPDX-License-Identifier: Apache-2.0
"""Answers the API's provider calls: from what is known, or by a child that asks the platform."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.errors import Unavailable
from coriolis.rpc.messages import Error, ProviderCall, ProviderReply
from coriolis.worker import classify, host
from coriolis.worker.child import Child, Rung
from coriolis.worker.forks import ForkServer
from coriolis.worker.settings import VaultSettings, WorkerSettings

_CODE = "provider.unavailable"


class Questions:
    """Safe to use from several threads; ``ask`` blocks for as long as the call allows."""

    def __init__(self, settings: WorkerSettings, vault: VaultSettings, server: Callable[[], ForkServer]) -> None:
        self._settings, self._vault, self._server = settings, vault, server
        self._slots = threading.BoundedSemaphore(settings.calls)

    def ask(self, call: ProviderCall) -> ProviderReply:
        try:
            if call.operation == "providers":
                return ProviderReply(value=self._server().providers)
            if call.operation == "schemas":
                return self._schemas(call)
            if not self._slots.acquire(timeout=call.timeout_seconds):
                return _unanswered("This worker is busy with other questions; ask again later.")
            try:
                return self._ask_child(call)
            finally:
                self._slots.release()
        except Unavailable as error:
            return ProviderReply(error=classify.classify(error))

    def _schemas(self, call: ProviderCall) -> ProviderReply:
        name = call.endpoint.type if call.endpoint is not None else ""
        server = self._server()
        if name in server.providers:
            return ProviderReply(value=server.providers[name]["schemas"])
        problem = server.errors.get(name, "it is not installed")
        return ProviderReply(error=Error(code="provider.invalid", message=f"No provider '{name}' here: {problem}."))

    def _ask_child(self, call: ProviderCall) -> ProviderReply:
        ends: list[tuple[dict[str, Any] | None, int]] = []
        child = Child(
            f"call.{uuid.uuid4()}",
            ids={"request": call.request_id or "-", "operation": call.operation},
            grace_seconds=min(1.0, self._settings.cancel_grace_seconds),
            on_message=lambda message: None,
            on_end=lambda answer, status: ends.append((answer, status)),
        )
        scratch = self._settings.state_path / "scratch"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(dir=scratch))
        order = host.Order(
            settings=self._settings,
            vault=self._vault,
            scratch=str(folder),
            log_level=logging.getLogger("coriolis").getEffectiveLevel(),
            call=call,
        )
        try:
            child.start(self._server(), to_json(order), leased=False)
            if not child.wait(call.timeout_seconds):
                child.stop(Rung.TOKEN)
                return _unanswered(f"The platform did not answer within {call.timeout_seconds:g} s.")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return _reply(*ends[0])


def _reply(answer: dict[str, Any] | None, status: int) -> ProviderReply:
    if answer is None:
        return ProviderReply(error=classify.died(status))
    if answer["outcome"] == host.COMPLETED:
        return ProviderReply(value=answer["value"])
    if answer.get("error") is None:
        return ProviderReply(error=classify.died(status))
    return ProviderReply(error=from_json(Error, answer["error"]))


def _unanswered(message: str) -> ProviderReply:
    return ProviderReply(error=Error(code=_CODE, message=message, retryable=True))
