# SPDX-License-Identifier: Apache-2.0
"""Machines of a minion pool: made, made ready, switched off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.domain.codec import to_json
from coriolis.domain.model import EffectState, Json
from coriolis.providers.api import Gone, Minion, Unavailable
from coriolis.rpc.messages import Effect
from coriolis.worker.job import Job
from coriolis.worker.kinds import made
from coriolis.worker.sequence import Step

NAME = "minion"


def ready(job: Job) -> Sequence[Step]:
    return (
        Step(
            name=NAME,
            run=lambda results: _ready(job),
            revert=lambda minion: made.unmake(job, NAME, lambda ref, key: delete(job, ref, key)),
            gives="transfer_result",
        ),
    )


def power_off(job: Job) -> Sequence[Step]:
    return tuple(_stopping(job, effect) for effect in _kept(job) if effect.ref)


def _stopping(job: Job, effect: Effect) -> Step:
    return Step(name=effect.key, run=lambda results: _stop(job, effect))


def delete(job: Job, ref: Any, key: str) -> None:
    job.part("destination", "minions").delete(ref, key, job.context)


def _kept(job: Job) -> list[Effect]:
    """What earlier executions have made in this place of the pool."""
    return [effect for effect in job.assign.effects if effect.owner is not None and effect.state != EffectState.GONE]


def _ready(job: Job) -> Json:
    minions = job.part("destination", "minions")
    environment = job.assign.destination_environment
    for effect in _kept(job):
        if effect.ref is not None:
            try:
                return to_json(minions.check(made.reference(effect.ref), environment, job.context))
            except (Gone, Unavailable) as error:
                job.context.event("WARNING", f"The minion is made anew: {error.message}")
        job.ledger.remove(effect, lambda ref, key: delete(job, made.reference(ref), key))

    def create(key: str) -> Minion:
        minion: Minion = minions.create(job.assign.instance, key, environment, job.context)
        job.context.event("INFO", f"Made the minion {minion.name}.")
        return minion

    return to_json(made.ensure(job, NAME, NAME, Minion, create, lambda ref, key: delete(job, ref, key)))


def _stop(job: Job, effect: Effect) -> None:
    job.part("destination", "minions").stop(made.reference(effect.ref), job.context)
    job.context.event("INFO", "Switched off a minion that nobody used.")
