# SPDX-License-Identifier: Apache-2.0
"""Reads a volume back and compares it with what was read from the source."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from coriolis import dataplane
from coriolis.domain.errors import Invalid
from coriolis.domain.model import Json
from coriolis.providers.api import Volume
from coriolis.worker.job import Job
from coriolis.worker.kinds import copy, history, streams
from coriolis.worker.sequence import Step

MODES = ("none", "sample", "full")
_SAMPLE = 1 / 16


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="verify", run=lambda results: _verify(job), gives="verified"),)


def _verify(job: Job) -> Json:
    mode = str(job.assign.destination_environment.get("verification") or job.settings.verify)
    if mode not in MODES:
        raise Invalid(f"There is no verification '{mode}'; choose one of {', '.join(MODES)}.")
    wanted = history.of_disk(job, "digest")
    if wanted is None and not job.assign.replica:
        raise Invalid(f"Disk {job.item} has no digest to compare with.")
    if mode == "none" or wanted is None:
        return {"disk_id": job.item, "mode": "none"}
    volume = copy.volume_of(job)
    with job.part("destination", "write_blocks").open_sink(volume, job.context) as sink:
        result = _check(job, sink, _journal(job, volume, wanted["digest"]), mode, int(wanted["size"]))
    if result.digest is not None and result.digest != wanted["digest"]:
        raise dataplane.Mismatch(f"Disk {job.item}: the volume has the digest {result.digest}, not {wanted['digest']}.")
    job.context.event("INFO", f"Disk {job.item}: {result.leaves_checked} of {result.leaves} MiB compared, all equal.")
    return {
        "disk_id": job.item,
        "mode": result.mode,
        "digest": result.digest,
        "bytes_read": result.bytes_read,
        "seconds": round(result.seconds, 3),
    }


def _journal(job: Job, volume: Volume, digest: str) -> Path | None:
    """That of the round which gave this digest: this host's, if the last round was copied here, or else what the
    conductor has of it. None: neither has it."""
    here = job.journal(volume)
    if dataplane.finished_digest(here) == digest:
        return here
    mirror = copy.mirror_of(job, here, volume)
    if mirror is None:
        return None
    mirror.open()
    fetched = job.context.scratch / "journal"
    fetched.write_bytes(mirror.read())
    return fetched if dataplane.finished_digest(fetched) == digest else None


def _check(job: Job, sink: dataplane.Sink, journal: Path | None, mode: str, size: int) -> dataplane.VerifyResult:
    """By the journal, which names what differs; without one, the digest of the whole disk must do, of ``size`` bytes:
    the volume may be larger."""
    stream = streams.Meter(job)

    def progress(now: dataplane.Progress) -> None:
        stream.read(now.read)
        job.context.progress(job.item, now.done, now.total, copy.rate_text(job.item, now))

    cancelled = job.context.cancelled.is_set
    if journal is not None:
        return dataplane.verify_disk(
            sink,
            journal=journal,
            mode="sample" if mode == "sample" else "full",
            fraction=_SAMPLE,
            seed=secrets.randbits(64),
            options=copy.options(job),
            progress=progress,
            cancelled=cancelled,
        )
    return dataplane.digest_disk(sink, size=size, options=copy.options(job), progress=progress, cancelled=cancelled)
