# SPDX-License-Identifier: Apache-2.0
"""Key-set pages: ``WHERE (keys) after the marker's``, so that a page costs the same however far down it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.engine import Connection, Row

from coriolis.domain.errors import Invalid

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_NOWHERE = -1  # no row has this number

ASCENDING = "asc"
DESCENDING = "desc"


@dataclass(frozen=True, kw_only=True)
class Page:
    """What part of a list is wanted. ``limit`` None means all.

    Fewer directions than keys: the first one is used for the rest. No direction: newest or largest first.
    """

    marker: str | None = None
    limit: int | None = None
    sort_keys: tuple[str, ...] = ()
    sort_dirs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Order:
    """How a table may be sorted. The expressions never give NULL; ``unique`` ends every order, so that it is total."""

    keys: Mapping[str, ColumnElement[Any]]
    default: tuple[str, ...] = ("created_at", "id")
    default_direction: str = DESCENDING
    unique: str = "id"


def sorting(page: Page, order: Order) -> list[tuple[str, str]]:
    """The (key, direction) pairs of a page, the implied ones included.

    :raises Invalid: unknown key or direction, or more directions than keys
    """
    asked = page.sort_keys or order.default
    for key in asked:
        if key not in order.keys:
            raise Invalid(f"Unknown sort_key '{key}'. Use one of: {', '.join(sorted(order.keys))}.", field="sort_key")
    for direction in page.sort_dirs:
        if direction not in (ASCENDING, DESCENDING):
            raise Invalid(f"Unknown sort_dir '{direction}'. Use asc or desc.", field="sort_dir")
    if page.sort_keys and len(page.sort_dirs) > len(asked):
        raise Invalid("There are more sort_dir than sort_key parameters.", field="sort_dir")
    first = page.sort_dirs[0] if page.sort_dirs else order.default_direction
    directions = list(page.sort_dirs[: len(asked)])
    directions += [first] * (len(asked) - len(directions))
    pairs = dict(zip(asked, directions, strict=True))
    for key in (*order.default, order.unique):
        pairs.setdefault(key, first)
    return list(pairs.items())


def fetch(conn: Connection, query: Select[Any], page: Page, order: Order) -> Sequence[Row[Any]]:
    """The rows of ``query`` (which has no order of its own) on this page. Two statements with a marker, else one. A
    marker that is not in the list is ignored, as the wire contract has it: the page is the first one.

    :raises Invalid: the limit is negative, or see ``sorting``
    """
    pairs = sorting(page, order)
    if page.limit is not None and page.limit < 0:
        raise Invalid("The limit must not be negative.", field="limit")
    if page.marker is not None:
        marked = query.with_only_columns(*(order.keys[key] for key, _ in pairs))
        found = conn.execute(marked.where(order.keys[order.unique] == _typed(order, page.marker))).first()
        if found is not None:
            query = query.where(_after(pairs, tuple(found), order))
    for key, direction in pairs:
        column = order.keys[key]
        query = query.order_by(column.asc() if direction == ASCENDING else column.desc())
    if page.limit is not None:
        query = query.limit(page.limit)
    return conn.execute(query).all()


def _typed(order: Order, marker: str) -> Any:
    if order.keys[order.unique].type.python_type is not int:
        return marker
    return int(marker) if _NUMBER.fullmatch(marker) else _NOWHERE


def _after(pairs: list[tuple[str, str]], values: tuple[Any, ...], order: Order) -> ColumnElement[bool]:
    """``k1 > v1 or (k1 = v1 and (k2 > v2 or ...))``, with a plain bound on the first key that an index can use."""
    result: ColumnElement[bool] | None = None
    for (key, direction), value in reversed(list(zip(pairs, values, strict=True))):
        column = order.keys[key]
        beyond = column > value if direction == ASCENDING else column < value
        result = beyond if result is None else or_(beyond, and_(column == value, result))
    assert result is not None
    key, direction = pairs[0]
    bound = order.keys[key] >= values[0] if direction == ASCENDING else order.keys[key] <= values[0]
    return and_(bound, result)
