# SPDX-License-Identifier: Apache-2.0
"""What is on a platform. ``INSTANCE`` is the wire contract's ``vm_export_info``, ``SUMMARY`` its ``vm_instance_info``:
they require what the contract requires, and allow more."""

from __future__ import annotations

from coriolis.api.schemas.answers import (
    COUNT,
    COUNT_OR_NULL,
    FLAG,
    OBJECT,
    OBJECT_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    many,
    one,
    record,
    several,
)

_NAMED: dict[str, Schema] = {"id": {"type": "string", "minLength": 1}, "name": {"type": "string", "minLength": 1}}
_OS_TYPES = ["bsd", "linux", "osx", "solaris", "windows", "other", "unknown"]
_SIZES: dict[str, Schema] = {
    **_NAMED,
    "instance_name": TEXT_OR_NULL,
    "num_cpu": {"type": "integer", "minimum": 1},
    "memory_mb": {"type": "integer", "minimum": 1},
    "os_type": {"type": "string", "enum": _OS_TYPES},
    "flavor_name": TEXT_OR_NULL,
    "firmware_type": {"enum": ["BIOS", "EFI", None]},
}
_MUST = ("id", "name", "num_cpu", "memory_mb", "os_type")

SUMMARY: Schema = {"type": "object", "properties": _SIZES, "required": list(_MUST)}

_DISK: Schema = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "size_bytes": COUNT,
        "format": {"enum": ["vmdk", "raw", "qcow", "qcow2", "vhd", "vhdx", None]},
        "path": TEXT_OR_NULL,
        "controller_id": TEXT_OR_NULL,
        "unit_number": COUNT_OR_NULL,
        "storage_backend_identifier": TEXT_OR_NULL,
        "allocation_type": {"enum": ["static", "dynamic", None]},
        "name": TEXT_OR_NULL,
    },
    "required": ["id", "size_bytes"],
}
_NIC: Schema = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "network_name": TEXT,
        "network_id": TEXT_OR_NULL,
        "mac_address": TEXT_OR_NULL,
        "name": TEXT_OR_NULL,
        "model": TEXT_OR_NULL,
        "ip_addresses": several(TEXT),
    },
    "required": ["network_name", "mac_address"],
}
_CONTROLLER: Schema = {
    "type": "object",
    "properties": {"id": TEXT, "type": TEXT, "bus_number": COUNT, "model": TEXT_OR_NULL},
    "required": ["id", "type", "bus_number"],
}
_DEVICES: dict[str, Schema] = {
    "disks": several(_DISK),
    "nics": several(_NIC),
    "controllers": several(_CONTROLLER),
    "cdroms": several(OBJECT),
    "serial_ports": several(OBJECT),
    "floppies": several(OBJECT),
}

INSTANCE: Schema = {
    "type": "object",
    "properties": {
        **_SIZES,
        "hostname": TEXT_OR_NULL,
        "secure_boot": FLAG,
        "nested_virtualization": FLAG,
        "dynamic_memory_enabled": FLAG,
        "guest_id": TEXT_OR_NULL,
        "running": FLAG,
        "boot_order": several(OBJECT),
        "devices": {"type": "object", "properties": _DEVICES, "required": list(_DEVICES)},
        "extra": OBJECT,
    },
    "required": [*_MUST, "nested_virtualization", "devices"],
}

_BACKEND: Schema = {
    "type": "object",
    "properties": {**_NAMED, "additional_provider_properties": OBJECT_OR_NULL},
    "required": ["id", "name"],
}
STORAGE: Schema = record(
    {"storage_backends": several(_BACKEND), "config_default": TEXT_OR_NULL}, optional=("config_default",)
)

_VALUE: Schema = {
    "anyOf": [
        {"type": ["string", "number", "integer", "boolean"]},
        {"type": "object", "properties": _NAMED, "required": ["id", "name"]},
    ]
}
OPTION: Schema = record(
    {"name": _NAMED["name"], "values": several(_VALUE), "config_default": {}}, optional=("config_default",)
)

INSTANCES = many("instances", SUMMARY)
ONE_INSTANCE = one("instance", INSTANCE)
NETWORKS = many("networks", _BACKEND)
ONE_STORAGE = one("storage", STORAGE)
SOURCE_OPTIONS = many("source_options", OPTION)
DESTINATION_OPTIONS = many("destination_options", OPTION)
SOURCE_MINION_POOL_OPTIONS = many("source_minion_pool_options", OPTION)
DESTINATION_MINION_POOL_OPTIONS = many("destination_minion_pool_options", OPTION)
CSV_TEXT: Schema = {"type": "string", "description": "CSV (RFC 4180) with a heading"}
