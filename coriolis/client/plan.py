# SPDX-License-Identifier: Apache-2.0
"""What a dry run tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something that speaks against it. A blocking one would be refused."""

    side: str
    code: str
    message: str
    blocking: bool
    instance: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Nothing was made. ``instances``: of each its size, disks with destinations, networks, layout and tasks."""

    possible: bool
    recipe: str
    size_bytes: int
    concerns: tuple[Concern, ...]
    instances: tuple[dict[str, Any], ...]


def plan_of(told: dict[str, Any]) -> Plan:
    """From the JSON of the service; the concerns of the instances are among the others."""
    concerns = [Concern(**one) for one in told["concerns"]]
    for each in told["instances"]:
        concerns += [Concern(**one, instance=each["instance"]) for one in each["concerns"]]
    return Plan(
        possible=told["possible"],
        recipe=told["recipe"],
        size_bytes=told["size_bytes"],
        concerns=tuple(concerns),
        instances=tuple(told["instances"]),
    )
