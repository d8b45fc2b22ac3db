# SPDX-License-Identifier: Apache-2.0
"""Values of options: of the schema, of the platform, of both."""

from __future__ import annotations

from coriolis.api.options import merged

SCHEMA = {
    "properties": {
        "bus": {"type": "string", "enum": ["virtio", "ide"], "default": "virtio"},
        "free": {"type": "string", "default": "x"},
        "pool": {"type": "string"},
        "tags": {"type": "array", "items": {"enum": ["a"]}},
    }
}
POOLS = {"name": "pool", "values": ["p"], "config_default": None}


def test_the_schema_alone() -> None:
    assert merged(SCHEMA, [], None) == [
        {"name": "bus", "values": ["virtio", "ide"], "config_default": "virtio"},
        {"name": "tags", "values": ["a"]},
    ]
    assert merged(None, [], None) == []


def test_the_platform_knows_better() -> None:
    bus = {"name": "bus", "values": ["ide"], "config_default": "ide"}
    assert [one["name"] for one in merged(SCHEMA, [POOLS, bus], None)] == ["bus", "pool", "tags"]
    assert merged(SCHEMA, [POOLS, bus], ["bus", "pool"]) == [bus, {"name": "pool", "values": ["p"]}]
    assert merged(SCHEMA, [POOLS], ["none"]) == []
