# SPDX-License-Identifier: Apache-2.0
"""Minions: made once, checked, stopped, started again, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from coriolis.providers.api import (
    Capability,
    Connection,
    Context,
    Gone,
    Invalid,
    Minion,
    Minions,
    Provider,
    from_json,
    to_json,
)
from coriolis.providers.contract.subject import Options, Subject

_KEY = "contract-minion"


class MinionContract(Subject):
    @pytest.fixture
    def minion_environment(self) -> Options:
        """Of a pool whose minions get ready."""
        return {}

    @pytest.fixture
    def minions(self, plugin: Provider, connection: Connection) -> Minions:
        self.need(plugin, Capability.MINIONS)
        assert connection.minions is not None
        return connection.minions

    @pytest.fixture
    def make_minion(
        self, minions: Minions, minion_environment: Options, context: Context
    ) -> Iterator[Callable[..., Minion]]:
        """``make_minion(key)``; all are removed in the end."""
        keys: list[str] = []

        def make(key: str = _KEY) -> Minion:
            keys.append(key)
            return minions.create(f"minion-{key}", key, minion_environment, context)

        yield make
        for key in keys:
            minions.delete(None, key, context)

    def test_one_key_makes_one_minion(self, make_minion: Callable[..., Minion]) -> None:
        first = make_minion()
        assert first.running
        assert make_minion().ref == first.ref
        assert from_json(Minion, to_json(first)) == first

    def test_two_keys_make_two_minions(self, make_minion: Callable[..., Minion]) -> None:
        assert make_minion().ref != make_minion("contract-minion-other").ref

    def test_stopped_minion_is_started_by_a_check(
        self, minions: Minions, make_minion: Callable[..., Minion], minion_environment: Options, context: Context
    ) -> None:
        made = make_minion()
        minions.stop(made.ref, context)
        minions.stop(made.ref, context)
        found = minions.check(made.ref, minion_environment, context)
        assert found.running
        assert found.ref == made.ref

    def test_minion_is_deleted_twice(
        self, minions: Minions, make_minion: Callable[..., Minion], minion_environment: Options, context: Context
    ) -> None:
        made = make_minion()
        minions.delete(made.ref, _KEY, context)
        minions.delete(made.ref, _KEY, context)
        minions.stop(made.ref, context)
        with pytest.raises(Gone):
            minions.check(made.ref, minion_environment, context)

    def test_minion_of_an_unknown_image_is_refused(
        self, plugin: Provider, minions: Minions, minion_environment: Options, context: Context
    ) -> None:
        if plugin.support == "fake" or "image" not in minion_environment:
            pytest.skip("any image will do")
        with pytest.raises(Invalid) as caught:
            minions.create("minion", _KEY, {**minion_environment, "image": "no-such-image"}, context)
        assert "no-such-image" in caught.value.message
