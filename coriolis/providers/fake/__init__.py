# SPDX-License-Identifier: Apache-2.0
"""A whole small cloud in a directory, which fails as it is told to. For the suites of this project and of others.

It is a source and a destination, with exact changed-block tracking, keeps all its state on disk, so that several
processes use it at once and a test can look at what is left behind, and holds the provider contract to the letter.
"""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import VERIFY_OPTIONS, Capability, Connection, Context, Provider, connection_schema

CONNECTION_FIELDS = {
    "type": "object",
    "title": "Fake cloud",
    "properties": {
        "path": {
            "type": "string",
            "title": "Directory",
            "description": "Absolute path of the cloud's directory",
            "minLength": 1,
        },
        "token": {
            "type": "string",
            "title": "Token",
            "description": "Must be the cloud's own, when it has one",
            "format": "password",
        },
        "faults": {
            "type": "string",
            "title": "Faults",
            "description": "What shall go wrong, for example volumes.create@2=unavailable;compute.start:after=crash",
        },
        "eventual_polls": {
            "type": "integer",
            "title": "Polls until a made or deleted thing is really there or gone",
            "minimum": 0,
            "default": 0,
        },
    },
    "required": ["path"],
    "additionalProperties": False,
}

SOURCE_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Fake source",
    "properties": {},
}

DESTINATION_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Fake destination",
    "properties": {
        "storage": {"type": "string", "title": "Default storage backend", "minLength": 1},
        **VERIFY_OPTIONS,
    },
}

MINION_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Fake minion pool",
    "properties": {
        "image": {"type": "string", "title": "Image", "minLength": 1},
    },
    "required": ["image"],
    "additionalProperties": False,
}


def connect(connection_info: dict[str, Any], context: Context) -> Connection:
    from coriolis.providers.fake.connection import FakeConnection

    return FakeConnection(connection_info, context)


PROVIDER = Provider(
    name="fake",
    title="Fake cloud",
    capabilities=frozenset(
        {
            Capability.INVENTORY,
            Capability.NETWORKS,
            Capability.STORAGE,
            Capability.OPTIONS,
            Capability.PLANNING,
            Capability.SNAPSHOTS,
            Capability.INCREMENTS,
            Capability.READ_BLOCKS,
            Capability.WRITE_BLOCKS,
            Capability.VOLUMES,
            Capability.COMPUTE,
            Capability.MINIONS,
        }
    ),
    connection_schema=connection_schema(CONNECTION_FIELDS),
    connect=connect,
    source_schema=SOURCE_SCHEMA,
    destination_schema=DESTINATION_SCHEMA,
    source_minion_schema=MINION_SCHEMA,
    destination_minion_schema=MINION_SCHEMA,
    preload=("coriolis.providers.fake.connection",),
    support="fake",
)
