# SPDX-License-Identifier: Apache-2.0
"""The Prometheus exporter of a process. Counters are defined next to the code that counts."""

from __future__ import annotations

import prometheus_client


class Exporter:
    """Serves ``/metrics``; does nothing when ``port`` is 0."""

    def __init__(self, *, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._server: prometheus_client.exposition.WSGIServer | None = None  # type: ignore[name-defined]

    def start(self) -> None:
        if self._port:
            self._server, _ = prometheus_client.start_http_server(self._port, addr=self._address)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
