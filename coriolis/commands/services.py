# SPDX-License-Identifier: Apache-2.0
"""Services: hosts with workers. A worker makes its own when it first registers; an administrator steers it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands import regions as region_commands
from coriolis.commands.changes import check_unchanged
from coriolis.domain.errors import Conflict
from coriolis.rpc.messages import WORKER, Register
from coriolis.store import processes, regions, services
from coriolis.store.engine import Database
from coriolis.store.site_rows import Service

BINARY = processes.WORKER


@dataclass(frozen=True, kw_only=True)
class NewService:
    """A host of which no worker has registered yet."""

    host: str
    binary: str
    topic: str
    enabled: bool = True
    mapped_regions: tuple[str, ...] = ()


def create(db: Database, new: NewService) -> Service:
    """Makes a service before its first worker registers, so that it is known beforehand what it will serve.

    :raises Conflict: it is there already
    :raises NotFound: a region does not exist
    """

    def use(conn: Connection) -> Service:
        if services.find(conn, new.host, new.binary, new.topic) is not None:
            raise Conflict(f"There is a service {new.binary} for {new.topic} on {new.host} already.", field="host")
        regions.require(conn, new.mapped_regions)
        row = _row(db, new.host, new.binary, new.topic, enabled=new.enabled, mapped=list(new.mapped_regions))
        services.insert(conn, row)
        return row

    return db.write(use)


def update(
    db: Database,
    service_id: str,
    *,
    enabled: bool | None = None,
    mapped_regions: tuple[str, ...] | None = None,
    seen: Service | None = None,
) -> Service:
    """``mapped_regions`` replaces all. A disabled service gets no new work; what runs there goes on.

    :raises NotFound: no such service, or no such region
    :raises Conflict: see ``changes.check_unchanged``
    """

    def use(conn: Connection) -> Service:
        check_unchanged("service", services.get(conn, service_id, hold=True), seen)
        values: dict[str, Any] = {"updated_at": db.utcnow()}
        if enabled is not None:
            values["enabled"] = enabled
        if mapped_regions is not None:
            regions.require(conn, mapped_regions)
            values["mapped_regions"] = list(dict.fromkeys(mapped_regions))
        services.update(conn, service_id, values)
        return services.get(conn, service_id)

    return db.write(use)


def delete(db: Database, service_id: str) -> None:
    """Forgets a service that has no worker.

    :raises NotFound: no such service
    :raises Conflict: a worker of it is connected; it would go on with no service to steer it by
    """

    def use(conn: Connection) -> None:
        services.get(conn, service_id)
        if services.up(conn, [service_id]):
            raise Conflict("A worker of the service is connected. Stop it, or disable the service.")
        services.delete(conn, service_id)

    db.write(use)


def registered(conn: Connection, db: Database, request: Register) -> str:
    """A worker has come: gives the id of its service, which is made if there is none. The regions of its
    configuration count when they are new; otherwise those that an administrator has set do."""
    words = list(request.regions)
    fresh: dict[str, Any] = {
        "providers": request.providers,
        "specs": request.specs,
        "configured_regions": words,
        "registered_at": db.utcnow(),
    }
    known = services.find(conn, request.host, BINARY, WORKER)
    if known is None:
        mapped = region_commands.of_words(conn, db, request.regions)
        row = _row(db, request.host, BINARY, WORKER, enabled=True, mapped=mapped, fresh=fresh)
        services.insert(conn, row)
        return row.id
    if words != known.configured_regions:
        fresh["mapped_regions"] = region_commands.of_words(conn, db, request.regions)
    services.update(conn, known.id, fresh)
    return known.id


def _row(
    db: Database,
    host: str,
    binary: str,
    topic: str,
    *,
    enabled: bool,
    mapped: list[str],
    fresh: Mapping[str, Any] | None = None,
) -> Service:
    never: dict[str, Any] = {"providers": {}, "specs": {}, "configured_regions": [], "registered_at": None}
    return Service(
        id=str(uuid.uuid4()),
        host=host,
        binary=binary,
        topic=topic,
        enabled=enabled,
        mapped_regions=mapped,
        created_at=db.utcnow(),
        updated_at=None,
        **{**never, **(fresh or {})},
    )
