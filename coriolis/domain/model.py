# SPDX-License-Identifier: Apache-2.0
"""Frozen records that the rules speak about. Wire and SQL forms are made from them elsewhere."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Any

from coriolis.domain.capabilities import Capability

Json = Any  # what json.loads gives


class Side(enum.StrEnum):
    """Whose connection a step needs."""

    SOURCE = "source"
    DESTINATION = "destination"
    BOTH = "both"


class Role(enum.StrEnum):
    """Why a task is in the graph."""

    WORK = "work"
    CLEANUP = "cleanup"  # runs once its maker is over, whatever happened (temporary things, e.g. snapshots)
    UNDO = "undo"  # runs only when its instance fails or is cancelled


class TaskState(enum.StrEnum):
    SCHEDULED = "SCHEDULED"  # waits for parents
    PENDING = "PENDING"  # may be placed on a worker once `not_before` has passed
    RUNNING = "RUNNING"  # belongs to (session, epoch)
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    CANCELED = "CANCELED"
    UNSCHEDULED = "UNSCHEDULED"  # not needed


class ExecutionState(enum.StrEnum):
    UNEXECUTED = "UNEXECUTED"
    AWAITING_MINIONS = "AWAITING_MINION_ALLOCATIONS"
    PENDING = "PENDING"  # stored, not yet compiled
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ERROR_MINIONS = "ERROR_ALLOCATING_MINIONS"
    CANCELED = "CANCELED"


class EffectState(enum.StrEnum):
    INTENDED = "intended"
    LIVE = "live"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class ErrorClass:
    """How a failed attempt ended, as the planner sees it."""

    code: str  # stable, e.g. "provider.unavailable"
    message: str
    retryable: bool = False
    retry_after_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and when a failed task is tried again. Times in seconds."""

    attempts: int = 5
    first_delay: float = 2.0
    factor: float = 2.0
    max_delay: float = 300.0
    lost_sessions: int = 3  # a task that takes its worker down this often fails
    permanent_attempts: int = 1  # how often a failure that is not retryable may happen before the task gives up


@dataclass(frozen=True, kw_only=True)
class Need:
    """A provider (by name) with the capabilities that a task uses of it."""

    provider: str
    capabilities: frozenset[Capability]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One node of an execution's graph, for one instance."""

    id: str
    execution_id: str
    instance: str
    name: str  # unique in (execution, instance): "copy.2/disk-0"
    kind: str  # the worker's function: "copy"
    type: str  # wire name: "REPLICATE_DISKS"
    index: int  # order on the wire, from 1
    side: Side
    role: Role = Role.WORK
    state: TaskState = TaskState.SCHEDULED
    parents: frozenset[str] = frozenset()  # task ids
    takes: tuple[str, ...] = ()  # names of outputs it reads, "name" or "name@round"
    gives: tuple[str, ...] = ()
    each: str | None = None  # placeholder: expanded over this output
    item: str | None = None  # what an expanded task is for (a disk id)
    params: dict[str, Json] = field(default_factory=dict)  # constants from the recipe, e.g. {"round": 2}
    needs: tuple[Need, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    maker: str | None = None  # for cleanup and undo: id of the task whose effects it removes
    epoch: int = 0
    session_id: str | None = None
    stop_asked: bool = False  # a running attempt is told to stop (cancel, or a sibling failed)
    attempts: int = 0  # failed, retryable ones
    lost_sessions: int = 0
    not_before: dt.datetime | None = None
    error: ErrorClass | None = None
