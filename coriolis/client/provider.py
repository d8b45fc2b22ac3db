# SPDX-License-Identifier: Apache-2.0
"""Providers: the platform types that the service can talk to."""

from __future__ import annotations

from dataclasses import dataclass

# Wire numbers of the parts that a provider may have, in the words of the documents.
PARTS = {
    4: "destination",
    8: "source",
    16: "connection",
    32: "instances",
    64: "morphing",
    128: "networks",
    256: "flavor",
    512: "destination options",
    32768: "storage",
    131072: "source options",
    524288: "source minions",
    1048576: "destination minions",
    2097152: "inventory",
}
SCHEMAS = {
    "connection": 16,
    "destination": 4,
    "source": 8,
    "source-minion-pool": 524288,
    "destination-minion-pool": 1048576,
}


@dataclass(frozen=True, kw_only=True)
class Provider:
    name: str
    types: tuple[int, ...]

    @property
    def parts(self) -> list[str]:
        return [PARTS[number] for number in self.types if number in PARTS]
