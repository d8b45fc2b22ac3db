# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of the ``libvirt`` provider: they drive forms, validation and documents."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import COPY_OPTIONS, VERIFY_OPTIONS, connection_schema

DISK_BUSES = ("virtio", "scsi", "sata", "ide")
NIC_MODELS = ("virtio", "e1000e", "e1000", "rtl8139")
VOLUME_FORMATS = ("qcow2", "raw")
MACHINES = ("q35", "pc")
ACCELERATORS = ("auto", "kvm", "tcg")
GRAPHICS = ("none", "vnc")


def _text(title: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "title": title, "description": description, **more}


def _choice(title: str, description: str, values: tuple[str, ...], default: str) -> dict[str, Any]:
    return _text(title, description, enum=list(values), default=default)


CONNECTION = connection_schema(
    {
        "type": "object",
        "title": "libvirt connection",
        "properties": {
            "connection_uri": _text(
                "Connection URI",
                "libvirt URI of the host: qemu:///system for this machine, or qemu+ssh://user@host/system. "
                "The libvirt socket can be named with ?socket=/path",
                minLength=1,
                maxLength=1024,
            ),
            "ssh_private_key": _text(
                "SSH private key",
                "Private key without passphrase, in OpenSSH or PEM form, that opens the host over SSH. "
                "Default: the keys of the user that runs the worker",
                maxLength=32768,
                writeOnly=True,
            ),
            "ssh_host_key": _text(
                "SSH host key",
                "Public host key of the host as in a known_hosts file, without the host name "
                "(ssh-ed25519 AAAA...); one per line. Default: the known_hosts files of the worker",
                maxLength=32768,
            ),
            "ssh_known_hosts": _text(
                "SSH known_hosts file",
                "Path on the worker of the known_hosts file that holds the host's key",
                maxLength=4096,
            ),
            "socket_directory": _text(
                "Socket directory",
                "Folder on the host in which QEMU opens the sockets that disks of running domains are read from; "
                "QEMU's user must be able to write there. Default: the domain's own folder below "
                "/var/lib/libvirt/qemu",
                pattern="^/[^ \\t\\n:?#'\"]*$",
                maxLength=60,
            ),
            "shutdown_grace_seconds": {
                "type": "integer",
                "title": "Shutdown grace time",
                "description": "Seconds that a guest may take to shut down before it is switched off",
                "minimum": 0,
                "maximum": 3600,
                "default": 60,
            },
        },
        "required": ["connection_uri"],
        "additionalProperties": False,
    }
)

SOURCE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "libvirt source options",
    "properties": {
        "freeze_filesystems": {
            "type": "boolean",
            "title": "Freeze file systems",
            "description": "Ask the QEMU guest agent, where it runs, to bring file systems to rest for the "
            "moment in which a snapshot begins",
            "default": True,
        },
        "scratch_directory": _text(
            "Scratch directory",
            "Folder on the host for blocks that a running guest overwrites while its disks are read. "
            "Default: beside each disk's image",
            pattern="^/[^\\n]*$",
            maxLength=1024,
        ),
        **COPY_OPTIONS,
    },
    "additionalProperties": False,
}

DESTINATION: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "libvirt destination options",
    "properties": {
        "storage_pool": _text(
            "Storage pool",
            "Pool of disks that the storage mappings do not name. Default: the pool called default, or the only one",
        ),
        "network": _text(
            "Network",
            "Network, or bridge:NAME, or user, of interfaces that the network map does not name",
        ),
        **VERIFY_OPTIONS,
        "volume_format": _choice("Volume format", "Format of new disk images", VOLUME_FORMATS, "qcow2"),
        "disk_bus": _choice("Disk bus", "How the new domain sees its disks", DISK_BUSES, "virtio"),
        "nic_model": _choice("Network card", "Model of the new domain's network cards", NIC_MODELS, "virtio"),
        "machine": _choice("Machine type", "QEMU machine of the new domain", MACHINES, "q35"),
        "accel": _choice(
            "Acceleration",
            "auto: KVM where the processor really offers it, otherwise emulation (tcg)",
            ACCELERATORS,
            "auto",
        ),
        "graphics": _choice(
            "Graphics", "none: serial console only; vnc: also a VNC display on 127.0.0.1", GRAPHICS, "none"
        ),
        "domain_name": _text(
            "Domain name",
            "Name of the new domain, when one instance is migrated. Default: the instance's name",
            minLength=1,
            maxLength=200,
        ),
        "name_suffix": _text("Name suffix", "Is put behind the name of each new domain", minLength=1, maxLength=60),
        "keep_mac_addresses": {
            "type": "boolean",
            "title": "Keep MAC addresses",
            "description": "New network cards have the MAC addresses of the old ones",
            "default": True,
        },
        "overcommit_storage": {
            "type": "boolean",
            "title": "Overcommit storage",
            "description": "Accept a pool with less free space than the disks may grow to",
            "default": False,
        },
        "autostart": {
            "type": "boolean",
            "title": "Start with the host",
            "description": "Start the new domain whenever its host starts",
            "default": False,
        },
    },
    "additionalProperties": False,
}

MINIONS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "libvirt minion pool",
    "properties": {
        "image": _text(
            "Image",
            "Volume of a storage pool (POOL/VOLUME, or VOLUME of the minions' own pool) that minions boot from. It is "
            "shared by all of them and never written",
            minLength=1,
            maxLength=400,
        ),
        "storage_pool": DESTINATION["properties"]["storage_pool"],
        "network": _text("Network", "Network, or bridge:NAME, or user, of the minions", default="user"),
        "num_cpu": {"type": "integer", "title": "CPUs", "minimum": 1, "maximum": 64, "default": 1},
        "memory_mb": {"type": "integer", "title": "Memory (MiB)", "minimum": 32, "maximum": 65536, "default": 1024},
        "accel": DESTINATION["properties"]["accel"],
        "username": _text("User name", "Account of the image, shown as part of the minion's address", default="root"),
        "port": {"type": "integer", "title": "SSH port", "minimum": 1, "maximum": 65535, "default": 22},
        "ready": _choice(
            "Ready when",
            "running: the domain runs; agent: the QEMU guest agent answers; ssh: the port accepts connections from the "
            "worker",
            ("running", "agent", "ssh"),
            "running",
        ),
        "ready_seconds": {
            "type": "integer",
            "title": "Patience",
            "description": "Seconds that a minion may take to get ready",
            "minimum": 1,
            "maximum": 3600,
            "default": 300,
        },
    },
    "required": ["image"],
    "additionalProperties": False,
}
