# SPDX-License-Identifier: Apache-2.0
"""A simulated pair of platforms: what exists there, by tag, and who is switched on.

A request that was sent is carried out even when its sender dies meanwhile, some seconds later. Creating is not
atomic with looking for the tag before, as on most platforms.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.world import Process, World

LONGEST_REQUEST = 8.0  # seconds that a request may be under way


class Unavailable(Exception):
    """The platform did not answer; the request may be carried out all the same."""


@dataclass
class Thing:
    ref: str
    kind: str
    key: str
    instance: str
    on: bool = False


class Cloud:
    def __init__(self, world: World, instances: Sequence[str], disks: int, *, flaky: float) -> None:
        self.world = world
        self.disks = tuple(f"disk-{number}" for number in range(disks))  # of each instance
        self.flaky = flaky
        self.things: dict[str, Thing] = {}
        # Called when a creation is sent; True when something bad befalls the sender meanwhile.
        self.strike: Callable[[Any], bool] = lambda sender: False
        self.source_on = dict.fromkeys(instances, True)
        self._numbers = itertools.count(1)

    def request(self, sender: Process, carry_out: Callable[[], Any], *, slow: bool = False) -> Any:
        """Blocks the sender until the platform has answered. :raises Unavailable: no answer"""
        sender.sleep(self.world.rng.uniform(0.0, 0.3))
        way = self.world.rng.uniform(0.1, LONGEST_REQUEST if slow or self.world.chance(0.1) else 1.0)
        lost_before = self.world.chance(self.flaky)
        lost_after = self.world.chance(self.flaky)

        def start(done: Callable[[Any], None]) -> None:
            def arrive() -> None:
                answer = carry_out()
                if not lost_after:
                    done((True, answer))

            if not lost_before:
                self.world.at(way, arrive)
            if lost_before or lost_after:
                self.world.at(self.world.rng.uniform(0.1, 3.0), lambda: done((False, None)))

        answered, value = sender.wait(start)
        if not answered:
            raise Unavailable
        return value

    # ---- what platforms can do; each in one or two requests

    def create(self, sender: Process, kind: str, key: str, instance: str) -> str:
        found = self.request(sender, lambda: [thing.ref for thing in self.things.values() if thing.key == key])
        if found:
            return str(found[0])
        return str(self.request(sender, lambda: self._make(kind, key, instance), slow=self.strike(sender)))

    def _make(self, kind: str, key: str, instance: str) -> str:
        ref = f"{kind}-{next(self._numbers)}"
        self.things[ref] = Thing(ref, kind, key, instance)
        self.world.count("things made")
        return ref

    def delete(self, sender: Process, ref: str | None, key: str) -> None:
        """By tag and by reference; content when there is nothing."""

        def carry_out() -> None:
            for each in [each for each, thing in self.things.items() if each == ref or thing.key == key]:
                del self.things[each]
                self.world.count("things removed")

        self.request(sender, carry_out)

    def exists(self, sender: Process, ref: str) -> bool:
        return bool(self.request(sender, lambda: ref in self.things))

    def switch_source(self, sender: Process, instance: str, on: bool) -> None:
        def carry_out() -> None:
            self.source_on[instance] = on

        self.request(sender, carry_out)

    def switch(self, sender: Process, ref: str, on: bool) -> None:
        """Content when the machine does not exist (any more)."""

        def carry_out() -> None:
            if ref in self.things:
                self.things[ref].on = on

        self.request(sender, carry_out)
