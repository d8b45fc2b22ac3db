# SPDX-License-Identifier: Apache-2.0
"""From a recipe to the task rows of one instance.

What depends only on the recipe, the two platforms and the options is worked out once and kept (``prepare``); an
instance's rows are stamped from that. Ids are derived from the execution, the instance and the task's name, so that
compiling twice gives the same rows and the second attempt to store them fails on the primary key.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import Invalid, Unsupported
from coriolis.domain.model import Json, Need, RetryPolicy, Role, Side, Task, TaskState
from coriolis.domain.recipe import PREVIOUS, REPLICA, Recipe, Removal, Rounds, Step, When, base_name

MAX_ROUNDS = 100
UNLESS_COMPLETED = "unless_completed"  # parameter of an undo, see ``recipe.Removal``

_IDS = uuid.UUID("6f1b9b0e-6f4a-5d5e-9a53-0c2f4e0c7a11")


@dataclass(frozen=True)
class Platform:
    """A provider with all its capabilities, on one side of an execution."""

    provider: str
    capabilities: frozenset[Capability]


@dataclass(frozen=True)
class Options:
    """What the user's request says about the graph. ``rounds`` of replication; more than one need increments.
    ``seeds``: what the replica holds, of ``recipe.SEEDS``."""

    rounds: int = 1
    shutdown: bool = False
    seeds: frozenset[str] = frozenset()


def task_id(execution_id: str, instance: str, name: str) -> str:
    return str(uuid.uuid5(_IDS, f"{execution_id}\0{instance}\0{name}"))


def compile_instance(
    recipe: Recipe,
    *,
    execution_id: str,
    instance: str,
    source: Platform,
    destination: Platform,
    options: Options = Options(),
) -> list[Task]:
    """The rows of one instance, in the order of their ``index``: work, cleanups, then undos in the order in which
    they would run. Work without parents is PENDING already.

    :raises Unsupported: a provider lacks a capability that a step needs
    :raises Invalid: an option is out of range, or the recipe cannot be bound with these options
    """
    lines = prepare(recipe, source, destination, options)
    ids = {line.name: task_id(execution_id, instance, line.name) for line in lines}
    return [
        Task(
            id=ids[line.name],
            execution_id=execution_id,
            instance=instance,
            name=line.name,
            kind=line.kind,
            type=line.type,
            index=index,
            side=line.side,
            role=line.role,
            state=TaskState.SCHEDULED if line.parents or line.role is not Role.WORK else TaskState.PENDING,
            parents=frozenset([ids[name] for name in line.parents]),
            takes=line.takes,
            gives=line.gives,
            each=line.each,
            params=dict(line.params),
            needs=line.needs,
            retry=line.retry,
            maker=ids[line.maker] if line.maker else None,
        )
        for index, line in enumerate(lines, 1)
    ]


@dataclass(frozen=True)
class Line:
    """A task of any instance: parents and maker are names of other lines."""

    name: str
    kind: str
    type: str
    side: Side
    role: Role
    parents: tuple[str, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    each: str | None
    params: tuple[tuple[str, Json], ...]
    needs: tuple[Need, ...]
    retry: RetryPolicy
    maker: str | None = None


@functools.lru_cache(maxsize=256)
def prepare(recipe: Recipe, source: Platform, destination: Platform, options: Options) -> tuple[Line, ...]:
    """Everything about the rows that does not depend on the instance. Raises what ``compile_instance`` does."""
    if not 1 <= options.rounds <= MAX_ROUNDS:
        raise Invalid(f"Give from 1 to {MAX_ROUNDS} rounds of replication.", field="replication_count")
    rounds = options.rounds if Capability.INCREMENTS in source.capabilities else 1
    steps = [step for step in recipe.steps if _wanted(step, source, options)]
    for step in steps:
        _check_capabilities(step, source, destination)
    binder = _Binder(recipe, steps, rounds, options.seeds)
    work = [_work_line(binder, step, number, source, destination) for step, number in _occurrences(steps, rounds)]
    below = _descendants(work)
    made_by = {_name(step, number): step for step, number in _occurrences(steps, rounds)}
    cleanups = [
        _removal_line(Role.CLEANUP, line, cleanup, (line.name, *_consumers(line, work)))
        for line in work
        if (cleanup := made_by[line.name].cleanup)
    ]
    undos = []
    for line in reversed(work):
        undo = made_by[line.name].undo
        if undo is None:
            continue
        over = [f"cleanup/{name}" for name in below[line.name] if made_by[name].cleanup]
        over += [
            f"undo/{name}"
            for name in below[line.name]
            if made_by[name].undo and (undo.waits_for is None or made_by[name].name in undo.waits_for)
        ]
        undos.append(_removal_line(Role.UNDO, line, undo, tuple(over)))
    return (*work, *cleanups, *undos)


def _wanted(step: Step, source: Platform, options: Options) -> bool:
    if step.when is When.SHUTDOWN:
        return options.shutdown and Capability.COMPUTE in source.capabilities
    return True


def _check_capabilities(step: Step, source: Platform, destination: Platform) -> None:
    sides = [(source, step.source, "source"), (destination, step.destination, "destination")]
    for removal in (step.undo, step.cleanup):
        if removal:
            platform, word = (source, "source") if step.side is Side.SOURCE else (destination, "destination")
            sides.append((platform, removal.capabilities, word))
    for platform, needed, word in sides:
        missing = sorted(needed - platform.capabilities)
        if missing:
            raise Unsupported(
                f"The provider '{platform.provider}' cannot serve as {word}: it lacks the capability "
                f"'{missing[0]}', which the step '{step.name}' needs.",
                field=word,
            )


def _occurrences(steps: Iterable[Step], rounds: int) -> list[tuple[Step, int | None]]:
    """Each step with the round in which it runs, in order; the rounds stand where their first step stands."""
    steps = list(steps)
    inside = [step for step in steps if step.rounds is not Rounds.ONCE]
    found: list[tuple[Step, int | None]] = []
    for step in steps:
        if step.rounds is Rounds.ONCE:
            found.append((step, None))
        elif step is inside[0]:
            found += [
                (member, number)
                for number in range(1, rounds + 1)
                for member in inside
                if member.rounds is Rounds.EACH or number == rounds
            ]
    return found


def _name(step: Step, number: int | None) -> str:
    return step.name if number is None else f"{step.name}.{number}"


class _Binder:
    """Finds which occurrence of which step a name in a recipe means."""

    def __init__(self, recipe: Recipe, steps: list[Step], rounds: int, seeds: frozenset[str]) -> None:
        self.recipe = recipe
        self.rounds = rounds
        self.seeds = seeds
        self.steps = {step.name: step for step in steps}
        self.givers = {name: step for step in recipe.steps for name in step.gives}

    def occurrence(self, reference: str, step: Step, number: int | None) -> tuple[Step, int | None] | None:
        """None: there is no such thing in this round, or the step is left out."""
        wanted = self.steps.get(step.name)
        if wanted is None:
            return None
        if step.rounds is Rounds.ONCE:
            return step, None
        at = self.rounds if number is None else number
        if reference.endswith(PREVIOUS):
            at -= 1
        if at < 1 or (step.rounds is Rounds.LAST and at != self.rounds):
            return None
        return step, at

    def taken(self, step: Step, number: int | None) -> list[tuple[str, str | None]]:
        """(name of the stored output, name of the line that gives it, or None) of all that the step takes."""
        bound: list[tuple[str, str | None]] = []
        for reference in step.takes:
            if reference.endswith(REPLICA):
                if base_name(reference) in self.seeds:
                    bound.append((reference, None))
                continue
            giver = self.givers[base_name(reference)]
            found = self.occurrence(reference, giver, number)
            if found is None and giver.name not in self.steps:
                raise Invalid(
                    f"Recipe {self.recipe.name}: {step.name} takes '{reference}', but {giver.name} is left out."
                )
            if found is not None:
                bound.append((_stored(base_name(reference), found[1]), _name(*found)))
        return bound


def _stored(output: str, number: int | None) -> str:
    return output if number is None else f"{output}@{number}"


def _work_line(binder: _Binder, step: Step, number: int | None, source: Platform, destination: Platform) -> Line:
    taken = binder.taken(step, number)
    parents = {line: None for _, line in taken if line is not None}
    if step.each:
        root = binder.occurrence(step.each, binder.givers[step.each.split(".", 1)[0]], number)
        if root is None or root[1] is not None:
            raise Invalid(f"Recipe {binder.recipe.name}: {step.name} needs '{step.each}' before the first round.")
        parents[_name(*root)] = None
    for reference in step.after:
        name = base_name(reference)
        if name in binder.steps:
            found = binder.occurrence(reference, binder.steps[name], number)
            if found is not None:
                parents[_name(*found)] = None
    params = dict(step.params)
    if number is not None:
        params |= {"round": number, "rounds": binder.rounds}
    sides = ((source, step.source), (destination, step.destination))
    return Line(
        name=_name(step, number),
        kind=step.kind,
        type=step.type,
        side=step.side,
        role=Role.WORK,
        parents=tuple(parents),
        takes=tuple(name for name, _ in taken),
        gives=tuple(_stored(name, number) for name in step.gives),
        each=step.each,
        params=tuple(params.items()),
        needs=tuple(Need(provider=each.provider, capabilities=used) for each, used in sides if used),
        retry=step.retry,
    )


def _removal_line(role: Role, maker: Line, removal: Removal, parents: tuple[str, ...]) -> Line:
    need = Need(provider=maker.needs[0].provider, capabilities=removal.capabilities)
    params = (*maker.params, (UNLESS_COMPLETED, True)) if removal.unless_completed else maker.params
    return Line(
        name=f"{role}/{maker.name}",
        kind=removal.kind,
        type=removal.type,
        side=maker.side,
        role=role,
        parents=parents,
        takes=maker.takes,
        gives=(),
        each=maker.each,
        params=params,
        needs=(need,),
        retry=removal.retry,
        maker=maker.name,
    )


def _consumers(maker: Line, work: list[Line]) -> list[str]:
    return [line.name for line in work if set(line.takes) & set(maker.gives)]


def _descendants(work: list[Line]) -> dict[str, list[str]]:
    """All that waits for a line, directly or not, in order. The lines come parents first."""
    above: dict[str, set[str]] = {}
    for line in work:
        unknown = set(line.parents) - above.keys()
        if unknown:
            raise Invalid(f"{line.name} waits for {sorted(unknown)[0]}, which comes later: there is a circle.")
        above[line.name] = set(line.parents).union(*(above[name] for name in line.parents))
    return {line.name: [other.name for other in work if line.name in above[other.name]] for line in work}
