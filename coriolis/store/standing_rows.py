# SPDX-License-Identifier: Apache-2.0
"""Records of schedules and trusts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """``calendar``: fields of ``domain.calendar.Calendar`` as far as they were given."""

    id: str
    transfer_id: str
    project_id: str
    user_id: str
    calendar: dict[str, int]
    expiration_date: dt.datetime | None
    enabled: bool
    shutdown_instance: bool
    auto_deploy: bool
    trust_id: str | None
    next_fire_at: dt.datetime | None
    last_fired_at: dt.datetime | None
    message: str | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Trust:
    """``keystone_id`` None: Keystone was asked for it, and may have made it."""

    id: str
    keystone_id: str | None
    project_id: str
    user_id: str
    expires_at: dt.datetime | None
    created_at: dt.datetime
