# SPDX-License-Identifier: Apache-2.0
"""Rows of minion pools as frozen records."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from coriolis.domain.minions import Machine, MachineStatus

Json = Any


@dataclass(frozen=True, kw_only=True)
class MinionPool:
    id: str
    project_id: str
    user_id: str
    name: str
    notes: str | None
    endpoint_id: str
    platform: str
    os_type: str
    environment_options: dict[str, Json]
    minimum_minions: int
    maximum_minions: int
    minion_max_idle_time: int
    minion_retention_strategy: str
    status: str
    trust_id: str | None
    created_at: dt.datetime
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class MinionMachine:
    id: str
    pool_id: str
    position: int
    status: str
    powered_on: bool
    action_id: str | None
    execution_id: str | None
    made: Json
    last_used_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime | None

    @property
    def rule(self) -> Machine:
        """As the rules see it."""
        return Machine(
            position=self.position,
            status=MachineStatus(self.status),
            on=self.powered_on,
            since=self.last_used_at or self.created_at,
        )
