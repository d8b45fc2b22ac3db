# SPDX-License-Identifier: Apache-2.0
"""Asks the destination's provider what it would make of the instance."""

from __future__ import annotations

from collections.abc import Sequence

from coriolis.domain.codec import to_json
from coriolis.domain.model import Json
from coriolis.providers.api import Instance
from coriolis.worker.job import Job
from coriolis.worker.kinds import concerns
from coriolis.worker.sequence import Step


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="plan", run=lambda results: _plan(job), gives="layout"),)


def _plan(job: Job) -> Json:
    assign = job.assign
    layout = job.part("destination", "planning").plan(
        job.input("vm", Instance),
        assign.destination_environment,
        assign.network_map,
        assign.storage_mappings,
        job.context,
    )
    concerns.tell(job, layout.concerns)
    return to_json(layout)
