# SPDX-License-Identifier: Apache-2.0
"""Brings two workers together whose sites do not reach each other's platforms, and certifies who they are."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Sequence

from sqlalchemy.engine import Connection

from coriolis.commands import assign
from coriolis.domain.capabilities import Capability
from coriolis.domain.errors import CoriolisError
from coriolis.rpc.bus import Bus
from coriolis.rpc.messages import (
    WORKER,
    Certified,
    Certify,
    Error,
    Export,
    Exported,
    SourceOpen,
    SourceOpened,
)
from coriolis.runtime import certificates
from coriolis.runtime.certificates import Authority
from coriolis.store import fence, sessions, tasks
from coriolis.store.engine import Database
from coriolis.store.fence import Owner
from coriolis.store.rows import Session

LOG = logging.getLogger(__name__)

_SECONDS = 5.0  # for the exporter's answer, which is never long in coming


def certify(db: Database, authority: Authority | None, request: Certify) -> Certified:
    """A certificate under the name of a live session, and no other one. :raises Invalid: the request is damaged"""
    session = db.read(sessions.get, request.session_id)
    if authority is None or session is None or session.state != sessions.LIVE:
        return Certified()
    name = f"{session.id}.worker"
    now = dt.datetime.now(dt.UTC)
    made = certificates.sign(authority, request.request, [name], now=now)
    LOG.info("Certified the session %s of %s for links to other workers", session.id, session.host)
    return Certified(name=name, certificate=made, authority=authority.pem)


def open_source(db: Database, bus: Bus, request: SourceOpen) -> SourceOpened:
    """Asks a worker that reaches the source to export the disk. It is always the same one while it lives, so that
    asking again finds the same export."""
    found = db.read(_found, request)
    if found is None:
        return SourceOpened(accepted=False)
    export, exporters = found
    if not exporters:
        message = f"No live worker reaches the source ({export.source.type}); the copy goes on when one is there."
        return SourceOpened(accepted=True, error=Error(code="provider.unavailable", message=message, retryable=True))
    chosen = min(exporters, key=lambda one: hashlib.sha256(f"{export.task_id}:{one.id}".encode()).digest())
    try:
        reply: Exported = bus.call(WORKER, export, server=chosen.id, timeout=_SECONDS)
    except CoriolisError as error:
        LOG.info("The export for task %s is not answered yet: %s", export.task_id, error.message)
        return SourceOpened(accepted=True)
    return SourceOpened(accepted=True, source=reply.source, error=reply.error)


def _found(conn: Connection, request: SourceOpen) -> tuple[Export, Sequence[Session]] | None:
    """What is to be exported, and by whom it can be; None: the one who asks does not own the task."""
    attempt = request.attempt
    row = tasks.by_id(conn, [attempt.task_id]).get(attempt.task_id)
    owner = Owner(attempt.task_id, attempt.epoch, attempt.session_id)
    if row is None or not fence.owns(row[0], owner):
        return None
    shared = assign.background(conn, {row[0].execution_id})
    run = shared.runs[row[0].execution_id]
    account = shared.accounts[shared.job(run.id).origin_endpoint_id]
    export = Export(
        task_id=attempt.task_id,
        epoch=attempt.epoch,
        item=request.item,
        snapshot=request.snapshot,
        source=assign.account(account, shared.trust(run.id)),
        peer=request.peer,
        request_id=run.request_id,
    )
    exporters = [
        one
        for one in sessions.live(conn)
        if Capability.READ_BLOCKS in one.providers.get(account.type, ())
        and (not account.mapped_regions or not one.regions or set(account.mapped_regions) & set(one.regions))
    ]
    return export, exporters
