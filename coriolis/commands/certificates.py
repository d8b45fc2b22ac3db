# SPDX-License-Identifier: Apache-2.0
"""Issues the certificate of an execution: signed once, and kept with it."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import Connection

from coriolis.certificate import document, signature
from coriolis.domain.errors import InvalidState, NotFound
from coriolis.domain.model import ExecutionState
from coriolis.domain.states import FINAL_EXECUTION_STATES
from coriolis.store import certificates, endpoints, executions, outputs
from coriolis.store.engine import Database
from coriolis.store.rows import Action, Execution

Json = Any


def issue(db: Database, key: Ed25519PrivateKey, job: Action, run: Execution) -> Json:
    """The signed document of the instances that completed.

    :raises InvalidState: the execution is not over, or nothing of it completed
    :raises NotFound: it moved no disks
    """
    known = db.read(certificates.get, run.id)
    return known if known is not None else db.write(_issue, db, key, job, run)


def _issue(conn: Connection, db: Database, key: Ed25519PrivateKey, job: Action, run: Execution) -> Json:
    known = certificates.get(conn, run.id)
    if known is not None:
        return known
    if run.state not in FINAL_EXECUTION_STATES:
        raise InvalidState(f"The execution is {run.state}. Its certificate is there when it is over.")
    done = [one for one in executions.instances_of(conn, [run.id])[run.id] if one.state == ExecutionState.COMPLETED]
    if not done:
        raise InvalidState("No instance of the execution completed, so there is nothing to certify.")
    given = outputs.of_instances(conn, [(run.id, one.position) for one in done])
    machines = [
        document.Machine(name=one.instance, outputs=given[(run.id, one.position)], result=one.result) for one in done
    ]
    now = db.utcnow()
    told = document.build(_facts(conn, job, run), machines, now)
    if told is None:
        raise NotFound("The execution moved no disks, so it has no certificate.")
    signed = signature.sign(told, key)
    certificates.keep(conn, run.id, signed, now)
    return signed


def _facts(conn: Connection, job: Action, run: Execution) -> document.Run:
    ends = endpoints.find(conn, [job.origin_endpoint_id, job.destination_endpoint_id], None)
    return document.Run(
        execution_id=run.id,
        type=run.type,
        job_id=job.id,
        job_kind=job.kind,
        project_id=job.project_id,
        source_type=ends[job.origin_endpoint_id].type,
        destination_type=ends[job.destination_endpoint_id].type,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )
