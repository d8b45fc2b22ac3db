# SPDX-License-Identifier: Apache-2.0
"""Looks the instance up on the source."""

from __future__ import annotations

from collections.abc import Sequence

from coriolis.domain.codec import to_json
from coriolis.domain.model import Json
from coriolis.worker.job import Job
from coriolis.worker.sequence import Step

_GIB = 1 << 30


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="inspect", run=lambda results: _inspect(job), gives="vm"),)


def _inspect(job: Job) -> Json:
    inventory = job.part("source", "inventory")
    found = inventory.get_instance(job.assign.source_environment, job.assign.instance, job.context)
    size = sum(disk.size_bytes for disk in found.devices.disks) / _GIB
    job.context.event(
        "INFO",
        f"Found {found.name}: {found.num_cpu} CPUs, {found.memory_mb} MiB of memory, "
        f"{len(found.devices.disks)} disks with {size:.1f} GiB, {len(found.devices.nics)} NICs.",
    )
    return to_json(found)
