# SPDX-License-Identifier: Apache-2.0
"""Undo and cleanup: removes what another task has made, youngest first, by what the ledger says of it.

What is *gone* in the order is removed once more: it was in doubt, and a late request may have made it after all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from coriolis.domain.errors import Invalid
from coriolis.providers.api import Gone
from coriolis.rpc.messages import Effect
from coriolis.worker import journals
from coriolis.worker.job import Job
from coriolis.worker.kinds import finalize, made, minions, shutdown
from coriolis.worker.sequence import Results, Step

Undo = Callable[[Job, Any, str], None]  # job, the platform's reference or None, key


def _delete_snapshot(job: Job, ref: Any, key: str) -> None:
    job.part("source", "snapshots").delete(ref, key, job.context)


def _delete_volume(job: Job, ref: Any, key: str) -> None:
    job.part("destination", "volumes").delete(ref, key, job.context)
    journals.forget_instance(job.settings.state_path, job.replica, job.assign.instance)


def _delete_instance(job: Job, ref: Any, key: str) -> None:
    job.part("destination", "compute").delete(ref, key, job.context)


def _start_source(job: Job, ref: Any, key: str) -> None:
    job.part("source", "compute").start(ref, job.context)


def _stop_destination(job: Job, ref: Any, key: str) -> None:
    """A sweep comes after the instance was deleted: what does not exist does not run."""
    with contextlib.suppress(Gone):
        job.part("destination", "compute").stop(ref, job.context)


_BY_KIND: dict[str, Undo] = {
    "snapshot": _delete_snapshot,
    "volume": _delete_volume,
    "instance": _delete_instance,
    "minion": minions.delete,
}
_BY_NAME: dict[str, Undo] = {
    shutdown.NAME: _start_source,
    finalize.NAME: _stop_destination,
}


def steps(job: Job) -> Sequence[Step]:
    return tuple(step(job, effect) for effect in reversed(job.assign.effects))


def step(job: Job, effect: Effect) -> Step:
    """Removes one thing, and says so in the ledger. :raises Invalid: nobody knows how"""
    undo = _BY_NAME.get(effect.name) or _BY_KIND.get(effect.kind)
    if undo is None:
        raise Invalid(f"Nobody knows how to remove a {effect.kind} ({effect.name}).")

    def run(results: Results) -> None:
        job.ledger.remove(effect, lambda ref, key: undo(job, made.reference(ref), key))
        job.context.event("INFO", f"Undone: {effect.name}.")

    return Step(name=effect.key, run=run)
