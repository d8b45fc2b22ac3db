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
_LOOKED_AT, _BEING_MADE, _READY = 0, 1, 2  # steps of its progress


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
    minion = to_json(_checked(job) or _made(job))
    _tell(job, _READY, "is ready")
    return minion


def _tell(job: Job, step: int, words: str) -> None:
    job.context.progress(job.assign.instance, step, _READY, f"{job.assign.instance} {words}")


def _checked(job: Job) -> Minion | None:
    """The one that is there, if it is well. What is ill is removed."""
    minions = job.part("destination", "minions")
    for effect in _kept(job):
        _tell(job, _LOOKED_AT, "is looked at")
        if effect.ref is not None:
            try:
                checked: Minion = minions.check(
                    made.reference(effect.ref), job.assign.destination_environment, job.context
                )
                return checked
            except (Gone, Unavailable) as error:
                job.context.event("WARNING", f"The minion is made anew: {error.message}")
        job.ledger.remove(effect, lambda ref, key: delete(job, made.reference(ref), key))
    return None


def _made(job: Job) -> Minion:
    minions = job.part("destination", "minions")
    _tell(job, _BEING_MADE, "is made")

    def create(key: str) -> Minion:
        minion: Minion = minions.create(job.assign.instance, key, job.assign.destination_environment, job.context)
        job.context.event("INFO", f"Made the minion {minion.name}.")
        return minion

    return made.ensure(job, NAME, NAME, Minion, create, lambda ref, key: delete(job, ref, key))


def _stop(job: Job, effect: Effect) -> None:
    job.part("destination", "minions").stop(made.reference(effect.ref), job.context)
    job.context.event("INFO", "Switched off a minion that nobody used.")
