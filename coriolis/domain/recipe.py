# SPDX-License-Identifier: Apache-2.0
"""Recipes: the declared steps of one kind of execution, and the checks that need no provider.

Names of outputs. A step of a recipe with rounds writes ``snapshot`` for the output of the same round (or of the one
time that the step runs), and ``snapshot@prev`` for that of the round before, which is left out in the first round.
``snapshot@replica`` is what earlier executions of the transfer have left; it is left out when there is nothing.
A step with ``each`` gives its outputs per item; another step with the same ``each`` takes its own item's, any other
step takes all of them, as a mapping from item to value. The worker sees the very names that the recipe uses.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import Invalid
from coriolis.domain.model import RetryPolicy, Side

PREVIOUS = "@prev"
REPLICA = "@replica"
SEEDS = frozenset({"vm", "layout", "volumes", "snapshot", "digest", "era"})  # what a replica may hold

WORK_RETRY = RetryPolicy()
COPY_RETRY = RetryPolicy(attempts=20, first_delay=5.0, lost_sessions=10)
# What removes is tried hard, also after refusals: a volume in use now may be free in a while.
REMOVAL_RETRY = RetryPolicy(attempts=20, first_delay=2.0, lost_sessions=20, permanent_attempts=6)


class Rounds(enum.StrEnum):
    """When a step runs in an execution of several rounds of replication."""

    ONCE = "once"
    EACH = "each"
    LAST = "last"


class When(enum.StrEnum):
    """Conditions under which a step is left out, decided by the compiler."""

    ALWAYS = "always"
    SHUTDOWN = "shutdown"  # the user wants the source shut down, and the source's provider can


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A task that removes what a step has made: its undo or its cleanup. It runs on the step's own side.

    ``waits_for``: for an undo, the steps whose undo must be over with success before; None stands for all steps
    that build on the maker.
    """

    kind: str
    type: str
    capabilities: frozenset[Capability]
    waits_for: frozenset[str] | None = None
    retry: RetryPolicy = REMOVAL_RETRY
    unless_completed: bool = False  # an undo: what a completed maker has made stays, whatever comes after


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line of a recipe. A step with ``makes`` creates external things and must have an undo or a cleanup."""

    name: str
    kind: str  # the worker's function
    type: str  # wire name
    source: frozenset[Capability] = frozenset()  # what is used of the source's provider
    destination: frozenset[Capability] = frozenset()
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # steps that only have to be over: "copy", "copy@prev"
    each: str | None = None  # one task per item of this list in an earlier output: "vm.devices.disks"
    rounds: Rounds = Rounds.ONCE
    when: When = When.ALWAYS
    makes: bool = False
    undo: Removal | None = None
    cleanup: Removal | None = None
    retry: RetryPolicy = WORK_RETRY
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def side(self) -> Side:
        if self.source and self.destination:
            return Side.BOTH
        return Side.SOURCE if self.source else Side.DESTINATION


@dataclass(frozen=True, eq=False)
class Recipe:
    """Steps in their order: a step may take from earlier ones, and ``@prev`` from any step of the round before.
    The steps that belong to rounds stand together.

    :raises Invalid: a check failed; the message names the step
    """

    name: str
    steps: tuple[Step, ...] = field(repr=False)

    def __post_init__(self) -> None:
        for problem in problems(self.steps):
            raise Invalid(f"Recipe {self.name}: {problem}.")


def base_name(reference: str) -> str:
    """``snapshot`` of ``snapshot@prev``, ``snapshot@2`` or ``digest@2/disk-0``."""
    return reference.split("/", 1)[0].split("@", 1)[0]


def problems(steps: tuple[Step, ...]) -> list[str]:
    """What is wrong with these steps, in words; empty when nothing is."""
    found = [] if steps else ["there are no steps"]
    makers: dict[str, Step] = {}
    for step in steps:
        for name in step.gives:
            if name in makers:
                found.append(f"both {makers[name].name} and {step.name} give '{name}'")
            makers[name] = step
    names = {step.name: position for position, step in enumerate(steps)}
    if len(names) != len(steps):
        found.append("two steps have one name")
    inside = [position for position, step in enumerate(steps) if step.rounds is not Rounds.ONCE]
    if inside and inside[-1] - inside[0] + 1 != len(inside):
        found.append("the steps that belong to rounds do not stand together")
    for position, step in enumerate(steps):
        found += _step_problems(step)
        roots = (step.each.split(".", 1)[0],) if step.each else ()
        found += [f"{step.name} takes '{name}', which no replica holds" for name in step.takes if _is_strange(name)]
        for name in (*(name for name in step.takes if not name.endswith(REPLICA)), *roots):
            maker = makers.get(base_name(name))
            if maker is None:
                found.append(f"{step.name} takes '{name}', which no step gives")
            else:
                found += _order_problems(step, position, name, maker, names[maker.name])
        for name in step.after:
            if base_name(name) not in names:
                found.append(f"{step.name} comes after '{name}', which is no step")
            else:
                earlier = steps[names[base_name(name)]]
                found += _order_problems(step, position, name, earlier, names[earlier.name])
        for name in (step.undo.waits_for or ()) if step.undo else ():
            if names.get(name, -1) <= position:
                found.append(f"the undo of {step.name} waits for that of '{name}', which is no later step")
    return found


def _is_strange(name: str) -> bool:
    return name.endswith(REPLICA) and base_name(name) not in SEEDS


def _step_problems(step: Step) -> list[str]:
    found = []
    if not step.source and not step.destination:
        found.append(f"{step.name} names no capability, so nobody knows whose connection it needs")
    if step.makes and not (step.undo or step.cleanup):
        found.append(f"{step.name} makes something, but has no undo and no cleanup")
    if step.undo and step.cleanup:
        found.append(f"{step.name} has both an undo and a cleanup")
    if (step.undo or step.cleanup) and not step.makes:
        found.append(f"{step.name} has an undo or a cleanup, but makes nothing")
    if step.makes and step.side is Side.BOTH:
        found.append(f"{step.name} makes something on both sides")
    return found


def _order_problems(step: Step, position: int, name: str, maker: Step, made_at: int) -> list[str]:
    if name.endswith(PREVIOUS):
        if Rounds.ONCE in (step.rounds, maker.rounds):
            return [f"{step.name} uses '{name}', but one of them does not belong to a round"]
        return []
    if made_at == position:
        return [f"{step.name} waits for itself by '{name}'"]
    if made_at > position:
        return [f"{step.name} uses '{name}' of the later step {maker.name}: there is a circle"]
    return []
