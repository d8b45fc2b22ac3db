# SPDX-License-Identifier: Apache-2.0
"""The hardware of an OVF system as our instance model.

Resource types are those of CIM_ResourceAllocationSettingData: 3 processor, 4 memory, 5 IDE, 6 SCSI, 10 Ethernet,
14 floppy, 15 CD, 16 DVD, 17 disk, 20 other storage controller (SATA, NVMe), 21 serial port.
"""

from __future__ import annotations

import re
from typing import Any

from coriolis.providers.api import Controller, Devices, Disk, Firmware, Instance, Invalid, Nic
from coriolis.providers.ova.allocation_units import MIB, unit_bytes
from coriolis.providers.ova.operating_systems import os_type
from coriolis.providers.ova.ovf import Envelope, Item, System, small_number

DEFAULT_CPUS = 1
DEFAULT_MEMORY_MB = 1024
_MOST_CPUS = 4096
_MOST_MEMORY_MB = 64 << 20  # 64 TiB

CPU, MEMORY, IDE, SCSI, ETHERNET, FLOPPY, CD, DVD, DISK, OTHER_STORAGE, SERIAL = 3, 4, 5, 6, 10, 14, 15, 16, 17, 20, 21

# A part of the lower-cased ResourceSubType -> (type, model); the first that fits wins.
_CONTROLLERS: tuple[tuple[str, str, str], ...] = (
    ("lsilogicsas", "scsi", "lsisas1068"),
    ("lsilogic", "scsi", "lsilogic"),
    ("virtualscsi", "scsi", "pvscsi"),
    ("pvscsi", "scsi", "pvscsi"),
    ("buslogic", "scsi", "buslogic"),
    ("virtio-scsi", "scsi", "virtio-scsi"),
    ("virtioscsi", "scsi", "virtio-scsi"),
    ("virtio_scsi", "scsi", "virtio-scsi"),
    ("nvme", "nvme", "nvme"),
    ("ahci", "sata", "ahci"),
    ("sata", "sata", "ahci"),
    ("piix3", "ide", "piix3"),
    ("piix4", "ide", "piix4"),
    ("ich6", "ide", "ich6"),
)
_CONTROLLER_TYPES = {IDE: "ide", SCSI: "scsi", 7: "scsi", 8: "scsi", OTHER_STORAGE: "sata"}
# oVirt's ovf:disk-interface, which stands in for a controller.
_INTERFACES = {"virtio": "virtio", "virtio_scsi": "scsi", "ide": "ide", "sata": "sata", "nvme": "nvme"}
_OVIRT_NICS = {"0": "rtl8139", "1": "rtl8139", "2": "e1000", "3": "virtio", "6": "e1000e"}
_HOST_RESOURCE = re.compile(r"(?:ovf:)?/{1,2}(disk|file)/(.+)")


def to_instance(envelope: Envelope, system: System, *, instance_id: str, option: str | None) -> Instance:
    """The system as it would be deployed with configuration ``option`` (None: the package's default).

    :raises Invalid: an unknown option, a disk that is not described, absurd quantities
    """
    items = _chosen(envelope, system, option)
    by_type: dict[int, list[Item]] = {}
    for item in items:
        by_type.setdefault(small_number(item.get("ResourceType")) or 0, []).append(item)
    controllers = [_controller(kind, i) for kind in _CONTROLLER_TYPES for i in by_type.get(kind, [])]
    disks = _disks(envelope, by_type.get(DISK, []))
    settings = {key.lower(): value.lower() for key, value in system.settings.items()}
    efi = system.efi or settings.get("firmware") == "efi"
    controllers += _stand_ins(envelope, disks)
    return Instance(
        id=instance_id,
        name=system.name,
        instance_name=system.name,
        num_cpu=_cpus(by_type.get(CPU, [])),
        memory_mb=_memory(by_type.get(MEMORY, [])),
        os_type=os_type(system.os_id, system.os_words),
        guest_id=next(iter(system.os_words), None),
        firmware_type=Firmware.EFI if efi else Firmware.BIOS,
        secure_boot=system.secure_boot or settings.get("bootoptions.efisecurebootenabled") == "true",
        nested_virtualization=settings.get("nestedhvenabled") == "true",
        boot_order=tuple({"type": kind, "id": number} for kind, number in system.boot),
        devices=Devices(
            disks=tuple(disks),
            nics=tuple(_nics(envelope, system, by_type.get(ETHERNET, []))),
            controllers=tuple(controllers),
            cdroms=tuple(_drive(i) for i in by_type.get(CD, []) + by_type.get(DVD, [])),
            serial_ports=tuple(_drive(i) for i in by_type.get(SERIAL, [])),
            floppies=tuple(_drive(i) for i in by_type.get(FLOPPY, [])),
        ),
    )


def _chosen(envelope: Envelope, system: System, option: str | None) -> list[Item]:
    """Items that apply: a configured one takes the place of the general one with its InstanceID (DSP0243, 9.8)."""
    if option is not None and option not in envelope.configurations:
        known = ", ".join(envelope.configurations) or "none"
        raise Invalid(f"The package has no deployment option {option!r}. It has: {known}.")
    wanted = option or envelope.default_configuration
    chosen: dict[str, Item] = {}
    for index, item in enumerate(sorted(system.items, key=lambda i: bool(i.configurations))):
        if not item.configurations or wanted in item.configurations:
            chosen[item.get("InstanceID", "InstanceId") or f"unnumbered-{index}"] = item
    return list(chosen.values())


def _whole(words: str | None, what: str) -> int | None:
    if words is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", words):
        raise Invalid(f"The OVF descriptor says {words!r} for {what}; a whole number is needed.")
    return int(words)


def _cpus(items: list[Item]) -> int:
    total = 0
    for item in items:
        count = _whole(item.get("VirtualQuantity"), "the number of processors")
        if count is None:  # oVirt before 4.4
            sockets = _whole(item.get("num_of_sockets"), "the number of sockets") or 1
            count = sockets * (_whole(item.get("cpu_per_socket"), "the processors per socket") or 1)
        total += count
    if items and not 0 < total <= _MOST_CPUS:
        raise Invalid(f"The OVF descriptor asks for {total} processors; 1 to {_MOST_CPUS} are possible.")
    return total or DEFAULT_CPUS


def _memory(items: list[Item]) -> int:
    total = 0
    for item in items:
        quantity = _whole(item.get("VirtualQuantity"), "the memory")
        # Bytes are the unit that DSP0243 implies; nobody means them with less than 1 MiB.
        units = item.get("AllocationUnits") or "byte * 2^20"
        total += (quantity or 0) * unit_bytes(units)
    megabytes = -(-total // MIB)
    if items and not 0 < megabytes <= _MOST_MEMORY_MB:
        raise Invalid(f"The OVF descriptor asks for {total} bytes of memory.")
    return megabytes or DEFAULT_MEMORY_MB


def _id(item: Item) -> str:
    return item.get("InstanceID", "InstanceId") or item.get("ElementName", "Caption") or "0"


def _controller(kind: int, item: Item) -> Controller:
    words = (item.get("ResourceSubType") or "").lower()
    hint = f"{words} {(item.get('ElementName', 'Caption') or '').lower()}" if kind == OTHER_STORAGE else words
    found = next(((type_, model) for part, type_, model in _CONTROLLERS if part in hint), None)
    type_, model = found or (_CONTROLLER_TYPES[kind], words.split()[0] if words else None)
    bus = small_number(item.get("Address")) or 0
    return Controller(id=_id(item), type=type_, bus_number=bus, model=model)


def _disks(envelope: Envelope, items: list[Item]) -> list[Disk]:
    disks: dict[str, Disk] = {}
    for item in items:
        what, reference = _host_resource(envelope, item)
        described = envelope.disks.get(reference) if what == "disk" else None
        if described is None and (what == "disk" or reference not in envelope.files):
            raise Invalid(f"A drive of the OVF refers to the {what} {reference!r}, which is not described.")
        if reference in disks:
            raise Invalid(f"Two drives of one machine in the OVF are the same disk {reference!r}.")
        interface = (described.interface or "").lower() if described else ""
        parent = item.get("Parent")
        disks[reference] = Disk(
            id=reference,
            size_bytes=described.capacity if described else 0,
            controller_id=parent if parent not in (None, "0") else _INTERFACES.get(interface),
            unit_number=small_number(item.get("AddressOnParent")),
            name=item.get("ElementName", "Caption"),
        )
    return list(disks.values())


def _host_resource(envelope: Envelope, item: Item) -> tuple[str, str]:
    """(disk | file, id) of ``ovf:/disk/x``, ``ovf://disk/x``, ``/disk/x`` and of oVirt's ``folder/file``."""
    words = item.get("HostResource") or ""
    match = _HOST_RESOURCE.fullmatch(words)
    if match is not None:
        return match[1], match[2]
    by_file = next((disk.id for disk in envelope.disks.values() if words and disk.file_id == words), None)
    if by_file is None and words in envelope.disks:
        by_file = words
    if by_file is None:
        raise Invalid(f"The drive {_id(item)!r} of the OVF names the disk as {words!r}; 'ovf:/disk/ID' is needed.")
    return "disk", by_file


def _stand_ins(envelope: Envelope, disks: list[Disk]) -> list[Controller]:
    """Controllers for disks whose descriptor names a bus and no controller."""
    wanted = {disk.controller_id for disk in disks if disk.id in envelope.disks and envelope.disks[disk.id].interface}
    return [Controller(id=type_, type=type_) for type_ in sorted(set(_INTERFACES.values())) if type_ in wanted]


def _nics(envelope: Envelope, system: System, items: list[Item]) -> list[Nic]:
    only = envelope.networks[0] if envelope.networks else "unnamed"
    nics = []
    for index, item in enumerate(items):
        model = (item.get("ResourceSubType") or "").lower().split()
        mac = _mac(item.get("MACAddress", "Address"))
        if mac is None and len(system.macs) == len(items):
            mac = _mac(system.macs[index])
        nics.append(
            Nic(
                id=_id(item),
                name=item.get("ElementName", "Caption"),
                network_name=item.get("Connection") or only,
                mac_address=mac,
                model=_OVIRT_NICS.get(model[0], model[0]) if model else None,
            )
        )
    return nics


def _mac(words: str | None) -> str | None:
    digits = re.sub(r"[:.\-]", "", words or "").lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        return None
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _drive(item: Item) -> dict[str, Any]:
    drive: dict[str, Any] = {"id": _id(item), "name": item.get("ElementName", "Caption") or ""}
    if item.get("Parent"):
        drive["controller_id"] = item.get("Parent")
    return drive
