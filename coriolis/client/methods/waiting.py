# SPDX-License-Identifier: Apache-2.0
"""Waiting until a job, an execution or a pool has come to an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from keystoneauth1 import exceptions as ks_exceptions
from openstack import exceptions
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from coriolis.client.record import words

Thing = TypeVar("Thing", bound=Any)


PATIENCE = 120.0


def _passes(error: BaseException) -> bool:
    """Whether it may be well the next time."""
    if isinstance(error, exceptions.HttpException):
        return error.status_code in (502, 503, 504)
    return isinstance(error, ks_exceptions.ConnectFailure)


def patiently(ask: Callable[[], Thing], interval: float = 1.0) -> Thing:
    """Asks again, for ``PATIENCE`` seconds, while the service does not answer: it may be starting anew."""
    patient = Retrying(
        retry=retry_if_exception(_passes),
        stop=stop_after_delay(PATIENCE),
        wait=wait_fixed(max(interval, 0.1)),
        reraise=True,
    )
    return patient(ask)


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
        current = patiently(get, interval)
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
