# SPDX-License-Identifier: Apache-2.0
"""Asks the source's provider what may stand in the way of reading the instance."""

from __future__ import annotations

from collections.abc import Sequence

from coriolis.domain.codec import to_json
from coriolis.domain.model import Json
from coriolis.providers.api import Instance
from coriolis.worker.job import Job
from coriolis.worker.kinds import concerns
from coriolis.worker.sequence import Step


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="check_source", run=lambda results: _check(job), gives="concerns"),)


def _check(job: Job) -> Json:
    planning = job.connect("source").planning
    if planning is None:
        return []
    found = planning.check_source(job.input("vm", Instance), job.assign.source_environment, job.context)
    concerns.tell(job, found)
    return to_json(found)
