# SPDX-License-Identifier: Apache-2.0
"""The provider that keeps nothing: instances by the million to read, volumes that swallow what is written.

It costs no disk and no network, so that what is measured with it is the engine. Bytes are served by nbdkit.
``null_definition`` is the same without bytes: a migration between two of them is four tasks.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from coriolis.providers.api import Capability, Connection, Context, Provider, connection_schema

CONNECTION_FIELDS = {
    "type": "object",
    "title": "Null",
    "properties": {
        "instances": {
            "type": "integer",
            "title": "Number of instances",
            "minimum": 0,
            "maximum": 9_999_999,
            "default": 10,
        },
        "disks": {"type": "integer", "title": "Disks per instance", "minimum": 0, "maximum": 64, "default": 1},
        "disk_size_bytes": {
            "type": "integer",
            "title": "Size of a disk in bytes",
            "minimum": 512,
            "default": 16 << 20,
        },
        "seed": {
            "type": "integer",
            "title": "Seed",
            "description": "Disks hold a sparse random pattern of this seed, and volumes refuse any other bytes. "
            "Without it disks are zeros, and volumes swallow everything.",
            "minimum": 0,
            "maximum": 4_294_967_295,
        },
    },
    "additionalProperties": False,
}

ENVIRONMENT_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Nothing to choose",
    "properties": {},
}


def connect(connection_info: dict[str, Any], context: Context) -> Connection:
    from coriolis.providers.null.connection import NullConnection

    return NullConnection(connection_info)


PROVIDER = Provider(
    name="null",
    title="Null",
    capabilities=frozenset(
        {
            Capability.INVENTORY,
            Capability.NETWORKS,
            Capability.STORAGE,
            Capability.PLANNING,
            Capability.SNAPSHOTS,
            Capability.READ_BLOCKS,
            Capability.WRITE_BLOCKS,
            Capability.VOLUMES,
            Capability.COMPUTE,
        }
    ),
    connection_schema=connection_schema(CONNECTION_FIELDS),
    connect=connect,
    source_schema=ENVIRONMENT_SCHEMA,
    destination_schema=ENVIRONMENT_SCHEMA,
    preload=("coriolis.providers.null.connection",),
    support="fake",
    traits={"keeps_bytes": False},
)

DEFINITION = dataclasses.replace(
    PROVIDER,
    name="null_definition",
    title="Null, without bytes",
    capabilities=frozenset(
        {
            Capability.INVENTORY,
            Capability.NETWORKS,
            Capability.STORAGE,
            Capability.PLANNING,
            Capability.COMPUTE,
        }
    ),
)
