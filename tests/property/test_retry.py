# SPDX-License-Identifier: Apache-2.0
"""Retries: delays grow, are bounded, and every sequence of failures comes to an end."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from coriolis.domain import retry
from coriolis.domain.model import ErrorClass, RetryPolicy, Role, Side, Task

policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    first_delay=st.floats(0, 100),
    factor=st.floats(1, 10),
    max_delay=st.floats(0, 1000),
    lost_sessions=st.integers(1, 10),
    permanent_attempts=st.integers(1, 10),
)


def task(policy: RetryPolicy, **fields: int) -> Task:
    return Task(
        id="t",
        execution_id="e",
        instance="vm",
        name="copy",
        kind="copy",
        type="REPLICATE_DISKS",
        index=1,
        side=Side.BOTH,
        role=Role.WORK,
        retry=policy,
        **fields,
    )


@given(policy=policies, failures=st.integers(1, 10_000), asked=st.none() | st.floats(0, 1e9))
def test_a_delay_is_bounded_and_never_shorter_than_before(policy, failures, asked) -> None:
    first = retry.delay(policy, failures, asked)
    assert 0 <= first <= policy.max_delay
    assert retry.delay(policy, failures + 1, asked) >= first
    if asked is not None:
        assert first >= min(asked, policy.max_delay)


@given(policy=policies, retryable=st.booleans())
def test_failures_end_after_the_declared_number(policy: RetryPolicy, retryable: bool) -> None:
    error = ErrorClass(code="x", message="no", retryable=retryable)
    one, tries = task(policy), 1
    while retry.after_failure(one, error) is not None:
        one = dataclasses.replace(one, attempts=one.attempts + 1)
        tries += 1
    assert tries == (policy.attempts if retryable else min(policy.attempts, policy.permanent_attempts))


@given(policy=policies)
def test_a_task_that_kills_workers_ends(policy: RetryPolicy) -> None:
    lost = 0
    while retry.after_lost_session(task(policy, lost_sessions=lost)):
        lost += 1
    assert lost + 1 == policy.lost_sessions
    assert f"{lost + 1} times" in retry.worker_lost(task(policy, lost_sessions=lost)).message


def test_an_attempt_without_a_definite_answer_is_in_doubt() -> None:
    assert retry.in_doubt(ErrorClass(code=retry.DIED, message="killed"))
    assert retry.in_doubt(ErrorClass(code="provider.unavailable", message="away", retryable=True))
    assert not retry.in_doubt(ErrorClass(code="provider.invalid", message="the pool is full"))
