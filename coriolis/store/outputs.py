# SPDX-License-Identifier: Apache-2.0
"""Queries on task outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, insert, or_, select, tuple_
from sqlalchemy.engine import Connection

from coriolis.domain.errors import Invalid
from coriolis.store.tables import task_output

LIMIT = 65536  # bytes of JSON

Key = tuple[str, int]


def check_size(name: str, value: Any) -> None:
    """:raises Invalid: the value is too large to be handed on between tasks"""
    size = len(json.dumps(value, separators=(",", ":")).encode())
    if size > LIMIT:
        raise Invalid(f"The output '{name}' has {size} bytes; {LIMIT} are allowed.")


def store(conn: Connection, given: Sequence[tuple[Key, str, Mapping[str, Any]]]) -> None:
    """Adds outputs: (instance, task id, stored name to value). One statement."""
    values = [
        {
            "execution_id": key[0],
            "position": key[1],
            "name": name,
            "whole": name.split("/", 1)[0],
            "task_id": task_id,
            "value": value,
        }
        for key, task_id, named in given
        for name, value in named.items()
    ]
    if values:
        conn.execute(insert(task_output), values)


def fetch(conn: Connection, wanted: Mapping[Key, Iterable[str]]) -> dict[Key, dict[str, Any]]:
    """For each instance, the outputs of these names; a name without an item gives those of all items. One statement."""
    found: dict[Key, dict[str, Any]] = {key: {} for key in wanted}
    names = sorted({name for taken in wanted.values() for name in taken})
    if not names:
        return found
    here = tuple_(task_output.c.execution_id, task_output.c.position).in_(list(wanted))
    query = select(task_output).where(and_(here, or_(task_output.c.name.in_(names), task_output.c.whole.in_(names))))
    for row in conn.execute(query):
        found[(row.execution_id, row.position)][row.name] = row.value
    return found


def of_instances(conn: Connection, keys: Sequence[Key]) -> dict[Key, dict[str, Any]]:
    """All outputs of these instances. One statement."""
    found: dict[Key, dict[str, Any]] = {key: {} for key in keys}
    if keys:
        here = tuple_(task_output.c.execution_id, task_output.c.position).in_(list(keys))
        for row in conn.execute(select(task_output).where(here)):
            found[(row.execution_id, row.position)][row.name] = row.value
    return found
