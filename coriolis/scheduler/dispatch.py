# SPDX-License-Identifier: Apache-2.0
"""The shell around ``domain.placement``: read what is ready and who is free, choose, claim, assemble, send."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prometheus_client import Counter, Gauge
from sqlalchemy.engine import Connection

from coriolis.commands import assign
from coriolis.commands.assign import COPY, Background
from coriolis.domain.capabilities import Capability
from coriolis.domain.model import Task, TaskState
from coriolis.domain.placement import Candidate, Limits, Request, place, refused_by
from coriolis.rpc.messages import Assign
from coriolis.store import checkpoints, placing, regions, sessions
from coriolis.store.engine import Database
from coriolis.store.placing import Claim, Ready
from coriolis.store.rows import Session

CLAIMS = Counter("coriolis_claims_total", "Tasks that were assigned to a worker.")
LOST_CLAIMS = Counter("coriolis_claims_lost_total", "Claims that another scheduler, or a cancel, forestalled.")
REFUSED = Gauge("coriolis_task_kinds_without_worker", "Kinds of ready tasks that no live worker can run.")

_KNOWN = frozenset(Capability)


@dataclass(frozen=True, kw_only=True)
class Dispatched:
    """``full``: as many as were asked for were ready, so that there may be more."""

    assigns: list[Assign] = field(default_factory=list)
    full: bool = False


def dispatch(db: Database, *, limit: int, tasks_per_endpoint: int) -> Dispatched:
    """Assigns at most ``limit`` ready tasks, in one transaction of a constant number of statements. The caller sends
    the messages; one that is lost is sent again with the worker's next sync."""
    return db.write(_dispatch, db, limit, tasks_per_endpoint)


def _dispatch(conn: Connection, db: Database, limit: int, tasks_per_endpoint: int) -> Dispatched:
    now = db.utcnow()
    load = placing.running(conn)
    candidates = _candidates(sessions.live(conn), load.sessions)
    free = sum(max(0, one.slots - one.running) for one in candidates if not one.draining)
    if not free:
        return Dispatched()
    used = load.endpoints
    full = [end for end, count in used.items() if count >= tasks_per_endpoint]
    wanted = min(limit, free)
    found, shared = _placeable(conn, now, wanted, candidates, full)
    chosen = _choose(conn, found, candidates, used, tasks_per_endpoint)
    claimed = placing.claim(conn, chosen, now)
    CLAIMS.inc(len(claimed))
    LOST_CLAIMS.inc(len(chosen) - len(claimed))
    assigns = assign.assemble(conn, _running(found, claimed), now, shared)
    return Dispatched(assigns=assigns, full=len(found) == wanted)


def _candidates(live: Sequence[Session], running: Mapping[str, int]) -> list[Candidate]:
    return [
        Candidate(
            session_id=one.id,
            host=one.host,
            providers={
                name: frozenset(Capability(each) for each in capabilities if each in _KNOWN)
                for name, capabilities in one.providers.items()
            },
            regions=frozenset(one.regions),
            slots=one.slots,
            running=running.get(one.id, 0),
            draining=one.draining or one.drain_requested,
            load=one.load,
        )
        for one in live
    ]


def _placeable(
    conn: Connection, now: dt.datetime, wanted: int, candidates: Sequence[Candidate], full: Sequence[str]
) -> tuple[list[tuple[Ready, Request]], Background]:
    """Ready tasks that some worker could run. Those that nobody can run must not stand in the way of the others:
    their kind is left out, and the look is taken again; there are few kinds."""
    hopeless: set[str] = set()
    while True:
        found = placing.ready(conn, now, wanted, without_keys=hopeless, without_endpoints=full)
        shared = assign.background(conn, {one.task.execution_id for one in found})
        requests = [
            (one, _apart(one, request, candidates) or request) for one, request in _requests(conn, found, shared)
        ]
        hopes: dict[str, bool] = {}
        for one, request in requests:
            able = any(not worker.draining and refused_by(worker, request) is None for worker in candidates)
            hopes[one.needs_key] = hopes.get(one.needs_key, False) or able
        lost = {key for key, able in hopes.items() if not able}
        if not lost:
            REFUSED.set(len(hopeless))
            return requests, shared
        hopeless |= lost


def _requests(conn: Connection, found: Sequence[Ready], shared: Background) -> list[tuple[Ready, Request]]:
    mapped = any(account.mapped_regions for account in shared.accounts.values())
    closed = regions.disabled(conn) if mapped else set()
    return [(one, _request(one, shared, closed)) for one in found]


def _request(one: Ready, shared: Background, closed: set[str]) -> Request:
    job = shared.job(one.task.execution_id)
    ends = placing.used_ends(one.task.side, job.origin_endpoint_id, job.destination_endpoint_id)
    mapped = [shared.accounts[end].mapped_regions for end in ends]
    return Request(
        task_id=one.task.id,
        needs=one.task.needs,
        regions=tuple(frozenset(each) - closed for each in mapped if each),
        limits=tuple(f"endpoint:{end}" for end in ends),
    )


def _apart(one: Ready, request: Request, candidates: Sequence[Candidate]) -> Request | None:
    """For a copy between two sites of which no worker reaches both: it runs where the destination is, as long as some
    other worker reaches the source, and can export it (``conductor.links``)."""
    task = one.task
    if task.kind != COPY or len(task.needs) != 2 or len(request.regions) != 2:
        return None
    if any(refused_by(worker, request) is None for worker in candidates):
        return None
    ends = [
        replace(request, needs=(need,), regions=(regions_,))
        for need, regions_ in zip(task.needs, request.regions, strict=True)
    ]
    reached = [any(refused_by(worker, end) is None for worker in candidates) for end in ends]
    return ends[1] if all(reached) else None


def _choose(
    conn: Connection,
    found: Sequence[tuple[Ready, Request]],
    candidates: Sequence[Candidate],
    used: Mapping[str, int],
    tasks_per_endpoint: int,
) -> list[Claim]:
    """Claims to be made. A retry prefers the host where its checkpoint is."""
    saved = checkpoints.of_tasks(conn, [one.task.id for one, _ in found if one.task.epoch > 0])
    requests = [
        replace(request, host=saved[request.task_id].get("host"))
        if isinstance(saved.get(request.task_id), dict)
        else request
        for _, request in found
    ]
    keys = {key for request in requests for key in request.limits}
    limits = Limits(
        maximum=dict.fromkeys(keys, tasks_per_endpoint),
        used={f"endpoint:{end}": count for end, count in used.items()},
    )
    choices, _ = place(requests, candidates, limits)
    epochs = {one.task.id: one.task.epoch for one, _ in found}
    hosts = {one.session_id: one.host for one in candidates}
    return [
        Claim(choice.task_id, epochs[choice.task_id], choice.session_id, hosts[choice.session_id]) for choice in choices
    ]


def _running(found: Sequence[tuple[Ready, Request]], claimed: Sequence[Claim]) -> dict[str, tuple[Task, int]]:
    """The claimed tasks as they are now, with their positions."""
    owners = {claim.task_id: claim for claim in claimed}
    return {
        one.task.id: (
            replace(
                one.task,
                state=TaskState.RUNNING,
                session_id=owners[one.task.id].session_id,
                epoch=one.task.epoch + 1,
                not_before=None,
            ),
            one.position,
        )
        for one, _ in found
        if one.task.id in owners
    }
