# SPDX-License-Identifier: Apache-2.0
"""Integrity certificates: of a migration's or deployment's latest execution, of any execution of a transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coriolis.api.request import ApiRequest
from coriolis.api.services import Services
from coriolis.api.v1.identifiers import object_id
from coriolis.certificate import signature
from coriolis.commands import certificates as commands
from coriolis.domain.errors import Unavailable
from coriolis.store import actions, executions

Json = Any


def of_migration(request: ApiRequest, services: Services) -> Json:
    return _of_latest(request, services, actions.MIGRATION)


def of_deployment(request: ApiRequest, services: Services) -> Json:
    return _of_latest(request, services, actions.DEPLOYMENT)


def of_execution(request: ApiRequest, services: Services) -> Json:
    transfer_id = object_id(request, "transfer_id", "transfer")
    execution_id = object_id(request, "execution_id", "execution")
    with services.db.reader() as conn:
        job = actions.get(conn, transfer_id, request.caller.scope, actions.TRANSFER)
        run = executions.of_action(conn, job.id, execution_id)
    return {"certificate": commands.issue(services.db, _key(services), job, run)}


def key(request: ApiRequest, services: Services) -> Json:
    """The public one."""
    return {"certificate_key": signature.public(_key(services))}


def _of_latest(request: ApiRequest, services: Services, kind: str) -> Json:
    job_id = object_id(request, f"{kind}_id", kind)
    with services.db.reader() as conn:
        job = actions.get(conn, job_id, request.caller.scope, kind)
        run = executions.latest(conn, [job.id])[job.id]
    return {"certificate": commands.issue(services.db, _key(services), job, run)}


def _key(services: Services) -> Ed25519PrivateKey:
    """:raises Unavailable: there is none"""
    try:
        return signature.load_key(Path(services.settings.certificate_key_file))
    except signature.BadKey as error:
        raise Unavailable(
            f"Certificates cannot be signed: {error}. An administrator makes a key with 'coriolis-manage certificate "
            "create-key'."
        ) from None
