# SPDX-License-Identifier: Apache-2.0
"""Waits for a resource to reach a status, feeling cancel and deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from coriolis.providers.api import Conflict, Context, Unavailable

T = TypeVar("T")
R = TypeVar("R")

_FIRST_POLL_SECONDS = 0.5
_SLOWEST_POLL_SECONDS = 5.0
_GROWTH = 1.3


class TimedOut(Unavailable):
    """What was waited for did not come. Not raised for what the cloud itself said meanwhile."""


def wait_until(check: Callable[[], T | None], *, what: str, seconds: float, context: Context) -> T:
    """Asks ``check`` until it gives something other than None, ever less often.

    :raises TimedOut: not within ``seconds``, or the deadline of the call
    :raises Cancelled: the attempt was told to stop
    """
    end = time.monotonic() + seconds
    if context.deadline is not None:
        end = min(end, context.deadline)
    pause = _FIRST_POLL_SECONDS
    while True:
        found = check()
        if found is not None:
            return found
        left = end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{what} within {seconds:.0f} s")
        if context.cancelled.wait(min(pause, left)):
            context.check_cancelled()
        pause = min(pause * _GROWTH, _SLOWEST_POLL_SECONDS)


def wait_for_status(
    fetch: Callable[[], R],
    wanted: Collection[str],
    *,
    what: str,
    seconds: float,
    context: Context,
    failed: Collection[str] = ("error",),
    why: Callable[[R], str] = lambda _resource: "",
) -> R:
    """Until ``fetch()`` has one of the ``wanted`` statuses. Statuses are compared without case.

    :raises Conflict: it has a status of ``failed`` or one that begins with ``error_``; ``why`` may say more
    :raises TimedOut: it stays in another status too long; the message names it
    """
    last: list[Any] = [None]

    def look() -> R | None:
        resource = fetch()
        status = str(getattr(resource, "status", "")).lower()
        last[0] = status
        if status in {one.lower() for one in wanted}:
            return resource
        if status in {one.lower() for one in failed} or status.startswith("error_"):
            said = why(resource)
            raise Conflict(f"{what} ended in status {status}" + (f": {said}" if said else ""))
        return None

    try:
        return wait_until(look, what=what, seconds=seconds, context=context)
    except TimedOut:
        raise TimedOut(
            f"{what} did not become {' or '.join(wanted)} within {seconds:.0f} s; it is still {last[0]}"
        ) from None
