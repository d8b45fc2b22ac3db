# SPDX-License-Identifier: Apache-2.0
"""Queries on replicas: what the executions of a transfer have left of each machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, select, tuple_
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.effects import Effect
from coriolis.domain.model import EffectState
from coriolis.store import effects
from coriolis.store.rows import Replica, load
from coriolis.store.tables import action, effect, execution, replica

Key = tuple[str, int]  # (transfer id, position)

_KEY = tuple_(replica.c.transfer_id, replica.c.position)


def find(conn: Connection, keys: Sequence[Key]) -> dict[Key, Replica]:
    """The replicas of these machines, as far as there are any. One statement."""
    if not keys:
        return {}
    found = conn.execute(select(replica).where(_KEY.in_(list(keys))))
    return {(row.transfer_id, row.position): load(Replica, row) for row in found}


def of_transfer(conn: Connection, transfer_id: str) -> list[Replica]:
    """All replicas of a transfer, in the order of its machines."""
    query = select(replica).where(replica.c.transfer_id == transfer_id).order_by(replica.c.position)
    return [load(Replica, row) for row in conn.execute(query)]


def put(conn: Connection, rows: Sequence[Replica]) -> None:
    """Overwrites these replicas. Two statements."""
    if rows:
        conn.execute(delete(replica).where(_KEY.in_([(row.transfer_id, row.position) for row in rows])))
        conn.execute(sql_insert(replica), [asdict(row) for row in rows])


def kept(conn: Connection, wanted: Mapping[Key, Sequence[str]], *, live_only: bool = False) -> dict[Key, list[Effect]]:
    """What the ledger holds of the machines of transfers, and of the places of minion pools (kinds by machine): made by
    whichever execution and kept since, oldest first. One statement."""
    found: dict[Key, list[Effect]] = {key: [] for key in wanted}
    if not wanted:
        return found
    states = [EffectState.LIVE.value] if live_only else [EffectState.LIVE.value, EffectState.INTENDED.value]
    query = (
        select(effect, execution.c.action_id)
        .join(execution, execution.c.id == effect.c.execution_id)
        .join(action, action.c.id == execution.c.action_id)
        .where(action.c.kind.in_(("transfer", "minion_pool")), effect.c.state.in_(states))
        .where(tuple_(execution.c.action_id, effect.c.position).in_(list(wanted)))
        .order_by(effect.c.created_at, effect.c.key)
    )
    for row in conn.execute(query):
        key = (row.action_id, row.position)
        if row.kind in wanted[key]:
            found[key].append(effects.load(row))
    return found


def hand_over(conn: Connection, transfer_id: str, position: int, kinds: Sequence[str], now: dt.datetime) -> None:
    """Somebody else owns these things from now on: a deployed machine its disks. The ledger lets go of them."""
    runs = select(execution.c.id).where(execution.c.action_id == transfer_id).scalar_subquery()
    values: dict[str, Any] = {"state": EffectState.GONE.value, "removed_at": now, "updated_at": now}
    conn.execute(
        sql_update(effect)
        .where(effect.c.execution_id.in_(runs), effect.c.position == position, effect.c.kind.in_(list(kinds)))
        .where(effect.c.state == EffectState.LIVE.value)
        .values(**values)
    )
