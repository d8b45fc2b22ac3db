# SPDX-License-Identifier: Apache-2.0
"""Counts requests and times them, by route and not by path, so that ids do not make new series."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from coriolis.runtime.identity import StartResponse, WsgiApp

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@functools.cache
def _series(registry: CollectorRegistry) -> tuple[Counter, Histogram]:
    """A registry takes each name once, however many applications a process makes."""
    return (
        Counter("coriolis_api_requests", "Requests answered", ("method", "route", "status"), registry=registry),
        Histogram(
            "coriolis_api_request_seconds", "Time to the answer, in seconds", ("method", "route"), registry=registry
        ),
    )


class Metrics:
    """WSGI middleware around everything that makes answers."""

    def __init__(self, app: WsgiApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests, self._seconds = _series(registry)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        begin = time.perf_counter()
        method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in _METHODS else "other"

        def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            route = environ.get("coriolis.route", "none")
            self._requests.labels(method, route, status[:3]).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - begin)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return self._app(environ, started)
