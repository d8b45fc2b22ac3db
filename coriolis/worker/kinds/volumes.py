# SPDX-License-Identifier: Apache-2.0
"""Makes the destination's volumes: all or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.domain.codec import to_json
from coriolis.providers.api import Layout, PlannedDisk, Volume
from coriolis.worker.job import Job
from coriolis.worker.kinds import made
from coriolis.worker.sequence import FanOut, Results, Step


def steps(job: Job) -> Sequence[Step | FanOut]:
    layout = job.input("layout", Layout)
    making = tuple(_step(job, layout, disk) for disk in layout.disks)

    def collect(results: Results) -> list[Any]:
        return [to_json(results[step.name]) for step in making]

    return (FanOut(name="volumes", steps=making), Step(name="collect", run=collect, gives="volumes"))


def _step(job: Job, layout: Layout, disk: PlannedDisk) -> Step:
    name = f"volume/{disk.disk_id}"

    def create(key: str) -> Volume:
        job.context.check_cancelled()
        volumes = job.part("destination", "volumes")
        environment = job.assign.destination_environment
        volume: Volume = volumes.create(disk, layout, key, environment, job.context)
        job.context.event("INFO", f"Made a volume of {disk.size_bytes >> 20} MiB for disk {disk.disk_id}.")
        return volume

    def delete(ref: Any, key: str) -> None:
        job.part("destination", "volumes").delete(ref, key, job.context)

    return Step(
        name=name,
        run=lambda results: made.ensure(job, "volume", name, Volume, create, delete),
        revert=lambda volume: made.unmake(job, name, delete),
    )
