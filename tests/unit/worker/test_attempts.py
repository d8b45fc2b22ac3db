# SPDX-License-Identifier: Apache-2.0
"""Attempts, from assignment to acknowledged result, in real child processes."""

from __future__ import annotations

from typing import Any

import pytest


def test_an_attempt_runs_and_its_outputs_arrive(bench: Any) -> None:
    task = bench.assign("plain")
    result = bench.conductor.result_of(task)
    assert result.outcome == "completed"
    assert result.outputs["vm"]["name"] == "plain"
    assert result.attempt.epoch == 1


@pytest.mark.parametrize(
    ("instance", "code", "retryable"),
    [
        ("unknown", "provider.gone", False),
        ("away", "provider.unavailable", True),
        ("bug", "task.bug", False),
        ("segfault", "task.died", True),
    ],
)
def test_a_failure_has_its_class(bench: Any, instance: str, code: str, retryable: bool) -> None:
    error = bench.conductor.result_of(bench.assign(instance)).error
    assert (error.code, error.retryable) == (code, retryable)
    assert "hunter2" not in error.message
