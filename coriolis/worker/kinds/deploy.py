# SPDX-License-Identifier: Apache-2.0
"""Defines the new instance over its volumes; it is not started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.domain.codec import to_json
from coriolis.domain.model import Json
from coriolis.providers.api import Deployed, Instance, Layout, Volume
from coriolis.worker.job import Job
from coriolis.worker.kinds import made
from coriolis.worker.sequence import Step

NAME = "instance"


def steps(job: Job) -> Sequence[Step]:
    return (
        Step(
            name=NAME,
            run=lambda results: _define(job),
            revert=lambda deployed: made.unmake(job, NAME, lambda ref, key: _delete(job, ref, key)),
            gives="deployed",
        ),
    )


def _define(job: Job) -> Json:
    instance = job.input("vm", Instance)
    layout = job.input("layout", Layout)
    volumes = job.inputs("volumes", Volume)

    def create(key: str) -> Deployed:
        compute = job.part("destination", "compute")
        environment = job.assign.destination_environment
        deployed: Deployed = compute.create(instance, layout, volumes, key, environment, job.context)
        job.context.event("INFO", f"Defined the new instance {deployed.name}.")
        return deployed

    deployed = made.ensure(job, "instance", NAME, Deployed, create, lambda ref, key: _delete(job, ref, key))
    return to_json(deployed)


def _delete(job: Job, ref: Any, key: str) -> None:
    job.part("destination", "compute").delete(ref, key, job.context)
