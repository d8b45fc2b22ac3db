# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of the ``openstack`` provider: they drive forms, validation and documents."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import COPY_OPTIONS, VERIFY_OPTIONS, connection_schema
from coriolis.providers.openstack.hardware import CHOICES, DEFAULT

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
#: How bytes leave and enter a cloud; ``auto`` takes the first that is possible, in this order.
TRANSPORTS = ("direct", "worker", "minion", "image")


def _text(title: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "title": title, "description": description, "maxLength": 255, **more}


def _flag(title: str, description: str, *, default: bool) -> dict[str, Any]:
    return {"type": "boolean", "title": title, "description": description, "default": default}


def _seconds(title: str, description: str, *, default: int) -> dict[str, Any]:
    return {
        "type": "integer",
        "title": title,
        "description": description,
        "minimum": 1,
        "maximum": 86400,
        "default": default,
    }


_CONNECTION_FIELDS: dict[str, Any] = {
    "auth_url": _text(
        "Keystone URL", "Address of the cloud's Keystone, version 3", pattern="^https?://", maxLength=2048
    ),
    "username": _text("User name", "The user who owns, or may administer, the project"),
    "password": _text("Password", "The user's password", format="password", maxLength=4096),
    "user_domain_name": _text("User domain", "Name of the user's domain. Default: the domain with id default"),
    "user_domain_id": _text("User domain id", "Id of the user's domain"),
    "project_name": _text("Project", "The project whose servers are read, or in which they are made"),
    "project_id": _text("Project id", "Id of the project"),
    "project_domain_name": _text("Project domain", "Name of the project's domain. Default: the domain with id default"),
    "project_domain_id": _text("Project domain id", "Id of the project's domain"),
    "application_credential_id": _text("Application credential", "Id of an application credential, instead of a user"),
    "application_credential_secret": _text(
        "Application credential secret", "Its secret", format="password", maxLength=4096
    ),
    "region_name": _text("Region", "Name of the region, when the cloud has several"),
    "interface": _text(
        "Interface", "Which endpoints of the catalogue to use", enum=["public", "internal", "admin"], default="public"
    ),
    "identity_api_version": {
        "type": "integer",
        "title": "Identity API version",
        "description": "Version of the identity API; there is only 3",
        "enum": [3],
        "default": 3,
    },
    "cacert": _text(
        "CA certificates", "PEM certificates that sign the cloud's own, when they are private", maxLength=65536
    ),
    "allow_untrusted": _flag("Allow untrusted", "Do not check the cloud's certificates", default=False),
    "endpoint_overrides": {
        "type": "object",
        "title": "Endpoint overrides",
        "description": "Service type to URL, for clouds whose catalogue names addresses that a worker cannot reach. "
        "Not without credentials",
        "additionalProperties": {"type": "string", "pattern": "^https?://", "maxLength": 2048},
    },
}

CONNECTION = connection_schema(
    {
        "type": "object",
        "title": "OpenStack connection",
        "description": "Without any credential the cloud has to be the one that this service runs in: the work is then "
        "done with the rights of the user who asks for it",
        "properties": _CONNECTION_FIELDS,
        "additionalProperties": False,
    },
    acts_for_user=True,
)

_TRANSPORT: dict[str, Any] = _text(
    "Transport",
    "How bytes leave or enter the cloud. direct: the worker opens the volume's own storage, when the operator of the "
    "workers allows that; worker: the volume is attached to the worker's own server, when it is one of the project; "
    "minion: a small server has the volume attached and serves it; image: through Glance. auto: "
    "the first of these that is possible",
    enum=["auto", *TRANSPORTS],
    default="auto",
)
_MINION_FIELDS: dict[str, Any] = {
    "minion_image": _text("Minion image", "Name or id of the image that minions are made from"),
    "minion_flavor": _text("Minion flavor", "Name or id of their flavor. Default: the smallest that fits the image"),
    "minion_network": _text("Minion network", "Name or id of a network in which a worker reaches them"),
    "minion_floating_network": _text(
        "Minion floating network", "Name or id of an external network that gives minions a floating address"
    ),
    "minion_username": _text("Minion user", "The user who is logged in by SSH, and may become root", default="root"),
    "minion_security_group": _text("Minion security group", "Name or id of their security group"),
}
_HARDWARE: dict[str, Any] = {
    choice.option: _text(
        choice.title,
        f"{choice.name} of the boot volume; {DEFAULT}: the cloud's own. Not given: as at an OpenStack source, "
        "otherwise the cloud's own",
        enum=[*choice.values, DEFAULT],
    )
    for choice in CHOICES
}
_WAITS: dict[str, Any] = {
    "volume_seconds": _seconds(
        "Volume time limit", "Seconds that a volume or snapshot may take to get ready", default=600
    ),
    "image_seconds": _seconds(
        "Image time limit", "Seconds that an image may take to be made or taken in", default=7200
    ),
    "server_seconds": _seconds(
        "Server time limit", "Seconds that a server may take to be made or started", default=900
    ),
}

SOURCE: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "title": "OpenStack source",
    "properties": {
        "replica_export_mechanism": {**_TRANSPORT, "title": "Export transport"},
        **_MINION_FIELDS,
        **_WAITS,
        **COPY_OPTIONS,
    },
    "additionalProperties": False,
}

DESTINATION: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "title": "OpenStack destination",
    "properties": {
        "replica_import_mechanism": {**_TRANSPORT, "title": "Import transport"},
        "server_name": _text("Server name", "Name of the new server. Default: the instance's"),
        "name_suffix": _text("Name suffix", "Is put after the name"),
        "network": _text("Network", "Name or id of the network for NICs that network_map does not name"),
        "keep_mac_addresses": _flag(
            "Keep MAC addresses", "New ports get the MAC addresses of the source", default=True
        ),
        "keep_ip_addresses": _flag(
            "Keep fixed addresses",
            "New ports get the fixed addresses of the source where the network has them and they are free",
            default=False,
        ),
        "security_groups": {
            "type": "array",
            "title": "Security groups",
            "description": "Names or ids of the security groups of all ports. Default: the project's default",
            "items": {"type": "string", "maxLength": 255},
            "maxItems": 50,
            "uniqueItems": True,
        },
        "floating_ip_network": _text(
            "Floating address network",
            "Name or id of an external network from which the server gets a floating address",
        ),
        "flavor_name": _text("Flavor", "Name or id. Default: the smallest that has enough CPUs and memory"),
        "create_flavor": _flag(
            "Create flavor", "Make a private flavor when none fits; needs an administrator", default=False
        ),
        "volume_type": _text("Volume type", "Of volumes that storage_mappings does not name. Default: the cloud's"),
        "zeroed_volume_types": {
            "type": "array",
            "title": "Zeroed volume types",
            "description": "Names of volume types whose new volumes read as zeros, as their administrator knows: zeros "
            "are not written to them. Encrypted ones do not. Workers that open the storage see it themselves",
            "items": {"type": "string", "maxLength": 255},
            "maxItems": 50,
            "uniqueItems": True,
        },
        "availability_zone": _text("Availability zone", "Of the server. Default: the cloud's"),
        "volumes_availability_zone": _text("Volume availability zone", "Of the volumes. Default: the cloud's"),
        "keypair_name": _text("Keypair", "Name of a keypair of the user"),
        "user_data": {
            "type": "string",
            "title": "User data",
            "description": "For cloud-init, in clear; at most 16384 bytes",
            "maxLength": 16384,
        },
        "metadata": {
            "type": "object",
            "title": "Metadata",
            "description": "Metadata items of the server",
            "additionalProperties": {"type": "string", "maxLength": 255},
            "maxProperties": 100,
        },
        "tags": {
            "type": "array",
            "title": "Tags",
            "description": "Tags of the server, beside the one that says that it is ours",
            "items": {"type": "string", "pattern": "^[^/,]{1,60}$"},  # as Nova takes them
            "maxItems": 49,
            "uniqueItems": True,
        },
        "server_group": _text("Server group", "Name or id of the server group"),
        "config_drive": _flag("Config drive", "Give the server a config drive", default=False),
        **_HARDWARE,
        **_MINION_FIELDS,
        **_WAITS,
        **VERIFY_OPTIONS,
    },
    "additionalProperties": False,
}

MINIONS: dict[str, Any] = {
    "$schema": _DRAFT,
    "type": "object",
    "title": "OpenStack minions",
    "properties": {
        **_MINION_FIELDS,
        "minion_availability_zone": _text("Availability zone", "Of the minions. Default: the cloud's"),
        "server_seconds": _WAITS["server_seconds"],
    },
    "required": ["minion_image", "minion_network"],
    "additionalProperties": False,
}
