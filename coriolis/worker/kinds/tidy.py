# SPDX-License-Identifier: Apache-2.0
"""The end of a transfer's execution: of what earlier executions have kept, only what the next one needs stays."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from coriolis.providers.api import Snapshot, Volume
from coriolis.rpc.messages import Effect
from coriolis.worker.job import Job
from coriolis.worker.kinds import made, removal
from coriolis.worker.sequence import Results, Step


def source(job: Job) -> Sequence[Step]:
    """Gives up the bytes of the new point in time, keeps its mark, and deletes the marks before it."""
    newest = job.input("snapshot", Snapshot).ref
    mine = [effect for effect in job.assign.effects if made.reference(effect.ref) == newest]
    return (
        *(Step(name=f"release/{effect.key}", run=functools.partial(_release, job, effect)) for effect in mine),
        *(removal.step(job, effect) for effect in reversed(job.assign.effects) if effect not in mine),
    )


def destination(job: Job) -> Sequence[Step]:
    """Deletes volumes of disks that are gone, or that were made anew elsewhere."""
    wanted = {volume.ref for volume in job.inputs("volumes", Volume)}
    return tuple(
        removal.step(job, effect) for effect in reversed(job.assign.effects) if made.reference(effect.ref) not in wanted
    )


def _release(job: Job, effect: Effect, results: Results) -> None:
    job.part("source", "snapshots").release(made.reference(effect.ref), effect.key, job.context)
