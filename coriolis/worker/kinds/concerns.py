# SPDX-License-Identifier: Apache-2.0
"""Tells the user about concerns; a blocking one ends the task."""

from __future__ import annotations

from collections.abc import Sequence

from coriolis.providers.api import Concern, Invalid
from coriolis.worker.job import Job


def tell(job: Job, concerns: Sequence[Concern]) -> None:
    """Each as an event. :raises Invalid: at least one is blocking; the message has all of these"""
    for concern in concerns:
        job.context.event("ERROR" if concern.blocking else "WARNING", f"{concern.message} [{concern.code}]")
    blocking = [concern.message for concern in concerns if concern.blocking]
    if blocking:
        raise Invalid(" ".join(blocking))
