# SPDX-License-Identifier: Apache-2.0
"""Queries on progress: one row per item of a task, overwritten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select, tuple_
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.store import paging
from coriolis.store.events import shorten
from coriolis.store.rows import Progress, load
from coriolis.store.tables import progress, task

ORDER = paging.Order(
    keys={"index": progress.c.index, "item": progress.c.item},
    default=("index",),
    default_direction=paging.ASCENDING,
    unique="item",
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an attempt says of one item."""

    item: str
    done: int = 0
    total: int = 0
    message: str = ""


def store(conn: Connection, reports: Mapping[str, Sequence[Report]], now: dt.datetime) -> None:
    """Overwrites or adds the items of these tasks. At most three statements for any number.

    The caller holds the task rows (``fence.hold``), so nobody else adds items meanwhile.
    """
    reports = {task_id: items for task_id, items in reports.items() if items}
    if not reports:
        return
    known: dict[str, set[str]] = {task_id: set() for task_id in reports}
    query = select(progress.c.task_id, progress.c.item).where(progress.c.task_id.in_(list(reports)))
    for row in conn.execute(query):
        known[row.task_id].add(row.item)
    changed, added = [], []
    for task_id, items in reports.items():
        count = len(known[task_id])
        for one in {report.item: report for report in items}.values():
            values = {"done": one.done, "total": one.total, "message": shorten(one.message), "updated_at": now}
            if one.item in known[task_id]:
                changed.append({"b_task": task_id, "b_item": one.item, **values})
            else:
                added.append({"task_id": task_id, "item": one.item, "index": count, "created_at": now, **values})
                count += 1
    if changed:
        conn.execute(_UPDATE, changed)
    if added:
        conn.execute(sql_insert(progress), added)


_UPDATE = (
    sql_update(progress)
    .where(progress.c.task_id == bindparam("b_task"), progress.c.item == bindparam("b_item"))
    .values({name: bindparam(name) for name in ("done", "total", "message", "updated_at")})
)


_OF_TASKS = select(progress).where(progress.c.task_id.in_(bindparam("ids", expanding=True))).order_by(progress.c.index)


def page(conn: Connection, task_id: str, wanted: paging.Page) -> list[Progress]:
    """The items of a task, in order of appearance unless asked otherwise. A marker is an item."""
    query = select(progress).where(progress.c.task_id == task_id)
    return [load(Progress, row) for row in paging.fetch(conn, query, wanted, ORDER)]


def of_tasks(conn: Connection, task_ids: Sequence[str]) -> dict[str, list[Progress]]:
    """The items of these tasks, in order of appearance."""
    found: dict[str, list[Progress]] = {task_id: [] for task_id in task_ids}
    if task_ids:
        for row in conn.execute(_OF_TASKS, {"ids": list(task_ids)}):
            found[row.task_id].append(load(Progress, row))
    return found


def of_execution(conn: Connection, execution_id: str) -> dict[str, list[Progress]]:
    """The items of all tasks of an execution, in order of appearance. One statement, of a length that does not depend
    on the number of tasks; tasks without items are left out."""
    query = (
        select(progress)
        .join(task, task.c.id == progress.c.task_id)
        .where(task.c.execution_id == execution_id)
        .order_by(progress.c.index)
    )
    found: dict[str, list[Progress]] = {}
    for row in conn.execute(query):
        found.setdefault(row.task_id, []).append(load(Progress, row))
    return found


def bytes_of(
    conn: Connection, instances: Sequence[tuple[str, int]], kinds: Sequence[str]
) -> dict[tuple[str, int], tuple[int, int]]:
    """(done, total) over all items of tasks of these kinds, by (execution, position)."""
    query = (
        select(
            task.c.execution_id,
            task.c.position,
            func.coalesce(func.sum(progress.c.done), 0),
            func.coalesce(func.sum(progress.c.total), 0),
        )
        .select_from(task.join(progress, progress.c.task_id == task.c.id))
        .where(tuple_(task.c.execution_id, task.c.position).in_(list(instances)), task.c.kind.in_(list(kinds)))
        .group_by(task.c.execution_id, task.c.position)
    )
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in conn.execute(query)}
