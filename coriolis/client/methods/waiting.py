# SPDX-License-Identifier: Apache-2.0
"""Waiting until a job, an execution or a pool has come to an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from openstack import exceptions

from coriolis.client.record import words

Thing = TypeVar("Thing", bound=Any)


def until_final(
    get: Callable[[], Thing],
    *,
    interval: float,
    timeout: float | None,
    seen: Callable[[Thing], None] | None,
) -> Thing:
    """Asks every ``interval`` seconds; ``seen`` is called with every state on the way.

    :raises openstack.exceptions.ResourceTimeout: ``timeout`` seconds have passed
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        current = get()
        if seen:
            seen(current)
        if current.final:
            return current
        if deadline is not None and time.monotonic() > deadline:
            raise exceptions.ResourceTimeout(
                f"The {words(type(current))} {current.id} is still {current.status} after {timeout} seconds. "
                f"It goes on."
            )
        time.sleep(interval)
