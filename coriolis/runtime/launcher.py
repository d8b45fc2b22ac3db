# SPDX-License-Identifier: Apache-2.0
"""Starts services, waits for a signal, stops them in reverse order."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from typing import Protocol

LOG = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Service(Protocol):
    """Something with threads of its own. ``stop`` finishes what is under way, and returns when all is over."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def run(services: Sequence[Service], *, stop: threading.Event | None = None) -> None:
    """Runs until SIGTERM, SIGINT or ``stop``. A second signal ends the process at once (work is resumed elsewhere).

    Must be called in the main thread.
    """
    stop = stop or threading.Event()

    def asked(number: int, _frame: object) -> None:
        LOG.info("Stopping on %s; a second signal stops at once", signal.Signals(number).name)
        stop.set()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    for each in _SIGNALS:
        signal.signal(each, asked)
    started: list[Service] = []
    try:
        for service in services:
            service.start()
            started.append(service)
        stop.wait()
    finally:
        for service in reversed(started):
            service.stop()
