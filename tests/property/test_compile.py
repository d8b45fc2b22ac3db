# SPDX-License-Identifier: Apache-2.0
"""The compiler, over recipes made at random and over ours with every choice of options and capabilities."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Options, Platform, compile_instance
from coriolis.domain.errors import Invalid, Unsupported
from coriolis.domain.model import Role, Task, TaskState
from coriolis.domain.recipe import Recipe, Removal, Rounds, Step
from coriolis.domain.recipes.migrate import MIGRATE, MOVE_DEFINITION, choose

ALL = frozenset(Capability)
ANY = frozenset({Capability.INVENTORY})
REMOVAL = Removal(kind="remove", type="REMOVE", capabilities=ANY)


def compiled(recipe: Recipe, source: frozenset = ALL, destination: frozenset = ALL, **options) -> list[Task]:
    return compile_instance(
        recipe,
        execution_id="e",
        instance="vm",
        source=Platform("left", source),
        destination=Platform("right", destination),
        options=Options(**options),
    )


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any valid recipe: each step takes from some earlier steps; a block in the middle may belong to rounds."""
    size = draw(st.integers(1, 7))
    first, last = sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    steps: list[Step] = []
    for position in range(size):
        earlier = [step.gives[0] for step in steps]
        rounds = draw(st.sampled_from([Rounds.EACH, Rounds.LAST])) if first <= position < last else Rounds.ONCE
        takes = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        loop = [step.name for step in steps if step.rounds is not Rounds.ONCE]
        if rounds is not Rounds.ONCE and loop:
            takes += [f"out-{name}@prev" for name in draw(st.lists(st.sampled_from(loop), unique=True))]
        ending = draw(st.sampled_from(["none", "undo", "cleanup"]))
        steps.append(
            Step(
                name=f"s{position}",
                kind="work",
                type="WORK",
                source=ANY,
                takes=tuple(takes),
                gives=(f"out-s{position}",),
                rounds=rounds,
                makes=ending != "none",
                undo=REMOVAL if ending == "undo" else None,
                cleanup=REMOVAL if ending == "cleanup" else None,
            )
        )
    return Recipe("random", tuple(steps))


def above(tasks: list[Task]) -> dict[str, set[str]]:
    """All ancestors of each task, by id."""
    by_id = {task.id: task for task in tasks}
    known: dict[str, set[str]] = {}

    def walk(key: str) -> set[str]:
        if key not in known:
            known[key] = set().union(*({parent} | walk(parent) for parent in by_id[key].parents))
        return known[key]

    for task in tasks:
        walk(task.id)
    return known


def check_graph(tasks: list[Task]) -> None:
    by_id = {task.id: task for task in tasks}
    assert len(by_id) == len(tasks)
    assert len({task.name for task in tasks}) == len(tasks)
    assert [task.index for task in tasks] == list(range(1, len(tasks) + 1))
    ancestors = above(tasks)
    givers = {name: task.id for task in tasks for name in task.gives}
    for task in tasks:
        assert all(by_id[parent].index < task.index for parent in task.parents), "parents are numbered first"
        if task.role is Role.WORK:
            assert all(givers[name] in task.parents for name in task.takes), "an input is waited for"
            assert all(by_id[parent].role is Role.WORK for parent in task.parents)
            assert (task.state is TaskState.PENDING) == (not task.parents)
        else:
            assert task.state is TaskState.SCHEDULED
            assert by_id[task.maker].role is Role.WORK
        if task.role is Role.CLEANUP:
            readers = {
                each.id for each in tasks if each.role is Role.WORK and set(each.takes) & set(by_id[task.maker].gives)
            }
            assert task.parents == readers | {task.maker}
    undos = [task for task in tasks if task.role is Role.UNDO]
    for one in undos:
        for other in undos:
            if one.maker in ancestors[other.maker]:
                assert one.id not in ancestors[other.id]


@given(recipe=recipes(), rounds=st.integers(1, 4))
def test_any_recipe_gives_a_sound_graph(recipe: Recipe, rounds: int) -> None:
    tasks = compiled(recipe, rounds=rounds)
    check_graph(tasks)
    ancestors = above(tasks)
    undos = [task for task in tasks if task.role is Role.UNDO]
    for one in undos:
        for other in undos:
            if one.maker in ancestors[other.maker]:
                assert other.id in ancestors[one.id], "undo in reverse order"
    for step in recipe.steps:
        times = {Rounds.ONCE: 1, Rounds.EACH: rounds, Rounds.LAST: 1}[step.rounds]
        assert sum(task.role is Role.WORK and task.name.split(".")[0] == step.name for task in tasks) == times


@given(rounds=st.integers(1, 6), shutdown=st.booleans(), lacks=st.sets(st.sampled_from(sorted(Capability))))
def test_ours_compiles_or_says_what_is_missing(rounds: int, shutdown: bool, lacks: set[Capability]) -> None:
    source = ALL - lacks
    needed = {Capability.INVENTORY, Capability.SNAPSHOTS, Capability.READ_BLOCKS}
    if lacks & needed:
        with pytest.raises(Unsupported) as caught:
            compiled(MIGRATE, source=source, rounds=rounds, shutdown=shutdown)
        assert any(f"'{capability}'" in caught.value.message for capability in lacks & needed)
        assert caught.value.field == "source"
        return
    tasks = compiled(MIGRATE, source=source, rounds=rounds, shutdown=shutdown)
    check_graph(tasks)
    names = {task.name for task in tasks}
    last = rounds if Capability.INCREMENTS in source else 1
    assert f"copy.{last}" in names
    assert f"copy.{last + 1}" not in names
    assert (f"shutdown.{last}" in names) == (shutdown and Capability.COMPUTE in source)


def test_the_base_of_an_increment_outlives_its_reading() -> None:
    by_name = {task.name: task for task in compiled(MIGRATE, rounds=2)}
    removal = by_name["cleanup/snapshot.1"]
    assert by_name["copy.2"].id in removal.parents
    assert by_name["snapshot.2"].id in removal.parents


def test_the_source_starts_again_only_after_its_copy_was_stopped() -> None:
    by_name = {task.name: task for task in compiled(MIGRATE, shutdown=True)}
    parents = {task.name for task in by_name.values() if task.id in by_name["undo/shutdown.1"].parents}
    assert "undo/finalize" in parents
    assert "undo/deploy" not in parents


def test_platforms_without_bytes_take_four_tasks() -> None:
    source, destination = ALL - {Capability.READ_BLOCKS}, ALL - {Capability.WRITE_BLOCKS}
    assert choose(Platform("a", source), Platform("b", destination)) is MOVE_DEFINITION
    assert choose(Platform("a", ALL), Platform("b", destination)) is MIGRATE
    work = [task for task in compiled(MOVE_DEFINITION, source, destination) if task.role is Role.WORK]
    assert [task.name for task in work] == ["inspect", "plan", "deploy", "finalize"]


def test_compiling_twice_gives_the_same_rows() -> None:
    assert compiled(MIGRATE, rounds=3) == compiled(MIGRATE, rounds=3)


@pytest.mark.parametrize("rounds", [0, -1, 101])
def test_a_number_of_rounds_out_of_range_is_refused(rounds: int) -> None:
    with pytest.raises(Invalid, match="rounds of replication") as caught:
        compiled(MIGRATE, rounds=rounds)
    assert caught.value.field == "replication_count"


STEP = Step(name="a", kind="a", type="A", source=ANY, gives=("x",))
BAD = {
    "no steps": ((), "there are no steps"),
    "unbound": ((dataclasses.replace(STEP, takes=("y",)),), "takes 'y', which no step gives"),
    "circle": (
        (dataclasses.replace(STEP, takes=("y",)), dataclasses.replace(STEP, name="b", gives=("y",), takes=("x",))),
        "there is a circle",
    ),
    "itself": ((dataclasses.replace(STEP, takes=("x",)),), "waits for itself"),
    "two givers": ((STEP, dataclasses.replace(STEP, name="b")), "give 'x'"),
    "one name": ((STEP, dataclasses.replace(STEP, gives=("y",))), "one name"),
    "no undo": ((dataclasses.replace(STEP, makes=True),), "no undo and no cleanup"),
    "idle undo": ((dataclasses.replace(STEP, undo=REMOVAL),), "makes nothing"),
    "both ends": ((dataclasses.replace(STEP, makes=True, undo=REMOVAL, cleanup=REMOVAL),), "both an undo and"),
    "no side": ((dataclasses.replace(STEP, source=frozenset()),), "names no capability"),
    "after nothing": ((dataclasses.replace(STEP, after=("z",)),), "which is no step"),
    "prev outside": ((STEP, dataclasses.replace(STEP, name="b", gives=(), takes=("x@prev",))), "not belong to a round"),
    "torn rounds": (
        (
            dataclasses.replace(STEP, rounds=Rounds.EACH),
            dataclasses.replace(STEP, name="b", gives=()),
            dataclasses.replace(STEP, name="c", gives=(), rounds=Rounds.LAST),
        ),
        "do not stand together",
    ),
    "undo of later": (
        (dataclasses.replace(STEP, makes=True, undo=dataclasses.replace(REMOVAL, waits_for=frozenset({"a"}))),),
        "no later step",
    ),
}


@pytest.mark.parametrize(("steps", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_recipe_is_refused_with_its_reason(steps: tuple[Step, ...], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        Recipe("bad", steps)
