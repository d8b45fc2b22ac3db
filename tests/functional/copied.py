# SPDX-License-Identifier: Apache-2.0
"""A run whose disks were copied, as workers and a conductor leave it; and a key to sign its certificate with."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coriolis.store import executions, outputs, tasks
from coriolis.store.engine import Database

ROOT = "5b" * 32


def make_key(path: Path) -> Path:
    """The same in each run, so that the reference's samples stay as they are."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(text)
    return path


def copy_disks(db: Database, action_id: str, *, mode: str = "full") -> str:
    """Stores what the tasks of the latest run gave, and completes its instances. Gives the execution's id."""
    with db.writer() as conn:
        run = executions.latest(conn, [action_id])[action_id]
        task = tasks.of_executions(conn, [run.id])[run.id][0].id
        line = {
            "number": 1,
            "mode": "full",
            "started_at": "2026-11-21T10:00:00.000Z",
            "finished_at": "2026-11-21T10:00:31.500Z",
            "milliseconds": 31500,
            "bytes_read": 3 << 30,
            "bytes_written": 3 << 30,
            "source_snapshot": "snapshot-1",
            "digest": ROOT,
        }
        copied = {"digest": ROOT, "size": 8 << 30, "volume": "volume-1", "rounds": [line]}
        given = {"digest@1/disk-0": copied, "verified@1/disk-0": {"mode": mode, "digest": ROOT}}
        outputs.store(conn, [((run.id, 0), task, given)])
        values = {"state": "COMPLETED", "result": {"id": "vm-7", "name": "web1"}, "finished_at": db.utcnow()}
        shared = {"message": None, "percent": 100, "started_at": db.utcnow()}
        executions.update_instances(conn, [{"b_id": run.id, "b_position": 0, **values, **shared}])
        executions.update(conn, [{"b_id": run.id, "state": "COMPLETED", "finished_at": db.utcnow()}])
    return run.id
