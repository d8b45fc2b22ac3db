# SPDX-License-Identifier: Apache-2.0
"""Whether there is news of executions: one look at many of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection

from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store.tables import event, execution


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """Differs when there is anything new. ``newest``: id of the latest event, 0 without any."""

    newest: int
    state: str
    message: str | None
    percent: int
    bytes_done: int
    bytes_total: int

    @property
    def is_over(self) -> bool:
        return self.state in FINAL_EXECUTION_STATES


_NEWEST = select(func.max(event.c.id)).where(event.c.execution_id == execution.c.id).scalar_subquery()
_PULSES = select(
    execution.c.id,
    func.coalesce(_NEWEST, 0).label("newest"),
    execution.c.state,
    execution.c.message,
    execution.c.percent,
    execution.c.bytes_done,
    execution.c.bytes_total,
).where(execution.c.id.in_(bindparam("ids", expanding=True)))


def of_executions(conn: Connection, execution_ids: Collection[str]) -> dict[str, Pulse]:
    """One statement; an execution that is gone has none."""
    rows = conn.execute(_PULSES, {"ids": sorted(execution_ids)}).mappings()
    return {row["id"]: Pulse(**{name: row[name] for name in row if name != "id"}) for row in rows}
