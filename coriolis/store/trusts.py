# SPDX-License-Identifier: Apache-2.0
"""Queries on trusts, and on whether anything still needs them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import asdict

from sqlalchemy import and_, exists, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store.minion_tables import minion_pool
from coriolis.store.rows import load
from coriolis.store.standing_rows import Trust
from coriolis.store.standing_tables import schedule, trust
from coriolis.store.tables import execution

# Also an execution that has not begun, such as a deployment that waits, will need it.
_IN_USE = or_(
    exists(
        select(execution.c.id).where(
            execution.c.trust_id == trust.c.id,
            execution.c.state.not_in([str(state) for state in sorted(FINAL_EXECUTION_STATES)]),
        )
    ),
    exists(select(schedule.c.id).where(schedule.c.trust_id == trust.c.id)),
    exists(select(minion_pool.c.id).where(minion_pool.c.trust_id == trust.c.id)),
)
# A job names its trust in the transaction that stores it, and so does all that is to follow it.
_WAS_USED = exists(select(execution.c.id).where(execution.c.trust_id == trust.c.id))


def insert(conn: Connection, row: Trust) -> None:
    conn.execute(sql_insert(trust), asdict(row))


def made(conn: Connection, trust_id: str, keystone_id: str) -> None:
    conn.execute(sql_update(trust).where(trust.c.id == trust_id).values(keystone_id=keystone_id))


def delete(conn: Connection, trust_id: str) -> None:
    conn.execute(sql_delete(trust).where(trust.c.id == trust_id))


def keystone_ids(conn: Connection, trust_ids: Collection[str]) -> dict[str, str]:
    """Our id to Keystone's, of those that are made. One statement."""
    query = select(trust.c.id, trust.c.keystone_id).where(
        trust.c.id.in_(list(trust_ids)), trust.c.keystone_id.is_not(None)
    )
    return {row[0]: row[1] for row in conn.execute(query)}


def unneeded(conn: Connection, before: dt.datetime, limit: int) -> list[Trust]:
    """At most ``limit`` trusts that no unfinished execution, schedule or pool uses, oldest first: whose work is over,
    or which were asked for before then; also those of which nobody knows whether Keystone made them."""
    over = or_(trust.c.created_at < before, and_(trust.c.keystone_id.is_not(None), _WAS_USED))
    query = select(trust).where(over, ~_IN_USE).order_by(trust.c.created_at, trust.c.id)
    return [load(Trust, row) for row in conn.execute(query.limit(limit))]


def of(conn: Connection, user_id: str, project_id: str) -> list[Trust]:
    """All that are known of a user in a project."""
    query = select(trust).where(trust.c.user_id == user_id, trust.c.project_id == project_id)
    return [load(Trust, row) for row in conn.execute(query)]
