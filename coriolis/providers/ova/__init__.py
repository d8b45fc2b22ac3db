# SPDX-License-Identifier: Apache-2.0
"""Exported machines as a source: an OVA file, OVF descriptors with their files, or bare disk images, read in place.

The worker's operator may set ``CORIOLIS_OVA_ROOTS`` (folders, separated by colons) in the worker's environment:
paths outside of them are then refused. Without it every path that the worker's user may read is open.
"""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import (
    COPY_OPTIONS,
    Capability,
    Connection,
    Context,
    Firmware,
    OsType,
    Provider,
    connection_schema,
)

CONNECTION_FIELDS = {
    "type": "object",
    "title": "OVF package or disk image",
    "properties": {
        "path": {
            "type": "string",
            "title": "Path",
            "description": "Absolute path, as the worker sees it, of an OVA file, an OVF descriptor, a disk image"
            " (VMDK, VHD, VHDX, QCOW2, raw), or a folder that holds such files",
            "minLength": 1,
            "maxLength": 4096,
        }
    },
    "required": ["path"],
    "additionalProperties": False,
}

SOURCE_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "What the files say otherwise, or not at all",
    "properties": {
        "num_cpu": {"type": "integer", "title": "Processors", "minimum": 1, "maximum": 4096},
        "memory_mb": {"type": "integer", "title": "Memory in MiB", "minimum": 1, "maximum": 67108864},
        "firmware_type": {"type": "string", "title": "Firmware", "enum": [str(kind) for kind in Firmware]},
        "os_type": {"type": "string", "title": "Operating system", "enum": [str(kind) for kind in OsType]},
        "deployment_option": {
            "type": "string",
            "title": "Deployment option",
            "description": "Id of a configuration of the OVF's DeploymentOptionSection; its default otherwise",
            "minLength": 1,
        },
        "networks": {
            "type": "array",
            "title": "Networks of a bare disk image",
            "description": "A network interface is made for each; one on 'unnamed' otherwise",
            "items": {"type": "string", "minLength": 1},
        },
        "disk_bus": {
            "type": "string",
            "title": "Bus of a bare disk image",
            "enum": ["virtio", "scsi", "sata", "ide", "nvme"],
            "default": "virtio",
        },
        "check_manifest": {
            "type": "boolean",
            "title": "Check the manifest",
            "description": "Compare all files with the digests of the .mf before they are used",
            "default": True,
        },
        **COPY_OPTIONS,
    },
}


def connect(connection_info: dict[str, Any], context: Context) -> Connection:
    from coriolis.providers.ova.connection import OvaConnection

    return OvaConnection(connection_info)


PROVIDER = Provider(
    name="ova",
    title="OVA, OVF and disk images",
    capabilities=frozenset(
        {
            Capability.INVENTORY,
            Capability.OPTIONS,
            Capability.PLANNING,
            Capability.SNAPSHOTS,
            Capability.READ_BLOCKS,
            Capability.COMPUTE,
        }
    ),
    connection_schema=connection_schema(CONNECTION_FIELDS),
    connect=connect,
    source_schema=SOURCE_SCHEMA,
    preload=("coriolis.providers.ova.connection",),
    traits={"holds_snapshots": False},  # a file that was written after its snapshot is refused, not kept
)
