# SPDX-License-Identifier: Apache-2.0
"""Whether and when a task is tried again: by error class and policy, never by the text of an error."""

from __future__ import annotations

from coriolis.domain.model import ErrorClass, RetryPolicy, Task

WORKER_LOST = "task.worker_lost"
BAD_OUTPUT = "task.bad_output"
EFFECTS_LEFT = "task.effects_left"
STOPPED = "task.stopped"
# The attempt's process was killed, or vanished: a request that it sent to a platform may still be carried out.
DIED = "task.died"
# A volume holds other bytes than were copied to it.
MISMATCH = "data.mismatch"


def delay(policy: RetryPolicy, failures: int, asked: float | None = None) -> float:
    """Seconds to wait after the given number of failures, from 1. ``asked``: what the platform asked for; it is
    obeyed when longer, up to the policy's ``max_delay``."""
    exponent = min(failures - 1, 64)  # beyond, the power overflows before the limit is taken
    own = min(policy.max_delay, policy.first_delay * policy.factor**exponent)
    return max(own, min(asked or 0.0, policy.max_delay))


def after_failure(task: Task, error: ErrorClass) -> float | None:
    """Seconds until the next attempt of a task that has failed with ``error`` now, or None: it gives up."""
    failures = task.attempts + 1
    limit = task.retry.attempts if error.retryable else min(task.retry.attempts, task.retry.permanent_attempts)
    if failures >= limit:
        return None
    return delay(task.retry, failures, error.retry_after_seconds)


def after_lost_session(task: Task) -> bool:
    """True when a task whose worker is lost now may run once more."""
    return task.lost_sessions + 1 < task.retry.lost_sessions


def worker_lost(task: Task) -> ErrorClass:
    return ErrorClass(
        code=WORKER_LOST,
        message=f"The worker was lost {task.lost_sessions + 1} times while it ran this task; it is not tried again.",
    )


def in_doubt(error: ErrorClass) -> bool:
    """True when an attempt that failed so may still be making something: the platform gave no definite answer (that
    is what *retryable* says), or the attempt itself ended in the middle."""
    return error.retryable or error.code.startswith("task.")
