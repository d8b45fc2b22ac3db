# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of one attempt, in memory, with TaskFlow. The only module that imports it.

When a step fails for good, the steps before it are reverted, last one first. They are not when another attempt will
walk over them (retryable), when the attempt no longer owns its task (somebody else may be using them), or when it was
told to stop (the undo tasks come). Reverting is the fast path; the ledger is the guarantee.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from taskflow import engines, task
from taskflow.exceptions import WrappedFailure
from taskflow.patterns import linear_flow, unordered_flow

_LOG = logging.getLogger(__name__)

Json = Any
Results = dict[str, Json]  # by step name, of the steps that are over


@dataclass(frozen=True, kw_only=True)
class Step:
    """``run`` gets the results of earlier steps. ``revert`` undoes it; it gets the step's own result. ``gives``: the
    attempt's output that the result is."""

    name: str
    run: Callable[[Results], Json]
    revert: Callable[[Json], None] | None = None
    gives: str | None = None


@dataclass(frozen=True, kw_only=True)
class FanOut:
    """Steps that do not need each other: all of them or none. ``threads``: how many at a time."""

    name: str
    steps: tuple[Step, ...]
    threads: int = 1


def run(parts: Sequence[Step | FanOut], may_revert: Callable[[BaseException], bool]) -> Results:
    """The outputs. Raises what a step raised, after reverting if ``may_revert`` says so of it."""
    results: Results = {}
    if len(parts) == 1 and isinstance(parts[0], Step):  # nothing to order or revert: spare an engine's 13 ms of CPU
        only = parts[0]
        result = only.run(results)
        return {} if only.gives is None else {only.gives: result}
    flow = linear_flow.Flow("attempt")
    threads = 1
    for part in parts:
        if isinstance(part, Step):
            flow.add(_Atom(part, results, may_revert))
        else:
            threads = max(threads, part.threads)
            fan = (unordered_flow if part.threads > 1 else linear_flow).Flow(part.name)
            fan.add(*(_Atom(step, results, may_revert) for step in part.steps))
            flow.add(fan)
    engine = (
        engines.load(flow, engine="parallel", executor="threaded", max_workers=threads)
        if threads > 1
        else engines.load(flow, engine="serial")
    )
    try:
        engine.run()
    except WrappedFailure as several:
        raise _first(several) from None
    return {step.gives: results[step.name] for step in _steps(parts) if step.gives is not None}


def _first(several: WrappedFailure) -> BaseException:
    """One of the errors of a fan-out: the one that decides is any."""
    for failure in several:
        if failure.exception is not None:
            return failure.exception
    return several


def _steps(parts: Iterable[Step | FanOut]) -> Iterable[Step]:
    for part in parts:
        yield from (part,) if isinstance(part, Step) else part.steps


class _Atom(task.Task):
    """A step as TaskFlow wants it. Results go by our own table, so that arguments never pass through its storage."""

    def __init__(self, step: Step, results: Results, may_revert: Callable[[BaseException], bool]) -> None:
        super().__init__(name=step.name)
        self._step, self._results, self._may_revert = step, results, may_revert

    def execute(self) -> None:
        self._results[self._step.name] = self._step.run(self._results)

    def revert(self, flow_failures: dict[str, Any], **_: Any) -> None:
        if self._step.revert is None or self._step.name not in self._results:
            return
        raised = [failure.exception for failure in flow_failures.values()]
        if all(error is not None and self._may_revert(error) for error in raised):
            try:
                self._step.revert(self._results.pop(self._step.name))
            except Exception:  # noqa: BLE001 - what could not be undone here is still in the ledger, for the undo task
                _LOG.warning("step not reverted step=%s", self._step.name, exc_info=True)
