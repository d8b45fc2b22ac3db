# SPDX-License-Identifier: Apache-2.0
"""Which worker runs which task: filters, limits, weights. Candidates in, choices out."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from coriolis.domain.capabilities import Capability
from coriolis.domain.model import Need


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A worker session. ``regions`` empty: it serves any. ``running``: attempts that it has now."""

    session_id: str
    host: str
    providers: Mapping[str, frozenset[Capability]]
    regions: frozenset[str] = frozenset()
    slots: int
    running: int = 0
    live: bool = True
    draining: bool = False
    load: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A task that may be placed. ``regions``: a set for each platform that it works against and that is reached from
    some regions only; an empty set is reached from nowhere now. ``host``: where its checkpoint is. ``limits``: the
    keys of what it uses that is limited, for example ``endpoint:<id>``."""

    task_id: str
    needs: tuple[Need, ...]
    regions: tuple[frozenset[str], ...] = ()
    host: str | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """At most so many running tasks: per key of ``maximum``, and ``per_host`` on each host. ``used``: how many run
    now, per key; ``used_on``: per host."""

    maximum: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    per_host: int | None = None
    used_on: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    task_id: str
    session_id: str


@dataclass(frozen=True)
class Refusal:
    """Why a task stays where it is, in words for an operator."""

    task_id: str
    reason: str


def place(
    requests: Iterable[Request], candidates: Iterable[Candidate], limits: Limits = Limits()
) -> tuple[list[Choice], list[Refusal]]:
    """Places as many as possible, in the order of the requests; each choice counts for those after it."""
    workers = [candidate for candidate in candidates if candidate.live and not candidate.draining]
    free = {worker.session_id: worker.slots - worker.running for worker in workers}
    used = collections.Counter(limits.used)
    on_host = collections.Counter(limits.used_on)
    choices: list[Choice] = []
    refusals: list[Refusal] = []
    for request in requests:
        full = next((key for key in request.limits if used[key] >= limits.maximum.get(key, used[key] + 1)), None)
        if full is not None:
            refusals.append(Refusal(request.task_id, f"the limit of {limits.maximum[full]} for {full} is reached"))
            continue
        able = [worker for worker in workers if refused_by(worker, request) is None]
        open_ = [
            worker
            for worker in able
            if free[worker.session_id] > 0 and (limits.per_host is None or on_host[worker.host] < limits.per_host)
        ]
        if not open_:
            refusals.append(Refusal(request.task_id, _why(request, workers, able)))
            continue
        best = min(open_, key=lambda worker: _weight(worker, request, free[worker.session_id]))
        free[best.session_id] -= 1
        on_host[best.host] += 1
        used.update(request.limits)
        choices.append(Choice(request.task_id, best.session_id))
    return choices, refusals


def refused_by(worker: Candidate, request: Request) -> str | None:
    """Why this worker can never run that task, or None. Free slots are not looked at."""
    for need in request.needs:
        have = worker.providers.get(need.provider)
        if have is None:
            return f"it does not have the provider '{need.provider}'"
        if not need.capabilities <= have:
            return f"its provider '{need.provider}' lacks '{min(need.capabilities - have)}'"
    for wanted in request.regions:
        if not wanted:
            return "every region of an endpoint is disabled"
        if worker.regions and not wanted & worker.regions:
            return f"it is not in the region {' or '.join(sorted(wanted))}"
    return None


def _weight(worker: Candidate, request: Request, free: int) -> tuple[bool, float, float, str]:
    """Smallest first: the host of the checkpoint, the least used share of slots, the least load; the id decides
    between equals, so that two schedulers choose alike."""
    elsewhere = request.host is not None and worker.host != request.host
    return elsewhere, 1.0 - free / worker.slots, worker.load, worker.session_id


def _why(request: Request, workers: list[Candidate], able: list[Candidate]) -> str:
    if not workers:
        return "no worker is there"
    if able:
        return "all workers that could run it are busy"
    reasons = sorted({refused_by(worker, request) or "" for worker in workers})
    return f"no worker can run it: {'; '.join(reasons)}"
