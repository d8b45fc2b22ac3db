# SPDX-License-Identifier: Apache-2.0
"""The door through which a service sends and answers messages. Two implementations: ``oslo_bus`` over a broker
(oslo.messaging) and ``local_bus`` in one process. Both carry JSON, so that the same code runs over both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from coriolis.domain.errors import Unavailable


class NoAnswer(Unavailable):
    """Nobody answered in time. The request may or may not have been carried out."""

    code = "coriolis.no_answer"


Handler = Callable[[Any], Any]  # takes the request record, gives the reply record or None


class Served(Protocol):
    """A running server."""

    def stop(self) -> None:
        """Takes no new messages, waits for those being handled."""
        ...


class Bus(Protocol):
    def serve(self, topic: str, server: str, handlers: Mapping[str, Handler]) -> Served:
        """Answers the topic's methods under the name ``server``; messages without a named server go to any of the
        topic's servers. A handler runs in one of several threads."""
        ...

    def call(self, topic: str, request: Any, *, server: str | None = None, timeout: float = 30.0) -> Any:
        """Sends the request (its class names the method) and gives the reply record. :raises NoAnswer: time is up"""
        ...

    def cast(self, topic: str, request: Any, *, server: str | None = None) -> None:
        """Sends and forgets; never raises for a broker that is away (a hint may be lost), but logs it."""
        ...

    def close(self) -> None: ...
