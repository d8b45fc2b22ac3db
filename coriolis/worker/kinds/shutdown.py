# SPDX-License-Identifier: Apache-2.0
"""Shuts the source instance down, and remembers that it ran, so that an undo starts it again."""

from __future__ import annotations

from collections.abc import Sequence

from coriolis.domain.model import Json
from coriolis.providers.api import Instance
from coriolis.worker.job import Job
from coriolis.worker.sequence import Step

NAME = "power/source"


def steps(job: Job) -> Sequence[Step]:
    return (Step(name="shutdown", run=lambda results: _shut_down(job), revert=lambda result: _start_again(job)),)


def _shut_down(job: Job) -> None:
    compute = job.part("source", "compute")
    instance = job.input("vm", Instance).id
    # An earlier attempt may have stopped it: then the ledger knows that it ran.
    if job.ledger.known(NAME) is None and not compute.is_running(instance, job.context):
        job.context.event("INFO", "The source instance is off already.")
        return
    ref = {"ref": instance}

    def stop() -> Json:
        compute.stop(instance, job.context)
        job.context.event("INFO", "The source instance was shut down.")
        return ref

    job.ledger.switch("power", NAME, stop, intent=ref)


def _start_again(job: Job) -> None:
    compute = job.part("source", "compute")
    job.ledger.remove_named(NAME, lambda ref, key: compute.start(ref["ref"], job.context))
