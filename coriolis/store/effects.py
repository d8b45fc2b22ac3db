# SPDX-License-Identifier: Apache-2.0
"""Queries on the effects ledger; its rules are in ``domain.effects``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, select, tuple_
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.effects import Effect
from coriolis.domain.model import EffectState
from coriolis.store.rows import AnyRow
from coriolis.store.tables import effect

Key = tuple[str, int]

_CHANGING = ("state", "ref", "doubtful_until", "removed_at", "updated_at")

_ORDER = (effect.c.created_at, effect.c.key)
_HERE = tuple_(effect.c.execution_id, effect.c.position).in_(bindparam("keys", expanding=True))
_OF_INSTANCES = select(effect).where(_HERE).order_by(*_ORDER)
_OF_TASKS = select(effect).where(effect.c.task_id.in_(bindparam("ids", expanding=True))).order_by(*_ORDER)


def load(row: AnyRow) -> Effect:
    return Effect(
        key=row.key,
        owner=row.task_id,
        kind=row.kind,
        name=row.name,
        epoch=row.epoch,
        state=EffectState(row.state),
        ref=row.ref,
        doubtful_until=row.doubtful_until,
        removed_at=row.removed_at,
    )


def of_instances(conn: Connection, keys: Sequence[Key]) -> dict[Key, list[Effect]]:
    """The ledger of these instances, effects that are gone included. One statement."""
    found: dict[Key, list[Effect]] = {key: [] for key in keys}
    if keys:
        for row in conn.execute(_OF_INSTANCES, {"keys": list(keys)}):
            found[(row.execution_id, row.position)].append(load(row))
    return found


def of_tasks(conn: Connection, owners: Iterable[str]) -> dict[str, list[Effect]]:
    """The effects of these tasks, those that are gone included. One statement."""
    found: dict[str, list[Effect]] = {owner: [] for owner in owners}
    if found:
        for row in conn.execute(_OF_TASKS, {"ids": list(found)}):
            found[row.task_id].append(load(row))
    return found


def insert(conn: Connection, new: Sequence[tuple[Key, Effect]], now: dt.datetime) -> None:
    """Adds lines to the ledger."""
    if new:
        conn.execute(
            sql_insert(effect),
            [
                {
                    "key": one.key,
                    "task_id": one.owner,
                    "execution_id": key[0],
                    "position": key[1],
                    "kind": one.kind,
                    "name": one.name,
                    "state": one.state.value,
                    "ref": one.ref,
                    "epoch": one.epoch,
                    "doubtful_until": one.doubtful_until,
                    "removed_at": one.removed_at,
                    "created_at": now,
                    "updated_at": now,
                }
                for key, one in new
            ],
        )


_UPDATE = (
    sql_update(effect).where(effect.c.key == bindparam("b_key")).values({name: bindparam(name) for name in _CHANGING})
)


def update(conn: Connection, changed: Sequence[Effect], now: dt.datetime) -> None:
    """Overwrites state, reference and doubt of lines that exist."""
    if changed:
        conn.execute(
            _UPDATE,
            [
                {
                    "b_key": one.key,
                    "state": one.state.value,
                    "ref": one.ref,
                    "doubtful_until": one.doubtful_until,
                    "removed_at": one.removed_at,
                    "updated_at": now,
                }
                for one in changed
            ],
        )


def doubt(conn: Connection, owners: Sequence[str], until: dt.datetime, now: dt.datetime) -> None:
    """The attempts of these tasks were cut off: what they have intended may still come into being until then."""
    if owners:
        conn.execute(
            sql_update(effect)
            .where(
                effect.c.task_id.in_(list(owners)),
                effect.c.state == EffectState.INTENDED.value,
                effect.c.doubtful_until.is_(None),
            )
            .values(doubtful_until=until, updated_at=now)
        )
