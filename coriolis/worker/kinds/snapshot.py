# SPDX-License-Identifier: Apache-2.0
"""Takes a consistent point in time of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.domain.codec import to_json
from coriolis.domain.model import Json
from coriolis.providers.api import Instance, Snapshot
from coriolis.worker.job import Job
from coriolis.worker.kinds import made
from coriolis.worker.sequence import Step

NAME = "snapshot"


def steps(job: Job) -> Sequence[Step]:
    return (
        Step(
            name=NAME,
            run=lambda results: _snapshot(job),
            revert=lambda snapshot: made.unmake(job, NAME, lambda ref, key: _delete(job, ref, key)),
            gives="snapshot",
        ),
    )


def _snapshot(job: Job) -> Json:
    instance = job.input("vm", Instance)
    base = job.optional("snapshot@prev", Snapshot) or job.optional("snapshot@replica", Snapshot)

    def create(key: str) -> Snapshot:
        snapshots = job.part("source", "snapshots")
        snapshot: Snapshot = snapshots.create(instance, base, key, job.assign.source_environment, job.context)
        return snapshot

    snapshot = made.ensure(job, "snapshot", NAME, Snapshot, create, lambda ref, key: _delete(job, ref, key))
    return to_json(snapshot)


def _delete(job: Job, ref: Any, key: str) -> None:
    job.part("source", "snapshots").delete(ref, key, job.context)
