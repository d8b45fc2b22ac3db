# SPDX-License-Identifier: Apache-2.0
"""Which keys need not be looked for on a platform, since nobody can have made anything with them."""

from __future__ import annotations

from typing import Any

import pytest

from coriolis.domain.effects import key_of
from coriolis.providers.api import Unavailable
from coriolis.rpc.messages import Attempt, Effect, EffectAck, EffectWrite
from coriolis.worker.effects import Ledger

KEY = key_of("t", "volume/a", 2)


def _ledger(*known: Effect) -> Ledger:
    def write(asked: EffectWrite) -> EffectAck:
        return EffectAck(accepted=True, effect=asked.effect)

    return Ledger(Attempt(task_id="t", epoch=2, session_id="s"), known, write)


def _looked_for(ledger: Ledger, *, fails: bool = False) -> bool:
    """What a provider does when the thing is made."""
    seen: list[bool] = []

    def make(key: str) -> Any:
        seen.append(key not in ledger.new_keys)
        if fails:
            raise Unavailable("the answer was lost")
        return {"ref": key}

    ledger.ensure("volume", "volume/a", make, lambda ref, key: None)
    return seen[0]


def _effect(**more: Any) -> Effect:
    return Effect(
        **{"key": key_of("t", "volume/a", 1), "kind": "volume", "name": "volume/a", "state": "intended", **more}
    )


def test_a_first_try_looks_for_nothing() -> None:
    assert not _looked_for(_ledger())


def test_what_an_earlier_attempt_intended_is_looked_for() -> None:
    assert _looked_for(_ledger(_effect()))


def test_nothing_is_looked_for_beside_what_is_in_doubt() -> None:
    assert not _looked_for(_ledger(_effect(doubtful=True)))


def test_a_second_try_of_the_same_attempt_looks() -> None:
    ledger = _ledger()
    with pytest.raises(Unavailable):
        _looked_for(ledger, fails=True)
    assert _looked_for(ledger)


def test_a_key_that_was_taken_back_is_looked_for() -> None:
    assert _looked_for(_ledger(_effect(key=KEY, state="gone")))
