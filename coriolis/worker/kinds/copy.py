# SPDX-License-Identifier: Apache-2.0
"""Copies one disk from its snapshot to its volume; goes on where the journal ends, whoever wrote it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path

from coriolis import dataplane
from coriolis.domain import convergence
from coriolis.domain.errors import Invalid
from coriolis.domain.journal_name import name_of
from coriolis.domain.model import Json
from coriolis.providers.api import Snapshot, Volume
from coriolis.worker.job import Job
from coriolis.worker.journal_mirror import ConductorMirror
from coriolis.worker.kinds import history, remote, streams
from coriolis.worker.kinds.filtering import behind_filters
from coriolis.worker.sequence import Step

_CHECKPOINT_SECONDS = 5.0
_WINDOW = 64  # MiB in flight at most, for one disk


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="copy", run=lambda results: _copy(job), gives="digest"),)


def volume_of(job: Job) -> Volume:
    """The volume of this task's disk. :raises Invalid: there is none"""
    for volume in job.inputs("volumes", Volume):
        if volume.disk_id == job.item:
            return volume
    raise Invalid(f"There is no volume for disk {job.item}.")


def options(job: Job) -> dataplane.CopyOptions:
    settings = job.settings
    return dataplane.CopyOptions(
        requests=settings.copy_requests,
        connections=settings.link.connections if job.assign.apart else 1,
        window=max(settings.copy_requests, min(_WINDOW, settings.copy_memory_mib // settings.slots)),
        stall_seconds=settings.copy_stall_seconds,
        pace=job.pace,
        live_only=job.assign.source_environment.get("copy_live_data_only") is True,
    )


def _copy(job: Job) -> Json:
    context = job.context
    snapshot, volume = job.input("snapshot", Snapshot), volume_of(job)
    with (
        source_of(job, snapshot) as source,
        job.part("destination", "write_blocks").open_sink(volume, context) as sink,
    ):
        if _was_written(job, volume):
            # Holes of this round may hold old bytes, and must be written as zeros.
            sink = dataclasses.replace(sink, zeroed=False)
        return moved(job, source, sink, volume, options(job))


def source_of(job: Job, snapshot: Snapshot) -> contextlib.AbstractContextManager[dataplane.Source]:
    """The disk's bytes at that point in time, here or through another worker."""
    if job.assign.apart:
        return remote.source(job, snapshot)
    opened: contextlib.AbstractContextManager[dataplane.Source] = job.part("source", "read_blocks").open_source(
        snapshot, job.item, job.context
    )
    return opened


def _was_written(job: Job, volume: Volume) -> bool:
    """By an earlier round, by an earlier execution of the transfer, or by an attempt whose journal is lost."""
    if job.assign.inputs.get("snapshot@prev") is not None:
        return True
    if job.assign.attempt.epoch > 1 and not job.settings.mirror_journals and not job.journal(volume).exists():
        return True
    return volume.ref in {one.ref for one in job.inputs("volumes@replica", Volume)}


def moved(
    job: Job,
    source: dataplane.Source,
    sink: dataplane.Sink,
    volume: Volume,
    chosen: dataplane.CopyOptions,
    *,
    size: int | None = None,
) -> Json:
    """Makes the sink, which is the volume's, hold the bytes of the source, or its first ``size`` ones; gives what came
    of it."""
    context = job.context
    path = job.journal(volume)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    started = dt.datetime.now(dt.UTC)
    with behind_filters(source, sink, job.settings) as (near, far):
        done = dataplane.copy_disk(
            near,
            far,
            journal=path,
            mirror=mirror_of(job, path, volume),
            epoch=context.epoch,
            size=size,
            options=chosen,
            progress=_Report(job),
            cancelled=context.cancelled.is_set,
        )
    job.checkpoint({"host": job.settings.host, "done": done.size})
    line = history.line(done, started, dt.datetime.now(dt.UTC), source.identity)
    rounds = history.with_line(history.earlier(job), line)
    return {
        "disk_id": job.item,
        "digest": done.digest,
        "size": done.size,
        "mode": done.mode,
        "round": done.round,
        "bytes_read": done.bytes_read,
        "bytes_written": done.bytes_written,
        "bytes_skipped": done.bytes_skipped,
        "bytes_resumed": done.bytes_resumed,
        "bytes_left_out": done.bytes_left_out,
        **_saved(job, done),
        "seconds": round(done.seconds, 3),
        "host": job.settings.host,
        "volume": volume.ref,
        "rounds": rounds,
        "forecast": _foretell(job, done, rounds),
    }


def _saved(job: Job, done: dataplane.CopyResult) -> dict[str, Json]:
    """What leaving out free space saved, for the result and for people; nothing when that was not asked for."""
    if not done.volumes:
        return {}
    for volume in done.volumes:
        kind = volume.kind or "unknown contents"
        what = f"{volume.free} bytes are free" if volume.free else f"copied whole: {volume.reason or 'nothing is free'}"
        job.context.event("INFO", f"Disk {job.item}: partition at {volume.offset}, {kind}, {what}.")
    volumes: list[Json] = [dataclasses.asdict(volume) for volume in done.volumes]
    return {"bytes_saved": done.bytes_saved, "volumes": volumes}


def _foretell(job: Job, done: dataplane.CopyResult, rounds: list[Json]) -> Json:
    """Says how the rounds converge, in the progress and in the result."""
    remaining = int(job.assign.params.get("rounds", 1)) - int(job.assign.params.get("round", 1))
    found = history.forecast(rounds, done.size, remaining)
    words = convergence.text(found)
    if words is not None:
        job.context.progress(job.item, done.size, done.size, f"{job.item}: {words}")
        job.context.event("INFO", f"Disk {job.item}: round {done.round} took {done.seconds:.1f} s; it {words}.")
    return history.to_json(found)


def mirror_of(job: Job, path: Path, volume: Volume) -> dataplane.Mirror | None:
    """Where the conductor keeps the journal ``path`` of this task's disk on that volume; None: it does not."""
    if not job.settings.mirror_journals:
        return None
    name = name_of(job.assign.instance, job.item, volume.ref, job.era)
    return ConductorMirror(path, name, job.assign.attempt, job.ask)


class _Report:
    """Passes the copy's progress and rate on, and a checkpoint now and then."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stream = streams.Meter(job)
        self._next = time.monotonic() + _CHECKPOINT_SECONDS

    def __call__(self, now: dataplane.Progress) -> None:
        job = self._job
        job.context.progress(job.item, now.done, now.total, rate_text(job.item, now))
        self._stream.read(now.read)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _CHECKPOINT_SECONDS
            job.checkpoint({"host": job.settings.host, "done": now.done})


def rate_text(item: str, now: dataplane.Progress) -> str:
    return f"{item}: {now.rate / 1e6:.1f} MB/s"
