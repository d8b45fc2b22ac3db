# SPDX-License-Identifier: Apache-2.0
"""The rules of the effects ledger."""

from __future__ import annotations

import dataclasses
import datetime as dt

from coriolis.domain.effects import Effect, adopted, key_of, loose_from
from coriolis.domain.model import EffectState

NOW = dt.datetime(2026, 1, 1)
LATER = NOW + dt.timedelta(seconds=60)
INTENDED = Effect(key=key_of("t", "volume/a", 1), owner="t", kind="volume", name="volume/a", epoch=1)
LIVE = dataclasses.replace(INTENDED, key=key_of("t", "volume/a", 2), state=EffectState.LIVE, ref="vol-1")
DOUBTFUL = dataclasses.replace(INTENDED, doubtful_until=LATER)


def test_a_key_belongs_to_one_attempt() -> None:
    keys = {key_of(task, name, epoch) for task in "tu" for name in "ab" for epoch in (1, 2)}
    assert len(keys) == 8
    assert key_of("t", "a", 1) == key_of("t", "a", 1)


def test_a_new_attempt_takes_over_what_lives_or_was_left_in_order_and_never_what_is_in_doubt() -> None:
    assert adopted([INTENDED, LIVE], "volume/a") is LIVE
    assert adopted([INTENDED], "volume/a") is INTENDED
    assert adopted([DOUBTFUL], "volume/a") is None
    assert adopted([dataclasses.replace(LIVE, state=EffectState.GONE)], "volume/a") is None
    assert adopted([LIVE], "volume/b") is None


def test_what_is_wanted_is_not_loose() -> None:
    assert loose_from(LIVE, NOW) is None


def test_what_may_exist_is_loose_until_a_removal_after_the_quarantine() -> None:
    gone = dataclasses.replace(DOUBTFUL, state=EffectState.GONE)
    assert loose_from(INTENDED, NOW) == NOW
    assert loose_from(DOUBTFUL, NOW) == LATER
    assert loose_from(dataclasses.replace(gone, removed_at=NOW), NOW) == LATER
    assert loose_from(dataclasses.replace(gone, removed_at=NOW), LATER) == LATER
    assert loose_from(dataclasses.replace(gone, removed_at=LATER), NOW) is None
    assert loose_from(dataclasses.replace(INTENDED, state=EffectState.GONE, removed_at=NOW), NOW) is None
