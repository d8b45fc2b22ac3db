# SPDX-License-Identifier: Apache-2.0
"""Takes in what workers say: registrations, syncs, results, effects. Every write of an attempt passes the fence."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import Counter
from sqlalchemy.engine import Connection

from coriolis.commands import assign, services
from coriolis.conductor import rollup
from coriolis.conductor.plans import Plans
from coriolis.domain import facts, retry
from coriolis.domain.errors import Invalid, Stale
from coriolis.domain.model import ErrorClass, TaskState
from coriolis.rpc import messages
from coriolis.rpc.messages import Ack, AttemptReport, Register, Registered, Result, Sync, SyncReply
from coriolis.store import checkpoints, events, fence, outputs, processes, progress, sessions, tasks
from coriolis.store.engine import Database
from coriolis.store.fence import Owner

LOG = logging.getLogger(__name__)

STALE = Counter("coriolis_stale_writes_total", "Writes refused because the attempt no longer owns its task.", ["what"])
RESULTS = Counter("coriolis_results_total", "Results of attempts that were taken in.", ["outcome"])
SYNCS = Counter("coriolis_syncs_total", "Syncs of workers that were taken in.")

Key = tuple[str, int]


def register(db: Database, request: Register, *, lease_seconds: float, sync_seconds: float) -> Registered:
    """Starts a session for a worker process."""

    def use(conn: Connection) -> str:
        session_id = str(uuid.uuid4())  # a new one if the transaction has to be run again; the other one expires
        service_id = services.registered(conn, db, request)
        now = db.utcnow()
        sessions.start(
            conn,
            session_id,
            service_id=service_id,
            host=request.host,
            pid=request.pid,
            regions=request.regions,
            providers=request.providers,
            schema_digests=request.schema_digests,
            slots=request.slots,
            release=request.release,
            now=now,
        )
        processes.start(
            conn,
            session_id,
            application=services.BINARY,
            host=request.host,
            pid=request.pid,
            specs=request.specs,
            now=now,
        )
        return session_id

    session_id = db.write(use)
    LOG.info("Worker %s on %s has session %s", request.pid, request.host, session_id)
    return Registered(session_id=session_id, lease_seconds=lease_seconds, sync_seconds=sync_seconds)


# ---- sync ------------------------------------------------------------------------------------------------------


def sync(db: Database, request: Sync, *, grace_seconds: float) -> SyncReply:
    """A heartbeat and all that is new of a worker's attempts, in one transaction of a constant number of statements;
    a second one brings the roll-ups up to date.

    A task of the session that the worker does not list is sent again once its assignment is older than
    ``grace_seconds``: until then the message may be on its way.
    """
    reply, moved = db.write(_sync, db, request, dt.timedelta(seconds=grace_seconds))
    if moved:
        db.write(rollup.amounts, moved, db.utcnow())
    SYNCS.inc()
    return reply


def _sync(conn: Connection, db: Database, request: Sync, grace: dt.timedelta) -> tuple[SyncReply, list[Key]]:
    now = db.utcnow()
    session_id = request.session_id
    if not sessions.renew(conn, session_id, draining=request.draining, load=request.load):
        STALE.labels("sync").inc()
        return SyncReply(accepted=False), []
    listed = {(one.task_id, one.epoch): one for one in request.attempts}
    fence.touch(conn, [Owner(task_id, epoch, session_id) for task_id, epoch in sorted(listed)], now)
    mine = tasks.running_in(conn, session_id)
    passed = {
        task_id: report
        for (task_id, epoch), report in listed.items()
        if task_id in mine and mine[task_id].epoch == epoch
    }
    seqs = {task_id: mine[task_id].event_seq for task_id in passed}
    _store_reports(conn, {task_id: (mine[task_id].execution_id, one) for task_id, one in passed.items()}, seqs, now)
    missing = [one.id for one in mine.values() if (one.id, one.epoch) not in listed and one.synced_at < now - grace]
    found = tasks.by_id(conn, missing) if missing else {}
    reply = SyncReply(
        accepted=True,
        cancel=tuple(sorted(task_id for task_id in passed if mine[task_id].stop_asked)),
        revoke=tuple(sorted({task_id for task_id, _ in listed} - passed.keys())),
        missing=tuple(assign.assemble(conn, found, now)),
        drain=sessions.drain_requested(conn, session_id),
    )
    moved = {(mine[task_id].execution_id, mine[task_id].position) for task_id, one in passed.items() if one.progress}
    return reply, sorted(moved)


def _store_reports(
    conn: Connection, reports: Mapping[str, tuple[str, AttemptReport]], seqs: Mapping[str, int], now: dt.datetime
) -> None:
    """Progress, events and checkpoints of tasks that passed the fence: task id to (execution, report). ``seqs``: the
    highest event number known of each. At most seven statements."""
    progress.store(
        conn,
        {
            task_id: [
                progress.Report(item=one.item, done=one.done, total=one.total, message=one.message)
                for one in report.progress
            ]
            for task_id, (_, report) in reports.items()
        },
        now,
    )
    new: list[events.NewEvent] = []
    highest: dict[str, int] = {}
    for task_id, (execution_id, report) in reports.items():
        for event in sorted(report.events, key=lambda one: one.seq):
            if event.seq > highest.get(task_id, seqs.get(task_id, 0)):
                highest[task_id] = event.seq
                new.append(
                    events.NewEvent(
                        execution_id=execution_id, task_id=task_id, level=event.level, message=event.message
                    )
                )
    events.append(conn, new, now)
    tasks.note_event_seqs(conn, highest)
    checkpoints.store(
        conn,
        {
            task_id: (report.epoch, report.checkpoint)
            for task_id, (_, report) in reports.items()
            if report.checkpoint is not None
        },
        now,
    )


# ---- results ---------------------------------------------------------------------------------------------------


def _completed(result: Result, at: dt.datetime) -> facts.AttemptFact:
    try:
        for name, value in result.outputs.items():
            outputs.check_size(name, value)
    except Invalid as error:
        return _failure(result, at, ErrorClass(code=retry.BAD_OUTPUT, message=error.message))
    return facts.Completed(at=at, task_id=result.attempt.task_id, epoch=result.attempt.epoch, outputs=result.outputs)


def _failed(result: Result, at: dt.datetime) -> facts.AttemptFact:
    error = result.error or messages.Error(code="task.failed", message="The attempt failed without saying why.")
    return _failure(
        result,
        at,
        ErrorClass(
            code=error.code[:64],
            message=events.shorten(error.message),
            retryable=error.retryable,
            retry_after_seconds=error.retry_after_seconds,
        ),
    )


def _failure(result: Result, at: dt.datetime, error: ErrorClass) -> facts.AttemptFact:
    return facts.Failed(at=at, task_id=result.attempt.task_id, epoch=result.attempt.epoch, error=error)


def _stopped(result: Result, at: dt.datetime) -> facts.AttemptFact:
    return facts.Stopped(at=at, task_id=result.attempt.task_id, epoch=result.attempt.epoch, cut_off=_cut_off(result))


def _returned(result: Result, at: dt.datetime) -> facts.AttemptFact:
    return facts.Returned(at=at, task_id=result.attempt.task_id, epoch=result.attempt.epoch, cut_off=_cut_off(result))


def _cut_off(result: Result) -> bool:
    """The attempt's process was killed before it could tell what it had made."""
    return result.error is not None and result.error.code == retry.DIED


OUTCOMES: dict[str, Callable[[Result, dt.datetime], facts.AttemptFact]] = {
    "completed": _completed,
    "failed": _failed,
    "canceled": _stopped,
    "returned": _returned,
}


def results(db: Database, batch: Sequence[Result], *, quarantine: dt.timedelta) -> list[Ack]:
    """Stores the ends of attempts and lets their instances go on, in one transaction whose number of statements does
    not depend on the size of the batch. Answers in the same order.

    :raises Invalid: an outcome that does not exist
    """
    for result in batch:
        if result.outcome not in OUTCOMES:
            raise Invalid(f"There is no outcome '{result.outcome}'.", field="outcome")
    acks, moved = db.write(_results, db, batch, quarantine)
    if moved:
        db.write(rollup.amounts, moved, db.utcnow())
    for result, ack in zip(batch, acks, strict=True):
        if ack.accepted:
            RESULTS.labels(result.outcome).inc()
        else:
            STALE.labels("result").inc()
    return acks


def _results(
    conn: Connection, db: Database, batch: Sequence[Result], quarantine: dt.timedelta
) -> tuple[list[Ack], list[Key]]:
    now = db.utcnow()
    where = tasks.locate(conn, {result.attempt.task_id for result in batch})
    plans = Plans(conn, where.values(), now, quarantine)
    live = sessions.live_among(conn, {result.attempt.session_id for result in batch})
    acks = [Ack(accepted=_end(plans, where, live, result)) for result in batch]
    taken = [result for result, ack in zip(batch, acks, strict=True) if ack.accepted and result.report is not None]
    moved = _last_reports(conn, where, taken, now)
    plans.save()
    return acks, moved


def _end(plans: Plans, where: Mapping[str, Key], live: set[str], result: Result) -> bool:
    """Decides on one result. True: it is stored, or was stored before (the same message again)."""
    attempt = result.attempt
    key = where.get(attempt.task_id)
    if key is None or key not in plans.graphs:
        return False
    task = plans.graphs[key].tasks[attempt.task_id]
    owner = Owner(attempt.task_id, attempt.epoch, attempt.session_id)
    if attempt.session_id not in live or not fence.owns(task, owner):
        ended = task.state in (TaskState.COMPLETED, TaskState.ERROR, TaskState.CANCELED)
        return ended and (task.epoch, task.session_id) == (attempt.epoch, attempt.session_id)
    try:
        plans.take(key, OUTCOMES[result.outcome](result, plans.now))
    except Stale:
        return False
    return True


def _last_reports(conn: Connection, where: Mapping[str, Key], taken: Sequence[Result], now: dt.datetime) -> list[Key]:
    """The last progress and events that came with results; gives the instances whose figures have moved."""
    reports: dict[str, tuple[str, Any]] = {
        result.attempt.task_id: (where[result.attempt.task_id][0], result.report) for result in taken
    }
    with_events = [task_id for task_id, (_, report) in reports.items() if report.events]
    seqs = tasks.event_seqs(conn, with_events) if with_events else {}
    _store_reports(conn, reports, seqs, now)
    return sorted({where[task_id] for task_id, (_, report) in reports.items() if report.progress})
