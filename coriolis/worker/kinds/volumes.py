# SPDX-License-Identifier: Apache-2.0
"""Makes the destination's volumes: all or none. Those that a replica has are used again, or cloned where that is asked
for and the platform can do it by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from coriolis.domain.codec import to_json
from coriolis.providers.api import Layout, PlannedDisk, Volume
from coriolis.worker.job import Job
from coriolis.worker.kinds import made
from coriolis.worker.sequence import FanOut, Results, Step


def steps(job: Job) -> Sequence[Step | FanOut]:
    layout = job.input("layout", Layout)
    replica = job.inputs("volumes@replica", Volume)
    cloning = bool(job.assign.params.get("clone"))
    known = {} if cloning else usable(layout, job.optional("layout@replica", Layout), replica)
    origins = {volume.disk_id: volume.ref for volume in replica} if cloning else {}
    making = {
        disk.disk_id: _step(job, layout, dataclasses.replace(disk, origin=origins.get(disk.disk_id)))
        for disk in layout.disks
        if disk.disk_id not in known
    }

    def collect(results: Results) -> list[Any]:
        made = {disk_id: results[step.name] for disk_id, step in making.items()}
        return [to_json((known | made)[disk.disk_id]) for disk in layout.disks]

    last = Step(name="collect", run=collect, gives="volumes")
    return (FanOut(name="volumes", steps=tuple(making.values())), last) if making else (last,)


def usable(layout: Layout, before: Layout | None, volumes: Sequence[Volume]) -> dict[str, Volume]:
    """By disk: the volumes of a replica that can go on, since they are large enough and where the disk shall be."""
    wanted = {disk.disk_id: disk for disk in layout.disks}
    planned = {disk.disk_id: disk for disk in before.disks} if before else {}
    return {
        one.disk_id: one
        for one in volumes
        if one.disk_id in wanted
        and one.size_bytes >= wanted[one.disk_id].size_bytes
        and (one.disk_id not in planned or planned[one.disk_id].storage == wanted[one.disk_id].storage)
    }


def _step(job: Job, layout: Layout, disk: PlannedDisk) -> Step:
    name = f"volume/{disk.disk_id}"

    def create(key: str) -> Volume:
        job.context.check_cancelled()
        volumes = job.part("destination", "volumes")
        environment = job.assign.destination_environment
        volume: Volume = volumes.create(disk, layout, key, environment, job.context)
        how = "Cloned" if volume.origin else "Made"
        job.context.event("INFO", f"{how} a volume of {disk.size_bytes >> 20} MiB for disk {disk.disk_id}.")
        return volume

    def delete(ref: Any, key: str) -> None:
        job.part("destination", "volumes").delete(ref, key, job.context)

    return Step(
        name=name,
        run=lambda results: made.ensure(job, "volume", name, Volume, create, delete),
        revert=lambda volume: made.unmake(job, name, delete),
    )
