# SPDX-License-Identifier: Apache-2.0
"""Progress: percent, bytes, rate and time left."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain import progress
from coriolis.domain.model import ExecutionState
from coriolis.domain.progress import Amount, Rate
from coriolis.domain.states import FINAL_EXECUTION_STATES

X = ExecutionState
START = dt.datetime(2026, 1, 1)
sizes = st.integers(0, 2**50)
amounts = st.builds(Amount, sizes, sizes)


@given(items=st.lists(amounts))
def test_a_sum_never_passes_its_total(items: list[Amount]) -> None:
    whole = progress.add(items)
    assert 0 <= whole.done <= whole.total == sum(item.total for item in items)


@given(done=st.integers(0, 60), more=st.integers(0, 60), bytes_=amounts)
def test_percent_grows_and_leaves_the_hundred_for_the_end(done: int, more: int, bytes_: Amount) -> None:
    total = done + more
    now = progress.percent_of_steps(done, total, bytes_)
    assert 0 <= now <= 99
    if more:
        assert progress.percent_of_steps(done + 1, total, bytes_) >= now
    further = Amount(bytes_.done + 1, bytes_.total)
    assert progress.percent_of_steps(done, total, further) >= now


@given(percents=st.lists(st.integers(0, 100), min_size=1))
def test_the_whole_lies_between_its_parts(percents: list[int]) -> None:
    assert min(percents) <= progress.percent_of_all(percents) <= max(percents)


@given(readings=st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 10**9)), min_size=2))
def test_a_rate_stays_between_what_was_seen(readings: list[tuple[float, int]]) -> None:
    rate: Rate | None = progress.observe(None, 0, START)
    at, done, seen = START, 0, []
    for seconds, more in readings:
        step = dt.timedelta(seconds=seconds)
        at, done = at + step, done + more
        seen.append(more / step.total_seconds())
        rate = progress.observe(rate, done, at)
    assert rate is not None
    assert rate.per_second is not None
    assert min(seen) * 0.999 <= rate.per_second <= max(seen) * 1.001 + 1e-6


def test_a_step_back_starts_anew() -> None:
    rate = progress.observe(Rate(START, 100, 5.0), 10, START + dt.timedelta(seconds=1))
    assert rate == Rate(START + dt.timedelta(seconds=1), 10)


def test_time_left() -> None:
    assert progress.seconds_left(Amount(50, 100), Rate(START, 50, 10.0)) == 5
    assert progress.seconds_left(Amount(0, 0), Rate(START, 0, 10.0)) is None
    assert progress.seconds_left(Amount(50, 100), Rate(START, 50)) is None
    assert progress.seconds_left(Amount(50, 100), Rate(START, 50, 0.0)) is None
    assert progress.seconds_left(Amount(100, 100), Rate(START, 100, 1.0)) == 0


@given(states=st.lists(st.sampled_from(sorted(set(X) - {X.UNEXECUTED})), min_size=1), cancelling=st.booleans())
def test_an_execution_is_over_when_its_instances_are(states: list[ExecutionState], cancelling: bool) -> None:
    state, message = progress.execution_state(states, cancelling)
    over = all(each in FINAL_EXECUTION_STATES for each in states)
    assert (state in FINAL_EXECUTION_STATES) == over
    if over and X.ERROR in states:
        assert state is X.ERROR
        assert message == f"{states.count(X.ERROR)} of {len(states)} instances failed."


@pytest.mark.parametrize(
    ("states", "cancelling", "expected"),
    [
        ([X.PENDING, X.PENDING], False, X.PENDING),
        ([X.PENDING, X.RUNNING], False, X.RUNNING),
        ([X.PENDING, X.COMPLETED], False, X.RUNNING),
        ([X.PENDING], True, X.CANCELLING),
        ([X.COMPLETED, X.COMPLETED], True, X.COMPLETED),
        ([X.COMPLETED, X.CANCELED], True, X.CANCELED),
        ([X.CANCELED, X.ERROR], True, X.ERROR),
    ],
)
def test_the_state_of_an_execution(states, cancelling, expected) -> None:
    assert progress.execution_state(states, cancelling)[0] is expected
