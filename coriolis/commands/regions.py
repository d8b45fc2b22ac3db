# SPDX-License-Identifier: Apache-2.0
"""Create, change and delete regions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands.caller import Caller
from coriolis.commands.changes import check_unchanged
from coriolis.domain.errors import Conflict
from coriolis.store import idempotency, regions
from coriolis.store.engine import Database
from coriolis.store.site_rows import Region

CHANGEABLE = frozenset({"name", "description", "enabled"})
# Regions that workers name and nobody made: the same id, whichever conductor is first.
_NAMESPACE = uuid.UUID("6c0a3a52-4d1e-5b1c-9f0e-3f8f9c6f7a10")


def create(
    db: Database,
    caller: Caller,
    *,
    name: str,
    description: str = "",
    enabled: bool = True,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Region:
    """The same key again gives the same region. :raises Conflict: the key was used with another request"""
    made = str(uuid.uuid4())

    def use(conn: Connection) -> Region:
        now = db.utcnow()
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, made, now)
        if known is not None:
            return regions.get(conn, known)
        row = Region(id=made, name=name, description=description, enabled=enabled, created_at=now, updated_at=None)
        regions.insert(conn, row)
        return row

    return db.write(use)


def update(db: Database, region_id: str, changes: Mapping[str, Any], *, seen: Region | None = None) -> Region:
    """Changes fields of ``CHANGEABLE``. In a disabled region no work is placed; what runs there goes on.

    :raises NotFound: no such region
    :raises Conflict: see ``changes.check_unchanged``
    """

    def use(conn: Connection) -> Region:
        check_unchanged("region", regions.get(conn, region_id, hold=True), seen)
        values = {name: value for name, value in changes.items() if name in CHANGEABLE}
        regions.update(conn, region_id, {**values, "updated_at": db.utcnow()})
        return regions.get(conn, region_id)

    return db.write(use)


def delete(db: Database, region_id: str) -> None:
    """Removes a region to which nothing is mapped: an endpoint without its last region would be served from anywhere.

    :raises NotFound: no such region
    :raises Conflict: an endpoint or a service is mapped to it
    """

    def use(conn: Connection) -> None:
        regions.get(conn, region_id, hold=True)
        endpoints, services = regions.mapped_to(conn, [region_id])
        for noun, found in (("endpoint", endpoints[region_id]), ("service", services[region_id])):
            if found:
                raise Conflict(f"The {noun} {found[0]} is mapped to the region. Take the region off it first.")
        regions.delete(conn, region_id)

    db.write(use)


def of_words(conn: Connection, db: Database, words: tuple[str, ...]) -> list[str]:
    """The ids of regions that a worker's configuration names, by name or id. What does not exist is made, so that a
    new site needs nothing but its workers' configuration."""
    if not words:
        return []
    known = regions.named(conn, words)
    for word in words:
        if word not in known:
            known[word] = _invented(conn, db, word)
    return list(dict.fromkeys(known[word] for word in words))


def _invented(conn: Connection, db: Database, word: str) -> str:
    key = str(uuid.uuid5(_NAMESPACE, word))
    row = Region(
        id=key,
        name=word,
        description="Named in the configuration of a worker",
        enabled=True,
        created_at=db.utcnow(),
        updated_at=None,
    )
    regions.insert(conn, row)
    return key
