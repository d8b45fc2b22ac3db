# SPDX-License-Identifier: Apache-2.0
"""Transfers on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coriolis.api.views.jobs import job
from coriolis.store.rows import Action

Json = Any


def transfer(row: Action, executions: Sequence[Json] = ()) -> dict[str, Json]:
    """``executions`` stays empty unless a list is asked for the tasks."""
    return {**job(row), "scenario": row.scenario, "executions": list(executions)}
