# SPDX-License-Identifier: Apache-2.0
"""The rules of the effects ledger: what is complete about a clean-up although any process may die at any moment.

An attempt writes *intended* under a key, creates the thing tagged with that key, and writes *live* with its
reference. The key belongs to one attempt (task, name, epoch), never to two: otherwise a zombie that finds its
``live`` refused, and removes what it made, would remove what its successor has adopted.

An effect that is still intended when its attempt was cut off (lost session, revoked, child killed) is *in doubt*
until a quarantine is over: the request to make it may still be on its way. Nobody adopts it, and a removal before
the end of the quarantine does not settle it: it is removed once more afterwards (``loose_from``), before the
instance may reach its final state.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from coriolis.domain.model import EffectState, Json

# Kinds that switch a state of something that exists (the power of a machine), and make no thing of their own. Every
# attempt switches the same thing: a new one takes the note over even when it is in doubt, so that the switch is wanted
# again, and what was only intended is for the undo to set back, never for a sweep after a success.
SWITCHES = frozenset({"power"})

_KEYS = uuid.UUID("d3a1c7de-77c4-5f0a-8f39-7d8a2f1c5b60")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A line of the ledger. ``epoch`` is that of the attempt that may make it; ``doubtful_until`` is set when that
    attempt was cut off while it was intended; ``removed_at`` when it became gone."""

    key: str
    owner: str  # task id
    kind: str
    name: str  # unique among the effects of the task that are not gone: "volume/disk-0"
    epoch: int
    state: EffectState = EffectState.INTENDED
    ref: Json = None
    doubtful_until: dt.datetime | None = None
    removed_at: dt.datetime | None = None


def key_of(task_id: str, name: str, epoch: int) -> str:
    """The key, and the tag on the platform, of what this attempt makes under this name."""
    return str(uuid.uuid5(_KEYS, f"{task_id}\0{name}\0{epoch}"))


def adopted(ledger: Iterable[Effect], name: str) -> Effect | None:
    """The effect of an earlier attempt of the task that a new attempt takes over, if there is one: a live one, or
    else one that was intended by an attempt that ended in order, or a switch. The new attempt uses its key."""
    mine = [effect for effect in ledger if effect.name == name]
    live = [effect for effect in mine if effect.state is EffectState.LIVE]
    open_ = [effect for effect in mine if effect.state is EffectState.INTENDED and _may_be_shared(effect)]
    return next(iter(live + open_), None)


def _may_be_shared(effect: Effect) -> bool:
    return effect.doubtful_until is None or effect.kind in SWITCHES


def loose_from(effect: Effect, at: dt.datetime) -> dt.datetime | None:
    """The earliest time from ``at`` on when a removal settles an effect that nobody wants and that may exist; None
    when it is wanted (live) or certainly gone."""
    until = effect.doubtful_until
    match effect.state:
        case EffectState.INTENDED if effect.kind not in SWITCHES:
            return max(until or at, at)
        case EffectState.GONE if until is not None and (effect.removed_at is None or effect.removed_at < until):
            return max(until, at)
        case _:
            return None
