# SPDX-License-Identifier: Apache-2.0
"""Walks state tables: apply a fact, ask what is allowed, draw. Knows no state by name."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeVar

from coriolis.domain.errors import InvalidState

State = TypeVar("State", bound=enum.StrEnum)


@dataclass(frozen=True)
class Row:
    """When ``fact`` comes in state ``source``, the state becomes ``target``."""

    fact: enum.StrEnum
    source: enum.StrEnum
    target: enum.StrEnum


@dataclass(frozen=True)
class Table:
    """A state machine. At most one row per (source, fact)."""

    name: str
    initial: enum.StrEnum
    final: frozenset[enum.StrEnum]
    rows: tuple[Row, ...]
    by_pair: dict[tuple[str, str], enum.StrEnum] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pairs = {(row.source.value, row.fact.value): row.target for row in self.rows}
        if len(pairs) != len(self.rows):
            raise ValueError(f"table {self.name}: two rows for one state and fact")
        object.__setattr__(self, "by_pair", pairs)

    @property
    def states(self) -> tuple[enum.StrEnum, ...]:
        return tuple(type(self.initial))

    @property
    def facts(self) -> tuple[enum.StrEnum, ...]:
        return tuple(type(self.rows[0].fact))


def apply(table: Table, state: State, fact: enum.StrEnum) -> State:
    """The state after ``fact``.

    :raises InvalidState: the table has no such row
    """
    target = table.by_pair.get((state.value, fact.value))
    if target is None:
        raise InvalidState(f"A {table.name} in state {state} cannot take '{fact}'.")
    return type(state)(target)


def allowed(table: Table, state: enum.StrEnum) -> frozenset[str]:
    """The facts that may come in this state."""
    return frozenset(row.fact.value for row in table.rows if row.source == state)


def reachable(table: Table, start: enum.StrEnum) -> frozenset[enum.StrEnum]:
    """All states that some sequence of facts leads to, with ``start`` itself."""
    seen = {start}
    edge = [start]
    while edge:
        state = edge.pop()
        for row in table.rows:
            if row.source == state and row.target not in seen:
                seen.add(row.target)
                edge.append(row.target)
    return frozenset(seen)


def to_dot(table: Table) -> str:
    """The table as a Graphviz digraph; parallel facts share an arrow, final states have a double border."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        arrows.setdefault((row.source.value, row.target.value), []).append(row.fact.value)
    lines = [
        f"digraph {table.name} {{",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9];',
        "  _start [shape=point];",
        f'  _start -> "{table.initial.value}";',
    ]
    lines += [f'  "{state.value}" [peripheries={2 if state in table.final else 1}];' for state in table.states]
    lines += [f'  "{source}" -> "{target}" [label="{_label(facts)}"];' for (source, target), facts in arrows.items()]
    return "\n".join([*lines, "}", ""])


def _label(facts: list[str]) -> str:
    return "\\n".join(fact.replace("_", " ") for fact in facts)
