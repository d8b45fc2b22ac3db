# SPDX-License-Identifier: Apache-2.0
"""Every state table, walked."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain import machine
from coriolis.domain.errors import InvalidState
from coriolis.domain.states import TABLES

PAIRS = [(table, state, fact) for table in TABLES for state, fact in itertools.product(table.states, table.facts)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
class TestEveryTable:
    def test_every_state_is_reachable_from_the_first(self, table: machine.Table) -> None:
        assert machine.reachable(table, table.initial) == frozenset(table.states)

    def test_every_state_leads_to_a_final_one(self, table: machine.Table) -> None:
        for state in table.states:
            assert machine.reachable(table, state) & table.final, state

    def test_no_dead_end_and_final_states_absorb(self, table: machine.Table) -> None:
        for state in table.states:
            leaves = {row.target for row in table.rows if row.source == state} - {state}
            assert bool(leaves) != (state in table.final), state

    def test_every_fact_is_used(self, table: machine.Table) -> None:
        assert {row.fact for row in table.rows} == set(table.facts)

    def test_is_drawn_whole(self, table: machine.Table) -> None:
        drawn = machine.to_dot(table)
        for row in table.rows:
            assert f'"{row.source}" -> "{row.target}"' in drawn
        assert drawn.count("peripheries=2") == len(table.final)


@pytest.mark.parametrize(("table", "state", "fact"), PAIRS)
def test_each_pair_is_in_the_table_or_refused_with_one_error(table, state, fact) -> None:
    if fact in machine.allowed(table, state):
        assert machine.apply(table, state, fact) in machine.reachable(table, state)
    else:
        with pytest.raises(InvalidState, match=f"A {table.name} in state {state}"):
            machine.apply(table, state, fact)


@given(table=st.sampled_from(TABLES), data=st.data())
def test_any_walk_can_end(table: machine.Table, data: st.DataObject) -> None:
    state = table.initial
    for _ in range(data.draw(st.integers(0, 12))):
        facts = sorted(machine.allowed(table, state))
        if not facts:
            break
        chosen = data.draw(st.sampled_from(facts))
        state = machine.apply(table, state, next(fact for fact in table.facts if fact == chosen))
    assert machine.reachable(table, state) & table.final


def test_two_rows_for_one_pair_are_refused() -> None:
    table = TABLES[0]
    with pytest.raises(ValueError, match="two rows"):
        machine.Table("twice", table.initial, table.final, (table.rows[0], table.rows[0]))
