# SPDX-License-Identifier: Apache-2.0
"""Rules of minion pools: their states, which machines a job gets, which machines are too many."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class PoolStatus(enum.StrEnum):
    """Words of the wire contract. ``ALLOCATED`` and ``IN_MAINTENANCE`` serve jobs."""

    DEALLOCATED = "DEALLOCATED"
    ALLOCATING_MACHINES = "ALLOCATING_MACHINES"
    ALLOCATED = "ALLOCATED"
    IN_MAINTENANCE = "IN_MAINTENANCE"
    DEALLOCATING_MACHINES = "DEALLOCATING_MACHINES"
    ERROR = "ERROR"


class MachineStatus(enum.StrEnum):
    """Words of the wire contract (``allocation_status``)."""

    ALLOCATING = "ALLOCATING"  # is made
    HEALTHCHECKING = "HEALTHCHECKING"  # is started if off, and looked at; made anew when it is ill
    AVAILABLE = "AVAILABLE"
    IN_USE = "IN_USE"
    POWERING_OFF = "POWERING_OFF"
    DEALLOCATING = "DEALLOCATING"
    ERROR = "ERROR"


class Retention(enum.StrEnum):
    """What becomes of machines that were idle for too long."""

    DELETE = "delete"
    POWEROFF = "poweroff"


SERVING = frozenset({PoolStatus.ALLOCATED, PoolStatus.IN_MAINTENANCE})
SETTLED = frozenset({PoolStatus.DEALLOCATED, PoolStatus.ALLOCATED, PoolStatus.ERROR})


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One place of a pool. ``on``: it is powered on; ``since``: when it was last used, or made."""

    position: int
    status: MachineStatus
    on: bool
    since: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which machines a job gets: existing ones, and places in which new ones are made."""

    existing: tuple[int, ...]
    new: tuple[int, ...]


def choose(machines: Sequence[Machine], wanted: int, maximum: int) -> Choice | None:
    """All that a job wants or nothing, so that two jobs never hold half of what each needs. Machines that are on come
    first, then those that are off, then new ones.

    :returns: None: it has to wait until some are given back
    """
    free = [one for one in machines if one.status is MachineStatus.AVAILABLE]
    free.sort(key=lambda one: (not one.on, one.position))
    existing = [one.position for one in free[:wanted]]
    taken = {one.position for one in machines}
    places = [position for position in range(maximum) if position not in taken]
    missing = wanted - len(existing)
    if missing > len(places):
        return None
    return Choice(existing=tuple(existing), new=tuple(places[:missing]))


def surplus(machines: Iterable[Machine], minimum: int, idle: dt.timedelta, now: dt.datetime) -> tuple[int, ...]:
    """Places of machines beyond the minimum that nobody has used for so long; the highest places first."""
    machines = list(machines)
    idlers = [one for one in machines if one.status is MachineStatus.AVAILABLE and now - one.since >= idle]
    spare = max(0, len(machines) - minimum)
    return tuple(sorted((one.position for one in idlers), reverse=True)[:spare])
