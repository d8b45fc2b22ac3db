# SPDX-License-Identifier: Apache-2.0
"""What the engine lends to a provider call."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from coriolis.providers.api.errors import Cancelled


class ProgressSink(Protocol):
    def __call__(self, item: str, done: int, total: int, message: str) -> None: ...


def _silent(item: str, done: int, total: int, message: str) -> None:
    return None


def _no_event(level: str, message: str) -> None:
    return None


class Keepsake(Protocol):
    """A text that a connection leaves for later ones to the same platform account, of other attempts: it is kept in
    the worker's memory, never on a disk, and for minutes only. It may be gone at any time."""

    def read(self) -> str | None: ...

    def write(self, text: str) -> None: ...


class NoKeepsake:
    """Nothing is kept."""

    def read(self) -> str | None:
        return None

    def write(self, text: str) -> None:
        return None


class Purpose(enum.StrEnum):
    """What a plan is for."""

    MIGRATE = "migrate"  # a machine and its volumes
    REPLICATE = "replicate"  # volumes only; a machine of that name may exist, deployed from them before
    DEPLOY = "deploy"  # a machine from a replica, perhaps one of several: it gets a free name


@dataclass(frozen=True, kw_only=True)
class Context:
    """Lent for one call. ``deadline`` is on the monotonic clock, in seconds; ``scratch`` is a private directory that
    is removed after the attempt; of two attempts that may write the same volume, also of different tasks of the
    instance, the later one has the greater ``epoch``. ``present``: disks whose volumes exist on the destination
    already, and need no room. ``staging``: a private directory of the worker that outlives attempts, for what a later
    attempt may go on with; what is in it is removed when it was not used for days. None: the worker has none.
    ``new_keys``: nothing can have been made with these keys yet, and nothing needs to be looked for. ``keepsake``: of
    the connection that is opened with this."""

    log: logging.Logger
    scratch: Path
    staging: Path | None = None
    epoch: int = 0
    deadline: float | None = None
    purpose: Purpose = Purpose.MIGRATE
    present: frozenset[str] = frozenset()
    new_keys: Set[str] = frozenset()
    keepsake: Keepsake = field(default_factory=NoKeepsake)
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: ProgressSink = _silent  # overwritten state of an item; bytes or steps
    event: Callable[[str, str], None] = _no_event  # level INFO | WARNING | ERROR, message

    def check_cancelled(self) -> None:
        """:raises Cancelled: the attempt was told to stop"""
        if self.cancelled.is_set():
            raise Cancelled
