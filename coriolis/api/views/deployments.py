# SPDX-License-Identifier: Apache-2.0
"""Deployments on the wire."""

from __future__ import annotations

from typing import Any

from coriolis.api.views.jobs import job
from coriolis.store.rows import Action

Json = Any


def deployment(row: Action) -> dict[str, Json]:
    """One line of a list; ``tasks`` are added by whoever shows a single one, ``executions`` by a list without them."""
    return {
        **job(row),
        "transfer_id": row.transfer_id,
        "transfer_scenario_type": row.scenario,
        "deployer_id": row.deployer_id,
        "trust_id": None,
        "shutdown_instances": False,
    }
