# SPDX-License-Identifier: Apache-2.0
"""Create, change and delete bandwidth budgets. They belong to the operator, not to a project."""

from __future__ import annotations

import dataclasses
import uuid
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands.changes import check_unchanged
from coriolis.domain.bandwidth import DAYS, TARGETS, Budget, Limit, Scope, Window
from coriolis.domain.errors import Invalid, NotFound
from coriolis.store import bandwidth_budgets
from coriolis.store.engine import Database
from coriolis.store.rows import BandwidthBudget

Json = Any


@dataclass(frozen=True, kw_only=True)
class NewBudget:
    """What a budget is made of; ``windows`` as on the wire."""

    name: str
    scope: str
    target: dict[str, str]
    description: str = ""
    enabled: bool = True
    bytes_per_second: int | None = None
    streams: int | None = None
    backoff_factor: float | None = None
    time_zone: str = "UTC"
    windows: list[dict[str, Json]] = field(default_factory=list)


CHANGEABLE = frozenset(one.name for one in dataclasses.fields(NewBudget)) - {"scope"}


def create(db: Database, new: NewBudget) -> BandwidthBudget:
    """:raises Invalid: a target that does not fit the scope, an unknown time zone, or nothing that is limited"""
    values = dataclasses.asdict(new)
    row = BandwidthBudget(id=str(uuid.uuid4()), created_at=db.utcnow(), updated_at=None, **values)
    check(row)

    def use(conn: Connection) -> BandwidthBudget:
        bandwidth_budgets.insert(conn, row)
        return row

    return db.write(use)


def update(
    db: Database, budget_id: str, changes: Mapping[str, Json], *, seen: BandwidthBudget | None = None
) -> BandwidthBudget:
    """Changes the fields of ``CHANGEABLE``; running copies feel it with their workers' next syncs.

    :raises Invalid: a field that cannot be changed, or see ``create``
    :raises NotFound: no such budget
    :raises Conflict: see ``changes.check_unchanged``
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise Invalid(f"A budget's {name} cannot be changed; make a new budget.", field=f"bandwidth_budget.{name}")

    def use(conn: Connection) -> BandwidthBudget:
        row = bandwidth_budgets.get(conn, budget_id, hold=True)
        check_unchanged("bandwidth budget", row, seen)
        changed = dataclasses.replace(row, **changes, updated_at=db.utcnow())
        check(changed)
        bandwidth_budgets.update(conn, budget_id, {**changes, "updated_at": changed.updated_at})
        return changed

    return db.write(use)


def delete(db: Database, budget_id: str) -> None:
    """:raises NotFound: no such budget"""
    if not db.write(bandwidth_budgets.delete, budget_id):
        raise NotFound(f"There is no bandwidth budget {budget_id}.")


def check(row: BandwidthBudget) -> None:
    """:raises Invalid: names the field and the cure"""
    needed, optional = TARGETS[Scope(row.scope)]
    known = (*needed, *optional)
    for name in row.target:
        if name not in known:
            raise _invalid("target", f"a {row.scope} is named by {' and '.join(known)}, not by {name}")
    for name in needed or known:
        if not needed and row.target:
            break
        if not row.target.get(name):
            raise _invalid("target", f"name the {row.scope} by {' and '.join(needed) or ' or '.join(known)}")
    try:
        zoneinfo.ZoneInfo(row.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise _invalid(
            "time_zone", f"'{row.time_zone}' is no time zone; give an IANA name like Europe/Berlin"
        ) from None
    limits = [
        (row.bytes_per_second, row.streams),
        *((w.get("bytes_per_second"), w.get("streams")) for w in row.windows),
    ]
    if row.backoff_factor is None and all(limit == (None, None) for limit in limits):
        raise _invalid(
            "bytes_per_second", "the budget limits nothing: give bytes_per_second, streams or backoff_factor"
        )


def _invalid(name: str, words: str) -> Invalid:
    return Invalid(f"{name}: {words}.", field=f"bandwidth_budget.{name}")


def rule(row: BandwidthBudget) -> Budget:
    """The budget as the rules speak about it."""
    return Budget(
        id=row.id,
        scope=Scope(row.scope),
        target=row.target,
        limit=Limit(bytes_per_second=row.bytes_per_second, streams=row.streams),
        windows=tuple(_window(one) for one in row.windows),
        time_zone=row.time_zone,
        backoff=row.backoff_factor,
    )


def _window(data: Mapping[str, Json]) -> Window:
    days: Sequence[str] = data.get("days") or DAYS
    return Window(
        days=frozenset(DAYS.index(day) for day in days),
        start=_minutes(data["start"]),
        end=_minutes(data["end"]),
        limit=Limit(bytes_per_second=data.get("bytes_per_second"), streams=data.get("streams")),
    )


def _minutes(text: str) -> int:
    """``HH:MM`` of a schema that has checked it; 24:00 is midnight."""
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) % (24 * 60)
