# SPDX-License-Identifier: Apache-2.0
"""Records of regions, services and processes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

Json = Any


@dataclass(frozen=True, kw_only=True)
class Region:
    id: str
    name: str
    description: str
    enabled: bool
    created_at: dt.datetime
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Service:
    """A host with workers. ``configured_regions``: the words of the worker's configuration that ``mapped_regions``
    was last made from."""

    id: str
    host: str
    binary: str
    topic: str
    enabled: bool
    mapped_regions: list[str]
    configured_regions: list[str]
    providers: dict[str, list[str]]
    specs: dict[str, Json]
    registered_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Process:
    """A running program. ``seen_at`` is seconds since 1970 by the database's clock."""

    id: str
    application: str
    host: str
    pid: int
    specs: dict[str, Json]
    seen_at: float
    created_at: dt.datetime
