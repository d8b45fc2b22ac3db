# SPDX-License-Identifier: Apache-2.0
"""What the workers can do: live providers, their schemas, and calls to them. Workers may differ: what is told is the
union of all live ones, never what one of them happens to say."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from coriolis.api.unions import union
from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import Conflict, CoriolisError, Invalid, NotFound, Unavailable, Unsupported
from coriolis.rpc import messages
from coriolis.rpc.bus import Bus, NoAnswer
from coriolis.store import sessions
from coriolis.store.engine import Database
from coriolis.store.rows import Session

Json = Any

_MOST_TOLD = 1000  # schemas that are remembered
_SCHEMA_SECONDS = 10.0  # a worker has its schemas at hand
_TELLERS_ASKED = 3


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
    """A provider's JSON schemas; None: it does not take that part. Fields are the parts of ``Provider.schemas``."""

    connection: dict[str, Json] | None = None
    source: dict[str, Json] | None = None
    destination: dict[str, Json] | None = None
    source_minion_pool: dict[str, Json] | None = None
    destination_minion_pool: dict[str, Json] | None = None


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
    """Asks live workers. Safe to share between threads.

    The schemas of a live session never change, so they are asked for once: of one session for each digest, or of each
    session whose worker is too old to tell digests.
    """

    def __init__(self, db: Database, bus: Bus, *, timeout: float) -> None:
        self._db = db
        self._bus = bus
        self._timeout = timeout
        self._lock = threading.Lock()
        self._told: dict[str, dict[str, Json]] = {}  # digest, or session id -> schemas by part

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
        """What any live worker takes. A worker that does not answer is left out when another one does.

        :raises UnknownProvider: :raises NoWorker: :raises NoAnswer: the workers are busy
        """
        with self._db.reader() as conn:
            serving = sorted(sessions.serving(conn, platform), key=lambda one: (one.created_at, one.id), reverse=True)
        if not serving:
            self.require(platform, field)
            raise NoWorker(f"No worker with the provider {platform[:64]!r} is connected: try again later")
        by_digest: dict[str, list[Session]] = {}
        for one in serving:
            by_digest.setdefault((one.schema_digests or {}).get(platform) or one.id, []).append(one)
        told: list[dict[str, Json]] = []
        problem: CoriolisError | None = None
        for digest, tellers in by_digest.items():
            try:
                told.append(self._schemas_of(digest, platform, tellers))
            except (Unavailable, ProviderFailed) as error:
                problem = error
        if not told and problem is not None:
            raise problem
        parts = {part.name: [each[part.name] for each in told if each.get(part.name)] for part in fields(Schemas)}
        return Schemas(**{part: union(found) for part, found in parts.items() if found})

    def _schemas_of(self, digest: str, platform: str, tellers: Sequence[Session]) -> dict[str, Json]:
        key = f"{platform}/{digest}"
        with self._lock:
            if key in self._told:
                return self._told[key]
        patience = min(self._timeout, _SCHEMA_SECONDS)
        request = messages.ProviderCall(
            operation="schemas", endpoint=messages.Endpoint(type=platform), timeout_seconds=patience
        )
        value = self._first_answer(tellers[:_TELLERS_ASKED], request)
        with self._lock:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told[key] = value
        return value

    def _first_answer(self, tellers: Sequence[Session], request: messages.ProviderCall) -> dict[str, Json]:
        """One that is live by its lease may have died a moment ago. :raises NoAnswer: so have all of them"""
        for one in tellers[:-1]:
            with contextlib.suppress(NoAnswer):
                return dict(self._ask(one, request, "the schemas"))
        return dict(self._ask(tellers[-1], request, "the schemas"))

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
            where = " in an enabled region of the endpoint" if regions else ""
            raise NoWorker(
                f"No worker with the provider {platform[:64]!r} is connected{where}: {what} cannot be read now"
            )
        request = messages.ProviderCall(
            operation=operation,
            endpoint=endpoint or messages.Endpoint(type=platform),
            arguments=arguments or {},
            request_id=request_id,
            timeout_seconds=self._timeout,
        )
        return self._ask(serving[0], request, what)

    def _ask(self, worker: Session, request: messages.ProviderCall, what: str) -> Json:
        seconds = request.timeout_seconds
        try:
            # a little longer than the worker's own limit: its answer names what was slow
            reply = self._bus.call(messages.WORKER, request, server=worker.id, timeout=seconds + 2)
        except NoAnswer:
            raise NoAnswer(f"{what}: the worker did not answer within {seconds:g} s; try again later") from None
        if reply.error is not None:
            otherwise = Unavailable if reply.error.retryable else ProviderFailed
            raise _ERRORS.get(reply.error.code, otherwise)(f"{what}: {reply.error.message}")
        return reply.value


def _known(words: Iterable[str]) -> frozenset[Capability]:
    """Capabilities that this release knows; a newer worker may name others."""
    return frozenset(Capability(word) for word in words if word in Capability._value2member_map_)
