# SPDX-License-Identifier: Apache-2.0
"""What the workers can do: live providers, their schemas, and calls to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import Conflict, CoriolisError, Invalid, NotFound, Unavailable, Unsupported
from coriolis.rpc import messages
from coriolis.rpc.bus import Bus, NoAnswer
from coriolis.store import sessions
from coriolis.store.engine import Database

Json = Any


class ProviderFailed(CoriolisError):
    """The provider broke: a bug of it, or an answer of the platform that it does not understand."""

    code = "coriolis.provider_failed"
    status = 502


class UnknownProvider(Invalid):
    code = "coriolis.unknown_provider"


class NoWorker(Unavailable):
    code = "coriolis.no_worker"


@dataclass(frozen=True, kw_only=True)
class Schemas:
    """A provider's JSON schemas; None: it does not take that part."""

    connection: dict[str, Json] | None = None
    source: dict[str, Json] | None = None
    destination: dict[str, Json] | None = None


# code of the provider's error -> what the caller of the API gets
_ERRORS: dict[str, type[CoriolisError]] = {
    "provider.unavailable": Unavailable,
    "provider.unauthorized": Invalid,  # the endpoint's credentials are wrong, not the caller's token
    "provider.invalid": Invalid,
    "provider.conflict": Conflict,
    "provider.gone": NotFound,
    "data.invalid_image": Invalid,
    "data.unsafe_image": Invalid,
    "coriolis.invalid": Invalid,
    "coriolis.unsupported": Unsupported,
}


class Catalogue:
    """Asks live workers. Schemas are cached: they change with a release only. Safe to share between threads."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        *,
        timeout: float,
        cache_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._bus = bus
        self._timeout = timeout
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._schemas: dict[str, tuple[float, Schemas]] = {}

    def providers(self) -> dict[str, frozenset[Capability]]:
        """Every provider of a live worker, with all that any of them can do. One statement."""
        with self._db.reader() as conn:
            found = sessions.providers(conn)
        return {name: _known(words) for name, words in sorted(found.items())}

    def require(self, platform: str, field: str) -> None:
        """:raises UnknownProvider: workers are there, but none for it. :raises NoWorker: no worker at all"""
        known = self.providers()
        if not known:
            raise NoWorker("No worker is connected at the moment: start a coriolis-worker, or try again later")
        if platform not in known:
            raise UnknownProvider(
                f"{field}: {platform[:64]!r} is no known provider; known are {', '.join(known)}", field=field
            )

    def schemas(self, platform: str, field: str = "type") -> Schemas:
        """:raises UnknownProvider: :raises NoWorker: :raises NoAnswer: the worker is busy"""
        with self._lock:
            when, cached = self._schemas.get(platform, (0.0, None))
        if cached is not None and self._clock() - when < self._cache_seconds:
            return cached
        self.require(platform, field)
        value = self.call(platform, "schemas", "the schemas")
        fresh = Schemas(**{key: value.get(key) for key in ("connection", "source", "destination")})
        with self._lock:
            self._schemas[platform] = (self._clock(), fresh)
        return fresh

    def schemas_if_live(self, platform: str) -> Schemas | None:
        """The schemas, or None when nobody can tell them now."""
        try:
            return self.schemas(platform)
        except (UnknownProvider, Unavailable, ProviderFailed):
            return None

    def call(
        self,
        platform: str,
        operation: str,
        what: str,
        *,
        endpoint: messages.Endpoint | None = None,
        arguments: dict[str, Json] | None = None,
        regions: Sequence[str] = (),
        request_id: str | None = None,
    ) -> Json:
        """Let a live worker that has the provider do something for us. ``what``: words for an error message.

        :raises CoriolisError: nobody there, no answer in time, or the provider's own error
        """
        with self._db.reader() as conn:
            serving = sessions.serving(conn, platform, regions)
        if not serving:
            raise NoWorker(f"No worker with the provider {platform[:64]!r} is connected: {what} cannot be read now")
        request = messages.ProviderCall(
            operation=operation,
            endpoint=endpoint or messages.Endpoint(type=platform),
            arguments=arguments or {},
            request_id=request_id,
            timeout_seconds=self._timeout,
        )
        try:
            # a little longer than the worker's own limit: its answer names what was slow
            reply = self._bus.call(messages.WORKER, request, server=serving[0].id, timeout=self._timeout + 2)
        except NoAnswer:
            raise NoAnswer(f"{what}: the worker did not answer within {self._timeout:g} s; try again later") from None
        if reply.error is not None:
            otherwise = Unavailable if reply.error.retryable else ProviderFailed
            raise _ERRORS.get(reply.error.code, otherwise)(f"{what}: {reply.error.message}")
        return reply.value


def _known(words: Iterable[str]) -> frozenset[Capability]:
    """Capabilities that this release knows; a newer worker may name others."""
    return frozenset(Capability(word) for word in words if word in Capability._value2member_map_)
