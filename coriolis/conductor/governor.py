# SPDX-License-Identifier: Apache-2.0
"""Shares bandwidth budgets out among running streams, at each sync of a worker that moves bytes."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence

from prometheus_client import Gauge
from sqlalchemy.engine import Connection

from coriolis.commands import assign
from coriolis.commands.bandwidth_budgets import rule
from coriolis.domain import bandwidth
from coriolis.domain.bandwidth import Budget, Claim, Holding, Limit
from coriolis.domain.model import Side
from coriolis.rpc import messages
from coriolis.rpc.messages import Share, Sync
from coriolis.store import bandwidth_budgets, streams
from coriolis.store.engine import Database
from coriolis.store.rows import Stream
from coriolis.store.streams import Mover

LIMIT = Gauge("coriolis_bandwidth_budget_bytes_per_second", "What a budget allows now; absent: no limit.", ["budget"])
GRANTED = Gauge("coriolis_bandwidth_granted_bytes_per_second", "What its streams may use.", ["budget"])
USED = Gauge("coriolis_bandwidth_used_bytes_per_second", "What its streams use, as last told.", ["budget"])
STREAMS = Gauge("coriolis_bandwidth_streams", "Attempts that move bytes under a budget.", ["budget"])


def share(db: Database, request: Sync) -> tuple[Share, ...]:
    """What the streams of this worker may use from now on; those without a limit are left out. One statement without
    budgets, eight with any number of them."""
    told = {one.task_id: one for one in request.attempts if one.stream is not None}
    if not told or not db.read(bandwidth_budgets.enabled):
        return ()
    return db.write(_share, db.utcnow(), request)


def _share(conn: Connection, now: dt.datetime, request: Sync) -> tuple[Share, ...]:
    rows = bandwidth_budgets.hold(conn)  # one conductor at a time shares them out
    budgets = {row.id: rule(row) for row in rows}
    limits = {each: bandwidth.limit_at(budget, now) for each, budget in budgets.items()}
    movers = streams.movers(conn, request.session_id)
    everyone = {row.task_id: row for row in streams.running(conn)}
    mine = {
        report.task_id: (movers[report.task_id], report.stream)
        for report in request.attempts
        if report.stream is not None and report.task_id in movers and movers[report.task_id].epoch == report.epoch
    }
    applying = _applying(conn, mine, budgets)
    for task_id, (mover, told) in mine.items():
        everyone[task_id] = _told(everyone.get(task_id), mover, told, applying[task_id], now)
    holdings = [_holding(row, limits) for row in everyone.values()]
    granted = bandwidth.grants(holdings, list(mine), limits)
    for task_id, rate in granted.items():
        everyone[task_id] = _granted(everyone[task_id], rate)
    streams.store(conn, [everyone[task_id] for task_id in mine])
    _measure(rows_to_names={row.id: row.name for row in rows}, limits=limits, everyone=list(everyone.values()))
    return tuple(_answer(everyone[task_id], budgets) for task_id in mine)


def _applying(
    conn: Connection, mine: Mapping[str, tuple[Mover, messages.Stream]], budgets: Mapping[str, Budget]
) -> dict[str, list[str]]:
    """Task id to the ids of the budgets that its bytes count against. Three statements."""
    if not mine:
        return {}
    shared = assign.background(conn, {mover.execution_id for mover, _ in mine.values()})
    found = {}
    for task_id, (mover, told) in mine.items():
        job = shared.job(mover.execution_id)
        reads = mover.side in (Side.SOURCE, Side.BOTH)
        writes = mover.side in (Side.DESTINATION, Side.BOTH)
        source, destination = job.origin_endpoint_id, job.destination_endpoint_id
        stores = ((source, told.source_storage, reads), (destination, told.destination_storage, writes))
        stream = bandwidth.Stream(
            project_id=job.project_id,
            endpoints=frozenset(end for end, uses in ((source, reads), (destination, writes)) if uses),
            link=(
                frozenset(shared.accounts[source].mapped_regions if reads else ()),
                frozenset(shared.accounts[destination].mapped_regions if writes else ()),
            ),
            hosts=frozenset(host for host in (mover.host, told.source_host) if host),
            datastores=frozenset((end, name) for end, name, uses in stores if name is not None and uses),
        )
        found[task_id] = sorted(each for each, budget in budgets.items() if bandwidth.applies(budget, stream))
    return found


def _told(
    before: Stream | None, mover: Mover, told: messages.Stream, budgets: Sequence[str], now: dt.datetime
) -> Stream:
    """The stream as its worker tells it. One that is new has nothing yet, and takes nothing from the others until they
    have given it up; one that had no limit keeps its speed until its share is known."""
    known = before is not None and before.epoch == mover.epoch
    granted = before.granted if known and before is not None else 0.0
    demand = bandwidth.demand(told.rate, granted)
    return Stream(
        task_id=mover.task_id,
        epoch=mover.epoch,
        budgets=list(budgets),
        used=told.rate,
        demand=None if math.isinf(demand) else demand,
        granted=granted,
        updated_at=now,
    )


def _holding(row: Stream, limits: Mapping[str, Limit]) -> Holding:
    known = frozenset(each for each in row.budgets if each in limits)
    return Holding(
        claim=Claim(key=row.task_id, budgets=known, demand=math.inf if row.demand is None else row.demand),
        granted=row.granted,
    )


def _granted(row: Stream, rate: float) -> Stream:
    return Stream(**{**vars(row), "granted": None if math.isinf(rate) else rate})


def _answer(row: Stream, budgets: Mapping[str, Budget]) -> Share:
    factors = [budgets[each].backoff for each in row.budgets]
    return Share(
        task_id=row.task_id,
        bytes_per_second=row.granted,
        backoff_factor=min((factor for factor in factors if factor is not None), default=None),
    )


def _measure(*, rows_to_names: Mapping[str, str], limits: Mapping[str, Limit], everyone: Sequence[Stream]) -> None:
    usage = bandwidth.usage((row.budgets, row.used, row.granted) for row in everyone)
    for gauge in (LIMIT, GRANTED, USED, STREAMS):
        gauge.clear()
    for each, name in rows_to_names.items():
        now = usage.get(each, bandwidth.Usage())
        rate = limits[each].bytes_per_second
        if rate is not None:
            LIMIT.labels(name).set(rate)
        for gauge, figure in ((GRANTED, now.granted), (USED, now.used), (STREAMS, now.streams)):
            gauge.labels(name).set(figure)
