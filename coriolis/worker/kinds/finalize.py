# SPDX-License-Identifier: Apache-2.0
"""Starts the new instance. Its result is the wire contract's ``transfer_result``: a ``vm_export_info``, to which
``integrity`` adds what proves the bytes of its disks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from coriolis.domain.codec import from_json, to_json
from coriolis.domain.model import Json
from coriolis.providers.api import Deployed, Instance
from coriolis.worker import journals
from coriolis.worker.job import Job
from coriolis.worker.kinds import made
from coriolis.worker.sequence import Step

NAME = "power/destination"
_COUNTS = ("bytes_read", "bytes_written", "bytes_skipped", "bytes_resumed")


def steps(job: Job) -> Sequence[Step]:
    return (
        Step(name="start", run=lambda results: _start(job), revert=lambda started: _stop(job)),
        Step(name="result", run=lambda results: _result(job, results["start"]), gives="transfer_result"),
    )


def _start(job: Job) -> Deployed:
    deployed = job.input("deployed", Deployed)
    compute = job.part("destination", "compute")
    ref = job.ledger.switch(
        "power",
        NAME,
        lambda: made.entry(compute.start(deployed.ref, job.context)),
        intent={"ref": deployed.ref},
    )
    return from_json(Deployed, ref["record"])


def _stop(job: Job) -> None:
    compute = job.part("destination", "compute")
    job.ledger.remove_named(NAME, lambda ref, key: compute.stop(ref["ref"], job.context))


def _result(job: Job, started: Deployed) -> Json:
    console = f" Its console: {started.console}" if started.console else ""
    job.context.event("INFO", f"The new instance {started.name} runs.{console}")
    if job.assign.replica is None:  # a transfer goes on with its journals
        journals.forget_instance(job.settings.state_path, job.replica, job.assign.instance)
    more = {**({"console": started.console} if started.console else {}), "integrity": _integrity(job)}
    return {**to_json(started.instance or _as_planned(job, started)), **more}


def _as_planned(job: Job, started: Deployed) -> Instance:
    """Where the platform does not describe what it made: the source's hardware under the new name."""
    source = job.input("vm", Instance)
    return dataclasses.replace(
        source, id=started.ref, name=started.name, instance_name=started.name, running=started.running
    )


def _integrity(job: Job) -> Json:
    """Per disk: the digest of what was read at the source, that of what was read back from the target (None when only
    a sample was, or nothing), the bytes of the last round, and how long further ones would have taken."""
    copied = job.assign.inputs.get("digest") or {}
    verified = job.assign.inputs.get("verified") or {}
    return {
        "disks": [
            {
                "disk_id": disk,
                "size_bytes": done["size"],
                "source_digest": done["digest"],
                "target_digest": verified.get(disk, {}).get("digest"),
                "verification": verified.get(disk, {}).get("mode"),
                "rounds": len(done.get("rounds") or ()) or 1,
                "forecast": done.get("forecast"),
                **{name: done[name] for name in _COUNTS},
            }
            for disk, done in sorted(copied.items())
        ]
    }
