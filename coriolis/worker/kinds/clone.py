# SPDX-License-Identifier: Apache-2.0
"""Copies one disk of a replica to a new volume beside it, unless the platform did that when it made the volume, and
compares the copy with what was read at the source. What the platform copied is compared when it is verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from coriolis import dataplane
from coriolis.domain.errors import Invalid
from coriolis.domain.model import Json
from coriolis.providers.api import Volume
from coriolis.worker.job import Job
from coriolis.worker.kinds import copy, history
from coriolis.worker.sequence import Step


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="clone", run=lambda results: _clone(job), gives="digest"),)


def _clone(job: Job) -> Json:
    old, new = _of_replica(job), copy.volume_of(job)
    wanted = history.of_disk(job, "digest@replica")
    if new.origin == old.ref and wanted is not None:
        job.context.event("INFO", f"Disk {job.item}: the destination has cloned the replica's volume by itself.")
        return {**wanted, "volume": new.ref, "bytes_read": 0, "bytes_written": 0, "seconds": 0.0}
    blocks = job.part("destination", "write_blocks")
    # Its bytes cannot change meanwhile: nothing else of the transfer runs.
    identity = f"replica/{old.ref}/{job.assign.fence}"
    with blocks.open_sink(old, job.context) as replica, blocks.open_sink(new, job.context) as sink:
        if new.origin is not None:
            sink = dataclasses.replace(sink, zeroed=False)
        size = None if wanted is None else int(wanted["size"])  # the volume may be larger
        # As it is: free space of the source is not that of the replica, whose digest the clone must have.
        whole = dataclasses.replace(copy.options(job), live_only=False)
        done = copy.moved(job, _as_source(replica, identity), sink, new, whole, size=size)
    if wanted is not None and wanted["digest"] != done["digest"]:
        raise dataplane.Mismatch(
            f"Disk {job.item}: the replica has the digest {done['digest']}, not {wanted['digest']} as it was copied. "
            "Something else wrote it; execute the transfer again."
        )
    return done if wanted is None else {**done, "bytes_left_out": wanted.get("bytes_left_out", 0)}


def _of_replica(job: Job) -> Volume:
    for volume in job.inputs("volumes@replica", Volume):
        if volume.disk_id == job.item:
            return volume
    raise Invalid(f"The replica has no volume for disk {job.item}.")


def _as_source(sink: dataplane.Sink, identity: str) -> dataplane.Source:
    if isinstance(sink, dataplane.NbdSink):
        return dataplane.NbdSource(uri=sink.uri, identity=identity)
    return dataplane.ImageSource(path=sink.path, format=sink.format, identity=identity)
