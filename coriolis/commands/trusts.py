# SPDX-License-Identifier: Apache-2.0
"""Trusts from the first to the last: a line in the database before Keystone is asked, and none in Keystone after the
last work that needs it, whatever crashed in between.

The trustee must be a user of this installation alone: what Keystone has of it and no line knows is taken for the
leftover of a crash.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from coriolis.commands.caller import Caller
from coriolis.domain.errors import Forbidden, Unavailable
from coriolis.runtime.trusts import Trusts
from coriolis.store import trusts
from coriolis.store.engine import Database
from coriolis.store.standing_rows import Trust

LOG = logging.getLogger(__name__)

# A request that has asked for a trust stores its job, or gives up, within this time.
GRACE = dt.timedelta(minutes=15)
CHUNK = 50


def grant(db: Database, keystone: Trusts, caller: Caller, *, token: str, roles: Sequence[str]) -> str:
    """Asks Keystone for the caller's leave; gives our id of it.

    :raises Forbidden: Keystone refuses. :raises Unavailable: Keystone, or the database, does not answer
    """
    now = db.utcnow()
    expires_at = None if keystone.lifetime is None else now + keystone.lifetime
    row = Trust(
        id=str(uuid.uuid4()),
        keystone_id=None,
        project_id=caller.project_id,
        user_id=caller.user_id,
        expires_at=expires_at,
        created_at=now,
    )
    db.write(trusts.insert, row)
    try:
        keystone_id = keystone.create(
            token=token, user_id=caller.user_id, project_id=caller.project_id, roles=roles, expires_at=expires_at
        )
    except Forbidden:
        db.write(trusts.delete, row.id)
        raise
    db.write(trusts.made, row.id, keystone_id)
    return row.id


def release(db: Database, keystone: Trusts, trust_id: str) -> None:
    """Ends a trust that nothing came to use. What does not work now the sweep does later."""
    try:
        known = db.read(trusts.keystone_ids, [trust_id])
        if trust_id in known:
            keystone.delete(known[trust_id])
            db.write(trusts.delete, trust_id)
    except Unavailable as error:
        LOG.warning("The trust %s is ended later: %s", trust_id, error.message)


def sweep(db: Database, keystone: Trusts) -> int:
    """Ends trusts whose work is over; gives how many. :raises Unavailable: Keystone does not answer"""
    ended = 0
    for row in db.read(trusts.unneeded, db.utcnow() - GRACE, CHUNK):
        if row.keystone_id is not None:
            keystone.delete(row.keystone_id)
        elif not _settle(db, keystone, row):
            continue
        db.write(trusts.delete, row.id)
        ended += 1
    return ended


def _settle(db: Database, keystone: Trusts, row: Trust) -> bool:
    """Finds and ends what Keystone may have made for a request that never got its answer. False: it cannot be told
    yet, since another request of the same user is under way."""
    young = db.utcnow() - GRACE

    def look(conn: Connection) -> list[Trust]:
        return trusts.of(conn, row.user_id, row.project_id)

    there = keystone.given_by(row.user_id, row.project_id)  # before our lines: what is made later is not in it
    known = db.read(look)
    if any(one.keystone_id is None and one.created_at >= young for one in known):
        return False
    for keystone_id in set(there) - {one.keystone_id for one in known}:
        LOG.warning("The trust %s in Keystone was left by a crash; it is ended", keystone_id)
        keystone.delete(keystone_id)
    return True
