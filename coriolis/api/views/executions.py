# SPDX-License-Identifier: Apache-2.0
"""Executions of transfers on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.api.views.timestamps import stamps, text
from coriolis.domain.model import ExecutionState
from coriolis.store.rows import Execution

Json = Any


_WORDS = {
    ExecutionState.PENDING.value: ExecutionState.RUNNING.value,  # accepted, whether or not its graph is stored already
    ExecutionState.UNEXECUTED.value: ExecutionState.PENDING.value,  # waits for another execution
}


def status(row: Execution) -> str:
    """The state in the caller's words."""
    return status_of(row.type, row.state)


def status_of(kind: str, state: str) -> str:
    """``kind``: type of the execution. A migration is PENDING on the wire, too."""
    return state if kind == "migration" else shown_as(state)


def shown_as(state: str) -> str:
    """The word of the wire for an execution of a transfer or a deployment."""
    return _WORDS.get(state, state)


def execution(row: Execution, tasks: Sequence[Json]) -> dict[str, Json]:
    return {
        "id": row.id,
        "action_id": row.action_id,
        "number": row.number,
        "type": row.type,
        "status": status(row),
        "message": row.message,
        "percent": row.percent,
        "bytes_done": row.bytes_done,
        "bytes_total": row.bytes_total,
        "shutdown_instances": row.shutdown_instances,
        "auto_deploy": row.auto_deploy,
        "started_at": text(row.started_at),
        "finished_at": text(row.finished_at),
        "tasks": list(tasks),
        **stamps(row.created_at, row.updated_at),
    }
