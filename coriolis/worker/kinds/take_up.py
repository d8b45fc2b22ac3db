# SPDX-License-Identifier: Apache-2.0
"""Begins a deployment: takes the replica up and asks the destination's provider what it would make of it now."""

from __future__ import annotations

from collections.abc import Sequence

from coriolis.domain.model import Json
from coriolis.worker.job import Job
from coriolis.worker.kinds import plan
from coriolis.worker.sequence import Step


def steps(job: Job) -> Sequence[Step]:
    held = job.assign.inputs
    volumes = held.get("volumes@replica") or []
    present = frozenset(volume["disk_id"] for volume in volumes) if job.assign.params.get("in_place") else frozenset()

    def planned() -> Json:
        return plan.layout(job, held["vm@replica"], present)

    return (
        Step(name="vm", run=lambda results: held["vm@replica"], gives="vm"),
        Step(name="layout", run=lambda results: planned(), gives="layout"),
        Step(name="volumes", run=lambda results: volumes, gives="volumes"),
        # Without a whole point in time there are no digests to compare with: the user insisted.
        Step(name="digest", run=lambda results: held.get("digest@replica") or {}, gives="digest"),
    )
