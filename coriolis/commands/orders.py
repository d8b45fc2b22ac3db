# SPDX-License-Identifier: Apache-2.0
"""What migrations and transfers are ordered with, and the rows that they become."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coriolis.commands import jobs
from coriolis.commands.caller import Caller
from coriolis.commands.minion_pools import Use
from coriolis.store.rows import Action, Endpoint

Json = Any


@dataclass(frozen=True, kw_only=True)
class Order:
    """What both take."""

    instances: tuple[str, ...]
    source_environment: Mapping[str, Json] = field(default_factory=dict)
    destination_environment: Mapping[str, Json] = field(default_factory=dict)
    network_map: Mapping[str, Json] = field(default_factory=dict)
    storage_mappings: Mapping[str, Json] = field(default_factory=dict)
    user_scripts: Mapping[str, Json] = field(default_factory=dict)
    notes: str | None = None
    skip_os_morphing: bool = False
    minions: Use = field(default_factory=Use)


def row(
    order: Order, key: str, caller: Caller, origin: Endpoint, destination: Endpoint, now: dt.datetime, **own: Json
) -> Action:
    """The job of an order. ``own``: the columns that only its kind fills."""
    return Action(
        id=key,
        project_id=caller.project_id,
        user_id=caller.user_id,
        transfer_id=None,
        deployer_id=None,
        origin_endpoint_id=origin.id,
        destination_endpoint_id=destination.id,
        instances=list(order.instances),
        source_environment=dict(order.source_environment),
        destination_environment=dict(order.destination_environment),
        network_map=dict(order.network_map),
        storage_mappings=dict(order.storage_mappings),
        user_scripts=dict(order.user_scripts),
        notes=order.notes,
        skip_os_morphing=order.skip_os_morphing,
        request_id=caller.request_id,
        created_at=now,
        **jobs.NOTHING_DONE,
        **order.minions.columns,
        **own,
    )
