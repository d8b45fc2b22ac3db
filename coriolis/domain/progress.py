# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of progress: roll-up over items and instances, rate, time left. Bytes and seconds."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coriolis.domain.model import ExecutionState, Role, Task, TaskState
from coriolis.domain.states import FINAL_EXECUTION_STATES

SHARE_OF_BYTES = 90  # percent of an instance's bar that stands for its bytes; the rest stands for its steps
RATE_HALF_LIFE = 15.0  # seconds after which an observation counts half


@dataclass(frozen=True)
class Amount:
    """``total`` 0: not known."""

    done: int = 0
    total: int = 0


def add(amounts: Iterable[Amount]) -> Amount:
    """Sum; more done than the total of an item counts as its total."""
    known = [amount for amount in amounts if amount.total > 0]
    return Amount(sum(min(each.done, each.total) for each in known), sum(each.total for each in known))


def percent_of(tasks: Iterable[Task], bytes_: Amount) -> int:
    """0 to 99 while an instance runs: its bytes, and its work tasks that are over. 100 is for the end only."""
    work = [task for task in tasks if task.role is Role.WORK and not task.each]
    return percent_of_steps(sum(task.state is TaskState.COMPLETED for task in work), len(work), bytes_)


def percent_of_steps(done: int, total: int, bytes_: Amount) -> int:
    """As ``percent_of``, from counts."""
    steps = done / total if total else 0.0
    if bytes_.total <= 0:
        return min(99, math.floor(100 * steps))
    share = min(bytes_.done, bytes_.total) / bytes_.total
    return min(99, math.floor(SHARE_OF_BYTES * share + (100 - SHARE_OF_BYTES) * steps))


def percent_of_all(percents: Sequence[int]) -> int:
    """Of an execution: the mean of its instances, rounded down."""
    return sum(percents) // len(percents) if percents else 0


@dataclass(frozen=True)
class Rate:
    """Bytes a second, smoothed. ``per_second`` None: not known yet."""

    at: dt.datetime
    done: int
    per_second: float | None = None


def observe(rate: Rate | None, done: int, at: dt.datetime) -> Rate:
    """The rate after a new reading. A step back (another attempt began again) starts anew."""
    if rate is None or done < rate.done:
        return Rate(at, done)
    seconds = (at - rate.at).total_seconds()
    if seconds <= 0:
        return rate
    now = (done - rate.done) / seconds
    if rate.per_second is None:
        return Rate(at, done, now)
    keep = 0.5 ** (seconds / RATE_HALF_LIFE)
    return Rate(at, done, keep * rate.per_second + (1 - keep) * now)


def seconds_left(amount: Amount, rate: Rate | None) -> int | None:
    """Whole seconds until done at this rate, rounded up, or None when that cannot be told."""
    left = amount.total - amount.done
    if amount.total <= 0 or rate is None or not rate.per_second:
        return None
    return max(0, math.ceil(left / rate.per_second))


def execution_state(
    instances: Sequence[ExecutionState], cancelling: bool, reason: str | None = None
) -> tuple[ExecutionState, str | None]:
    """(state, message) of an execution from the states of its instances.

    ``cancelling``: its cancel flag. ``reason``: the message of one instance that failed, if any.
    """
    count = Counter(instances)
    if any(state not in FINAL_EXECUTION_STATES for state in instances):
        if cancelling:
            return ExecutionState.CANCELLING, None
        untouched = count[ExecutionState.PENDING] == len(instances)
        return (ExecutionState.PENDING if untouched else ExecutionState.RUNNING), None
    if count[ExecutionState.ERROR]:
        message = f"{count[ExecutionState.ERROR]} of {len(instances)} instances failed."
        return ExecutionState.ERROR, f"{message} {reason}" if reason else message
    if count[ExecutionState.CANCELED]:
        return ExecutionState.CANCELED, f"{count[ExecutionState.CANCELED]} of {len(instances)} instances cancelled."
    return ExecutionState.COMPLETED, None
