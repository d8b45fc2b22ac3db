# SPDX-License-Identifier: Apache-2.0
"""What providers take and give: frozen records, JSON-able through ``to_json`` / ``from_json`` of this package.

Sizes are bytes, memory is MiB, MAC addresses are lower-case with colons. An instance's JSON form is the wire
contract's ``vm_export_info``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class OsType(enum.StrEnum):
    LINUX = "linux"
    WINDOWS = "windows"
    BSD = "bsd"
    SOLARIS = "solaris"
    OSX = "osx"
    OTHER = "other"
    UNKNOWN = "unknown"


class Firmware(enum.StrEnum):
    BIOS = "BIOS"
    EFI = "EFI"


@dataclass(frozen=True, kw_only=True)
class Controller:
    """A disk controller. ``type``: scsi, ide, sata, nvme, virtio; ``model``: the platform's word (lsilogic, pvscsi)."""

    id: str
    type: str
    bus_number: int = 0
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of an instance. ``id`` is stable over the life of the disk and unique in the instance."""

    id: str
    size_bytes: int
    format: str | None = None  # vmdk, raw, qcow, qcow2, vhd, vhdx
    path: str | None = None
    controller_id: str | None = None
    unit_number: int | None = None
    storage_backend_identifier: str | None = None
    allocation_type: str | None = None  # static, dynamic
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Nic:
    """A network interface of an instance."""

    id: str
    network_name: str
    network_id: str | None = None
    mac_address: str | None = None
    name: str | None = None
    model: str | None = None  # e1000, vmxnet3, virtio ...
    ip_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Devices:
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    controllers: tuple[Controller, ...] = ()
    cdroms: tuple[dict[str, Any], ...] = ()
    serial_ports: tuple[dict[str, Any], ...] = ()
    floppies: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A virtual machine. ``instance_name`` is what a user types; ``id`` is the platform's own."""

    id: str
    name: str
    num_cpu: int
    memory_mb: int
    os_type: OsType = OsType.UNKNOWN
    instance_name: str | None = None
    hostname: str | None = None
    firmware_type: Firmware = Firmware.BIOS
    secure_boot: bool = False
    nested_virtualization: bool = False
    dynamic_memory_enabled: bool = False
    guest_id: str | None = None
    flavor_name: str | None = None
    running: bool = False
    boot_order: tuple[dict[str, Any], ...] = ()
    devices: Devices = field(default_factory=Devices)
    #: What the platform knows besides, as JSON; a destination takes from it what it understands. Never a secret.
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InstanceSummary:
    """One line of a listing."""

    id: str
    name: str
    num_cpu: int
    memory_mb: int
    os_type: OsType = OsType.UNKNOWN
    instance_name: str | None = None
    flavor_name: str | None = None
    firmware_type: Firmware | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    id: str
    name: str
    additional_provider_properties: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class StorageBackend:
    id: str
    name: str
    additional_provider_properties: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class StorageInventory:
    storage_backends: tuple[StorageBackend, ...] = ()
    config_default: str | None = None


class OptionsOf(enum.StrEnum):
    """Whose options: of one of a provider's environments."""

    SOURCE = "source"
    DESTINATION = "destination"
    SOURCE_MINIONS = "source_minion_pool"
    DESTINATION_MINIONS = "destination_minion_pool"


@dataclass(frozen=True, kw_only=True)
class Option:
    """The values that a field of an environment can have on this platform now: texts, numbers, or objects with ``id``
    and ``name``. ``config_default``: what is taken when the user says nothing."""

    name: str
    values: tuple[Any, ...] = ()
    config_default: Any = None


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something that a user should know before bytes move. ``blocking`` ones refuse the migration."""

    code: str
    message: str
    blocking: bool = False


@dataclass(frozen=True, kw_only=True)
class PlannedDisk:
    """A volume to be made for a source disk. ``storage``: the destination's storage backend id or name. ``origin``:
    reference of a volume of ours on the destination; the new one may begin with its bytes, see `Volume`."""

    disk_id: str
    size_bytes: int
    storage: str | None = None
    boot: bool = False
    origin: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PlannedNic:
    nic_id: str
    network: str  # the destination's network id or name
    mac_address: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Need:
    """What an instance takes of something that the others of its job take from, too. ``free``: how much of it
    there was when it was planned."""

    name: str
    count: int
    free: int
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the destination will make of an instance: made by ``Planning.plan``, stored, given to every later step.
    ``needs``: of what is limited."""

    name: str
    disks: tuple[PlannedDisk, ...]
    nics: tuple[PlannedNic, ...] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    concerns: tuple[Concern, ...] = ()
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DiskSnapshot:
    """One disk at a point in time. ``identity`` changes when the bytes may differ: a copy never resumes on others.

    ``changes_since``: identity of the earlier snapshot relative to which only changed extents need be read;
    None means that the whole disk is to be read.
    """

    disk_id: str
    size_bytes: int
    identity: str
    changes_since: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A consistent point in time of all disks of an instance."""

    ref: str
    instance_id: str
    disks: tuple[DiskSnapshot, ...]
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A destination volume. ``zeroed``: reads as zeros where nothing was written. ``origin``: the platform itself made
    it with the bytes of the planned disk's origin, which need not be copied."""

    disk_id: str
    ref: str
    size_bytes: int
    zeroed: bool = False
    origin: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Minion:
    """A temporary machine beside the disks. ``address``: how it is reached, as far as there is a way: ``ip``, ``port``,
    ``username``; never a secret."""

    ref: str
    name: str
    running: bool = False
    address: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A new instance on the destination. ``console``: how a person may look at it."""

    ref: str
    name: str
    running: bool = False
    console: str | None = None
    instance: Instance | None = None
