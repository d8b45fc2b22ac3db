# SPDX-License-Identifier: Apache-2.0
"""Queries on regions, and on what is mapped to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from oslo_db import exception as db_exc
from sqlalchemy import Column, Table, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update
from sqlalchemy.engine import Connection

from coriolis.domain.errors import NotFound
from coriolis.store import paging
from coriolis.store.engine import Clash
from coriolis.store.rows import load
from coriolis.store.site_rows import Region
from coriolis.store.site_tables import region, service
from coriolis.store.tables import endpoint

ORDER = paging.Order(
    keys={
        "created_at": region.c.created_at,
        "id": region.c.id,
        "name": region.c.name,
        "enabled": region.c.enabled,
        "updated_at": func.coalesce(region.c.updated_at, region.c.created_at),
    }
)


def insert(conn: Connection, row: Region) -> None:
    """:raises Clash: somebody else made the same one meanwhile"""
    try:
        conn.execute(sql_insert(region), asdict(row))
    except db_exc.DBDuplicateEntry as error:
        raise Clash from error


def get(conn: Connection, region_id: str, *, hold: bool = False) -> Region:
    """``hold``: nobody can map anything to it until the end of the transaction. :raises NotFound:"""
    query = select(region).where(region.c.id == region_id)
    row = conn.execute(query.with_for_update() if hold else query).first()
    if row is None:
        raise NotFound(f"There is no region {region_id}.")
    return load(Region, row)


def page(conn: Connection, wanted: paging.Page) -> list[Region]:
    return [load(Region, row) for row in paging.fetch(conn, select(region), wanted, ORDER)]


def update(conn: Connection, region_id: str, values: Mapping[str, Any]) -> None:
    conn.execute(sql_update(region).where(region.c.id == region_id), dict(values))


def delete(conn: Connection, region_id: str) -> None:
    conn.execute(sql_delete(region).where(region.c.id == region_id))


def require(conn: Connection, region_ids: Iterable[str]) -> None:
    """Holds the regions, so that none of them goes before the end of the transaction.

    :raises NotFound: names one that does not exist
    """
    wanted = list(region_ids)
    if not wanted:
        return
    query = select(region.c.id).where(region.c.id.in_(wanted)).with_for_update(read=True)
    known = set(conn.execute(query).scalars())
    missing = next((one for one in wanted if one not in known), None)
    if missing is not None:
        raise NotFound(f"There is no region {missing}.", field="mapped_regions")


def named(conn: Connection, words: Collection[str]) -> dict[str, str]:
    """Of these names and ids those that exist: word to id. Of several regions with one name the oldest."""
    query = (
        select(region.c.id, region.c.name)
        .where(or_(region.c.id.in_(list(words)), region.c.name.in_(list(words))))
        .order_by(region.c.created_at.desc(), region.c.id.desc())
    )
    found: dict[str, str] = {}
    for row in conn.execute(query):
        found[row.name] = row.id
        found[row.id] = row.id
    return {word: found[word] for word in words if word in found}


def disabled(conn: Connection) -> set[str]:
    """Ids of the regions where no work may be placed. One statement."""
    return set(conn.execute(select(region.c.id).where(region.c.enabled.is_(False))).scalars())


def open_sets(conn: Connection, mapped: Sequence[Collection[str]]) -> list[frozenset[str]]:
    """For each set of region ids those that are enabled; sets that were empty, which means anywhere, are left out.
    An empty set in the answer means nowhere. At most one statement."""
    named_sets = [frozenset(one) for one in mapped if one]
    closed = disabled(conn) if named_sets else set()
    return [one - closed for one in named_sets]


def mapped_to(conn: Connection, region_ids: Collection[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Ids of the listed endpoints and of the services that are mapped to each of these regions. Two statements."""
    rows = _mappings(conn, endpoint, endpoint.c.id, endpoint.c.hidden.is_(False))
    return _inverted(rows, region_ids), _inverted(_mappings(conn, service, service.c.id), region_ids)


def _mappings(conn: Connection, table: Table, key: Column[str], *more: Any) -> list[tuple[str, list[str]]]:
    query = select(key, table.c.mapped_regions).where(table.c.mapped_regions != [], *more)
    return [(row[0], row[1]) for row in conn.execute(query.order_by(table.c.created_at, key))]


def _inverted(rows: Iterable[tuple[str, list[str]]], region_ids: Collection[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {region_id: [] for region_id in region_ids}
    for key, mapped in rows:
        for region_id in mapped:
            if region_id in found:
                found[region_id].append(key)
    return found
