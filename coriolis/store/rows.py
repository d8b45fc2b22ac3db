# SPDX-License-Identifier: Apache-2.0
"""Rows as frozen records. Field names are column names, which are the wire's names wherever it has one."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, TypeVar

Json = Any
AnyRow = Any  # sqlalchemy.Row of any columns
R = TypeVar("R")


def load(kind: type[R], row: AnyRow) -> R:
    """The record of a row whose columns are exactly the fields of ``kind``."""
    return kind(**row._mapping)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    id: str
    project_id: str
    user_id: str
    name: str
    type: str
    description: str
    sealed: str | None
    secret_ref: str | None
    mapped_regions: list[str]
    hidden: bool
    created_at: dt.datetime
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Action:
    """A job: a migration, a transfer or a deployment."""

    id: str
    kind: str
    project_id: str
    user_id: str
    scenario: str | None
    transfer_id: str | None
    deployer_id: str | None
    origin_endpoint_id: str
    destination_endpoint_id: str
    instances: list[str]
    source_environment: dict[str, Json]
    destination_environment: dict[str, Json]
    network_map: dict[str, Json]
    storage_mappings: dict[str, Json]
    user_scripts: dict[str, Json]
    notes: str | None
    shutdown_instances: bool
    replication_count: int
    clone_disks: bool
    skip_os_morphing: bool
    fence: int
    last_execution_status: str
    message: str | None
    percent: int
    bytes_done: int
    bytes_total: int
    transfer_result: dict[str, Json] | None
    request_id: str | None
    created_at: dt.datetime
    updated_at: dt.datetime | None
    deleted_at: dt.datetime | None
    origin_minion_pool_id: str | None = None
    destination_minion_pool_id: str | None = None
    instance_osmorphing_minion_pool_mappings: dict[str, str] | None = None

    @property
    def minion_pools(self) -> list[str]:
        """The pools from which its executions take a machine for each instance."""
        return sorted({pool for pool in (self.origin_minion_pool_id, self.destination_minion_pool_id) if pool})

    @property
    def replica_of(self) -> str:
        """The transfer whose replica its runs write or read; a migration has its own."""
        return self.transfer_id or self.id


@dataclass(frozen=True, kw_only=True)
class Execution:
    id: str
    action_id: str
    project_id: str
    number: int
    type: str
    recipe: str
    capabilities: dict[str, list[str]]
    shutdown_instances: bool
    auto_deploy: bool
    fence: int
    trust_id: str | None
    changes: dict[str, Json] | None
    state: str
    cancel_requested: bool
    cancel_force: bool
    cancel_pending: bool
    version: int
    message: str | None
    percent: int
    bytes_done: int
    bytes_total: int
    request_id: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    updated_at: dt.datetime | None
    deleted_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class ExecutionInstance:
    execution_id: str
    position: int
    instance: str
    state: str
    version: int
    message: str | None
    percent: int
    bytes_done: int
    bytes_total: int
    result: Json
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Replica:
    """What a transfer has of one machine. ``volumes`` None: nothing. ``digest`` is by disk. ``era``: counts how often
    something else than a copy may have written the volumes; what journals of an earlier one say does not hold."""

    transfer_id: str
    position: int
    instance: str
    volumes: list[Json] | None
    complete: bool
    vm: Json
    layout: Json
    snapshot: Json
    digest: dict[str, Json] | None
    execution_id: str | None
    updated_at: dt.datetime
    era: int = 0


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as the wire shows it. ``status`` is its state, or CANCELLING while a running one is told to stop."""

    id: str
    execution_id: str
    position: int
    instance: str
    name: str
    kind: str
    task_type: str
    index: int
    role: str
    item: str | None
    status: str
    depends_on: list[str]
    host: str | None
    session_id: str | None
    epoch: int
    attempts: int
    lost_sessions: int
    not_before: dt.datetime | None
    error_code: str | None
    exception_details: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Progress:
    task_id: str
    item: str
    index: int
    done: int
    total: int
    message: str
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Event:
    id: int
    execution_id: str
    task_id: str | None
    level: str
    message: str
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Session:
    """A worker process. ``seen_at`` is seconds since 1970 by the database's clock."""

    id: str
    service_id: str | None
    host: str
    pid: int
    regions: list[str]
    providers: dict[str, list[str]]
    schema_digests: dict[str, str] | None
    slots: int
    load: float
    release: str
    state: str
    draining: bool
    drain_requested: bool
    seen_at: float
    created_at: dt.datetime
    ended_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Hint:
    """One line of the outbox."""

    id: int
    topic: str
    server: str | None
    method: str
    payload: dict[str, Json]
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class BandwidthBudget:
    id: str
    name: str
    description: str
    enabled: bool
    scope: str
    target: dict[str, str]
    bytes_per_second: int | None
    streams: int | None
    backoff_factor: float | None
    time_zone: str
    windows: list[dict[str, Json]]
    created_at: dt.datetime
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Stream:
    """``demand`` and ``granted`` None: no limit."""

    task_id: str
    epoch: int
    budgets: list[str]
    used: float
    demand: float | None
    granted: float | None
    updated_at: dt.datetime
