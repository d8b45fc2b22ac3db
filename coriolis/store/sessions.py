# SPDX-License-Identifier: Apache-2.0
"""Queries on sessions. Their leases are measured by ``types.lease_now`` alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, exists, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.model import TaskState
from coriolis.domain.states import SessionState
from coriolis.store import regions as region_queries
from coriolis.store.rows import Session, load
from coriolis.store.site_tables import service
from coriolis.store.tables import session, task
from coriolis.store.types import lease_now

LIVE = SessionState.LIVE.value
DEAD = SessionState.DEAD.value

_LIVE = (
    select(*(one for one in session.c if one.name != "regions"), session.c.regions, service.c.mapped_regions)
    .outerjoin(service, service.c.id == session.c.service_id)
    .where(session.c.state == LIVE)
    .order_by(session.c.id)
)
_SERVING = _LIVE.where(or_(service.c.enabled.is_(None), service.c.enabled.is_(True)))
_LIVE_AMONG = select(session.c.id).where(session.c.id.in_(bindparam("ids", expanding=True)), session.c.state == LIVE)


def start(
    conn: Connection,
    session_id: str,
    *,
    host: str,
    pid: int,
    regions: Sequence[str],
    providers: dict[str, list[str]],
    slots: int,
    release: str,
    now: dt.datetime,
    service_id: str | None = None,
    schema_digests: dict[str, str] | None = None,
) -> None:
    """A new life of a worker."""
    conn.execute(
        sql_insert(session).values(
            id=session_id,
            service_id=service_id,
            host=host,
            pid=pid,
            regions=list(regions),
            providers=providers,
            schema_digests=schema_digests,
            slots=slots,
            load=0.0,
            release=release,
            state=LIVE,
            draining=False,
            drain_requested=False,
            seen_at=lease_now(conn),
            created_at=now,
        )
    )


def renew(conn: Connection, session_id: str, *, draining: bool, load: float) -> bool:
    """A heartbeat. False: the session is dead (or unknown), and stays so."""
    result = conn.execute(
        sql_update(session)
        .where(session.c.id == session_id, session.c.state == LIVE)
        .values(seen_at=lease_now(conn), draining=draining, load=load)
    )
    return result.rowcount == 1


def end(conn: Connection, session_ids: Sequence[str], now: dt.datetime) -> None:
    """Dead is final."""
    conn.execute(
        sql_update(session)
        .where(session.c.id.in_(list(session_ids)), session.c.state == LIVE)
        .values(state=DEAD, ended_at=now)
    )


def expire(conn: Connection, lease_seconds: float, now: dt.datetime, limit: int) -> list[str]:
    """Declares at most ``limit`` silent sessions dead; gives those that this call has ended. The caller frees their
    tasks in the same transaction."""
    silent = (session.c.state == LIVE) & (session.c.seen_at < lease_now(conn) - lease_seconds)
    ended = []
    for session_id in conn.execute(select(session.c.id).where(silent).order_by(session.c.id).limit(limit)).scalars():
        # Again in the WHERE: a heartbeat may have come since the SELECT.
        gone = conn.execute(
            sql_update(session).where(session.c.id == session_id, silent).values(state=DEAD, ended_at=now)
        )
        if gone.rowcount == 1:
            ended.append(session_id)
    return ended


def drain_requested(conn: Connection, session_id: str) -> bool:
    """Whether an operator wants the worker to take no new tasks."""
    return bool(conn.execute(select(session.c.drain_requested).where(session.c.id == session_id)).scalar())


def live_among(conn: Connection, session_ids: Collection[str]) -> set[str]:
    """Those of these sessions that are live. One statement."""
    return set(conn.execute(_LIVE_AMONG, {"ids": sorted(session_ids)}).scalars())


def regions_of(conn: Connection, session_ids: Collection[str]) -> dict[str, list[str]]:
    """The regions that each of these sessions serves; none: any. One statement."""
    query = (
        select(session.c.id, service.c.mapped_regions, session.c.regions)
        .outerjoin(service, service.c.id == session.c.service_id)
        .where(session.c.id.in_(sorted(session_ids)))
    )
    return {key: given if mapped is None else mapped for key, mapped, given in conn.execute(query)}


def get(conn: Connection, session_id: str) -> Session | None:
    row = conn.execute(select(session).where(session.c.id == session_id)).first()
    return load(Session, row) if row else None


def live(conn: Connection, *, disabled: bool = False) -> list[Session]:
    """The live sessions, by id, with the regions that count now: those of their services. Sessions of a disabled
    service get no work; they are left out unless ``disabled``."""
    found = []
    for row in conn.execute(_LIVE if disabled else _SERVING):
        values = dict(row._mapping)
        mapped = values.pop("mapped_regions")
        found.append(Session(**{**values, "regions": values["regions"] if mapped is None else mapped}))
    return found


def providers(conn: Connection) -> dict[str, list[str]]:
    """Every provider that some session in service has, with all its capabilities, sorted."""
    found: dict[str, set[str]] = {}
    for one in live(conn):
        for name, capabilities in one.providers.items():
            found.setdefault(name, set()).update(capabilities)
    return {name: sorted(found[name]) for name in sorted(found)}


def serving(conn: Connection, provider: str, regions: Sequence[str] = ()) -> list[Session]:
    """Sessions in service that have the provider and stand in an enabled one of the regions (if any are named),
    least loaded first.

    A session without regions serves any.
    """
    wanted = region_queries.open_sets(conn, [regions])
    fit = [
        one
        for one in live(conn)
        if provider in one.providers and all(each and (not one.regions or each & set(one.regions)) for each in wanted)
    ]
    return sorted(fit, key=lambda one: (one.draining, one.load, one.id))


def drain(conn: Connection, session_id: str) -> bool:
    """Asks a worker to take no new tasks; the next sync tells it."""
    result = conn.execute(
        sql_update(session).where(session.c.id == session_id, session.c.state == LIVE).values(drain_requested=True)
    )
    return result.rowcount == 1


def forget(conn: Connection, before: dt.datetime, limit: int) -> int:
    """Removes at most ``limit`` dead sessions that ended before ``before`` and own nothing; gives how many."""
    owns = exists(select(task.c.id).where(task.c.session_id == session.c.id, task.c.state == TaskState.RUNNING))
    query = select(session.c.id).where(session.c.state == DEAD, session.c.ended_at < before, ~owns).limit(limit)
    old = list(conn.execute(query).scalars())
    if old:
        conn.execute(sql_delete(session).where(session.c.id.in_(old)))
    return len(old)
