# SPDX-License-Identifier: Apache-2.0
"""Asks the destination's provider what it would make of the instance."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.model import Json
from coriolis.providers.api import Instance, Purpose
from coriolis.worker.job import Job
from coriolis.worker.kinds import concerns
from coriolis.worker.sequence import Step


def steps(job: Job) -> Sequence[Step]:
    present = frozenset(volume["disk_id"] for volume in job.assign.inputs.get("volumes@replica") or ())
    return (Step(name="plan", run=lambda results: layout(job, job.assign.inputs["vm"], present), gives="layout"),)


def layout(job: Job, vm: Json, present: frozenset[str]) -> Json:
    """The provider's layout. ``present``: disks whose volumes are there already.

    :raises Invalid: a concern is blocking
    """
    assign = job.assign
    purpose = Purpose(assign.params.get("purpose", Purpose.MIGRATE))
    planned = job.part("destination", "planning").plan(
        from_json(Instance, vm),
        assign.destination_environment,
        assign.network_map,
        assign.storage_mappings,
        dataclasses.replace(job.context, purpose=purpose, present=present),
    )
    concerns.tell(job, planned.concerns)
    return to_json(planned)
