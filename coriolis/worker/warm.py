# SPDX-License-Identifier: Apache-2.0
"""Keeps one fork server alive: starts it, starts another when it dies, and lets callers wait for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from coriolis.domain.errors import Unavailable
from coriolis.worker.forks import ForkServer

_LOG = logging.getLogger(__name__)
_PATIENCE_SECONDS = 60.0
_STOP_SECONDS = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


class Warm:
    """``server`` gives the living one. Safe to use from several threads."""

    def __init__(self, providers: Sequence[str], mark: str) -> None:
        self._providers, self._mark = tuple(providers), mark
        self._changed = threading.Condition()
        self._server: ForkServer | None = None
        self._stopped = False
        self._starting: threading.Thread | None = None

    def start(self) -> None:
        """Begins to start it, in the background."""
        self._starting = threading.Thread(target=self._bring_up, name="warm-up", daemon=True)
        self._starting.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            server, self._server = self._server, None
            self._changed.notify_all()
        if server is not None:
            server.stop()
        if self._starting is not None:  # one that is not up yet ends as soon as it is
            self._starting.join(_STOP_SECONDS)

    def server(self, patience: float = _PATIENCE_SECONDS) -> ForkServer:
        """:raises Unavailable: there is none in time"""
        with self._changed:
            self._changed.wait_for(lambda: self._server is not None or self._stopped, patience)
            if self._server is None:
                raise Unavailable("The fork server is not up.")
            return self._server

    def current(self) -> ForkServer | None:
        with self._changed:
            return self._server

    def _bring_up(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                server = ForkServer(self._providers, self._mark, self._died)
            except Unavailable as error:
                _LOG.error("the fork server does not start reason=%s", error.message)
            else:
                for name, reason in server.errors.items():
                    _LOG.error("provider not offered name=%s reason=%s", name, reason)
                if self._adopt(server):
                    return
                server.stop()
            with self._changed:
                if self._changed.wait_for(lambda: self._stopped, pause):
                    return
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _adopt(self, server: ForkServer) -> bool:
        with self._changed:
            if self._stopped or server.dead:
                return False
            self._server = server
            self._changed.notify_all()
            return True

    def _died(self, server: ForkServer) -> None:
        with self._changed:
            if self._server is not server or self._stopped:
                return
            self._server = None
        self.start()
