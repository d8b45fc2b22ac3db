# SPDX-License-Identifier: Apache-2.0
"""Create, change and delete endpoints."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from coriolis.commands.caller import Caller
from coriolis.domain.errors import Conflict, Forbidden, Invalid
from coriolis.store import endpoints, idempotency, purge, regions
from coriolis.store.engine import Database
from coriolis.store.rows import Endpoint

CHANGEABLE = frozenset({"name", "description", "sealed", "secret_ref", "mapped_regions"})


@dataclass(frozen=True, kw_only=True)
class NewEndpoint:
    """What an endpoint is made of. One of ``sealed`` (``runtime.secrets``) and ``secret_ref`` (Barbican) is set."""

    name: str
    type: str
    sealed: str | None = None
    secret_ref: str | None = None
    description: str = ""
    mapped_regions: tuple[str, ...] = ()


def create(
    db: Database,
    caller: Caller,
    new: NewEndpoint,
    *,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> Endpoint:
    """Stores an endpoint. The same key again gives the same endpoint.

    :raises Conflict: the key was used with another request
    :raises NotFound: a region does not exist
    """
    made = uuid.uuid4()

    def use(conn: Connection) -> Endpoint:
        known = idempotency.claim(conn, caller.project_id, idempotency_key, request_hash, str(made), db.utcnow())
        if known is not None:
            return endpoints.get(conn, known, caller.scope)
        regions.require(conn, new.mapped_regions)
        row = row_of(db, caller, new, str(made))
        endpoints.insert(conn, row)
        return row

    return db.write(use)


def row_of(db: Database, caller: Caller, new: NewEndpoint, key: str, *, hidden: bool = False) -> Endpoint:
    """The row, not stored. :raises Invalid: it has both kinds of secret, or none"""
    if (new.sealed is None) == (new.secret_ref is None):
        raise Invalid("Give either connection_info or a secret reference.", field="connection_info")
    return Endpoint(
        id=key,
        project_id=caller.project_id,
        user_id=caller.user_id,
        name=new.name,
        type=new.type,
        description=new.description,
        sealed=new.sealed,
        secret_ref=new.secret_ref,
        mapped_regions=list(new.mapped_regions),
        hidden=hidden,
        created_at=db.utcnow(),
        updated_at=None,
    )


def update(db: Database, caller: Caller, seen: Endpoint, changes: Mapping[str, Any]) -> Endpoint:
    """Changes the fields of ``CHANGEABLE``; setting one of sealed and secret_ref clears the other. ``seen``: as it was
    when the changes were made up: a secret that they keep is the one that it had then.

    :raises Invalid: a field that cannot be changed
    :raises NotFound: no such endpoint in the caller's project, or no such region
    :raises Conflict: somebody else has changed it meanwhile
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise Invalid(f"An endpoint's {name} cannot be changed; make a new endpoint.", field=name)
    values = dict(changes)
    if values.get("sealed") is not None:
        values["secret_ref"] = None
    elif values.get("secret_ref") is not None:
        values["sealed"] = None

    def use(conn: Connection) -> Endpoint:
        endpoints.get(conn, seen.id, caller.scope)
        regions.require(conn, values.get("mapped_regions") or ())
        if not endpoints.update(conn, seen, {**values, "updated_at": db.utcnow()}):
            raise Conflict("The endpoint was changed at the same moment. Look at it, and send your change again.")
        return endpoints.get(conn, seen.id, caller.scope)

    return db.write(use)


def delete(db: Database, caller: Caller, endpoint_id: str) -> None:
    """Removes an endpoint that no migration refers to.

    :raises Forbidden: a migration uses it
    :raises NotFound: no such endpoint in the caller's project
    """

    def use(conn: Connection) -> None:
        endpoints.get(conn, endpoint_id, caller.scope)
        user = endpoints.user_of(conn, endpoint_id)
        if user is not None:
            raise Forbidden(f"The endpoint is used by {user.replace('_', ' ')}. Delete that first.")
        purge.actions(conn, endpoints.jobs_of(conn, endpoint_id))  # deleted ones: nobody else refers to it
        endpoints.delete(conn, [endpoint_id])

    db.write(use)
