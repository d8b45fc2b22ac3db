# SPDX-License-Identifier: Apache-2.0
"""Migrations on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.jobs import job
from coriolis.store.rows import Action

Json = Any


def migration(row: Action) -> dict[str, Json]:
    """One line of a list; ``tasks`` are added by whoever shows a single one."""
    return {
        **job(row),
        "shutdown_instances": row.shutdown_instances,
        "replication_count": row.replication_count,
        "replica_id": None,
        "replica_scenario_type": None,
    }
