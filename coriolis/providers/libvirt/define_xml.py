# SPDX-License-Identifier: Apache-2.0
"""Our instance model as libvirt's domain XML. Rules only; the other direction is ``domain_xml``."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

from coriolis.providers.api import Firmware, Instance, Layout, OsType, PlannedNic
from coriolis.providers.libvirt.domain_xml import NAMESPACE

LOG_DIRECTORY = "/var/log/libvirt/qemu"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PREFIXES = {"virtio": "vd", "ide": "hd"}  # others: sd
_BRIDGE = "bridge:"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """How the new domain is built; `Layout.properties` holds these fields."""

    machine: str = "q35"
    accel: str = "tcg"  # kvm or tcg: resolved by the plan
    disk_bus: str = "virtio"
    nic_model: str = "virtio"
    graphics: str = "none"
    firmware: str = Firmware.BIOS.value
    secure_boot: bool = False


@dataclass(frozen=True, kw_only=True)
class VolumeFile:
    """A volume to attach. ``type``: file or block."""

    path: str
    format: str
    type: str = "file"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Everything that a domain's XML is made of. ``files``: by source disk id; ``log``: where the host writes down
    what the first serial port prints."""

    uuid: str
    key: str
    instance: Instance
    layout: Layout
    hardware: Hardware
    log: str | None = None
    files: Mapping[str, VolumeFile] = field(default_factory=dict)


def target_name(bus: str, index: int) -> str:
    """vda, vdb ... vdz, vdaa; or sda, hda by bus."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = _LETTERS[letter] + letters
    return _PREFIXES.get(bus, "sd") + letters


def define_xml(definition: Definition) -> str:
    """The domain's XML. Disks come in the layout's order, the boot disk is first to boot."""
    instance, hardware = definition.instance, definition.hardware
    domain = ET.Element("domain", type="kvm" if hardware.accel == "kvm" else "qemu")
    _text(domain, "name", definition.layout.name)
    _text(domain, "uuid", definition.uuid)
    _metadata(domain, definition)
    _text(domain, "memory", str(instance.memory_mb), unit="MiB")
    _text(domain, "vcpu", str(instance.num_cpu))
    _os(domain, hardware)
    features = ET.SubElement(domain, "features")
    for name in ("acpi", "apic"):
        ET.SubElement(features, name)
    if hardware.secure_boot:
        ET.SubElement(features, "smm", state="on")
    # Emulation's default CPU lacks what newer distributions need (x86-64-v2).
    ET.SubElement(domain, "cpu", mode="host-model" if hardware.accel == "kvm" else "maximum")
    ET.SubElement(domain, "clock", offset="localtime" if instance.os_type is OsType.WINDOWS else "utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(domain, f"on_{event}", action)
    _devices(domain, definition)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def _text(parent: ET.Element, name: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, name, attributes)
    element.text = text
    return element


def _metadata(domain: ET.Element, definition: Definition) -> None:
    ET.register_namespace("coriolis", NAMESPACE)
    ET.SubElement(
        ET.SubElement(domain, "metadata"),
        f"{{{NAMESPACE}}}instance",
        {"key": definition.key, "source": definition.instance.id, "os_type": definition.instance.os_type.value},
    )


def _os(domain: ET.Element, hardware: Hardware) -> None:
    efi = hardware.firmware == Firmware.EFI.value
    element = ET.SubElement(domain, "os", {"firmware": "efi"} if efi else {})
    _text(element, "type", "hvm", arch="x86_64", machine=hardware.machine)
    if efi:
        wanted = "yes" if hardware.secure_boot else "no"
        features = ET.SubElement(element, "firmware")
        ET.SubElement(features, "feature", enabled=wanted, name="secure-boot")
        ET.SubElement(features, "feature", enabled=wanted, name="enrolled-keys")
        if hardware.secure_boot:
            ET.SubElement(element, "loader", secure="yes")


def _devices(domain: ET.Element, definition: Definition) -> None:
    devices = ET.SubElement(domain, "devices")
    hardware = definition.hardware
    if hardware.disk_bus == "scsi":
        ET.SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    disks = definition.layout.disks
    boot = next((d.disk_id for d in disks if d.boot), disks[0].disk_id if disks else None)
    for index, disk in enumerate(disks):
        file = definition.files[disk.disk_id]
        element = ET.SubElement(devices, "disk", type=file.type, device="disk")
        ET.SubElement(element, "driver", name="qemu", type=file.format, discard="unmap")
        ET.SubElement(element, "source", {"dev" if file.type == "block" else "file": file.path})
        ET.SubElement(element, "target", dev=target_name(hardware.disk_bus, index), bus=hardware.disk_bus)
        if disk.disk_id == boot:
            ET.SubElement(element, "boot", order="1")
    for nic in definition.layout.nics:
        _interface(devices, nic, hardware.nic_model)
    serial = ET.SubElement(devices, "serial", type="pty")
    if definition.log:
        ET.SubElement(serial, "log", file=definition.log, append="on")
    ET.SubElement(serial, "target", port="0")
    ET.SubElement(ET.SubElement(devices, "console", type="pty"), "target", type="serial", port="0")
    if hardware.graphics == "vnc":
        ET.SubElement(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")


def _interface(devices: ET.Element, nic: PlannedNic, model: str) -> None:
    if nic.network.startswith(_BRIDGE):
        kind, source = "bridge", {"bridge": nic.network.removeprefix(_BRIDGE)}
    elif nic.network == "user":
        kind, source = "user", {}
    else:
        kind, source = "network", {"network": nic.network}
    element = ET.SubElement(devices, "interface", type=kind)
    if nic.mac_address:
        ET.SubElement(element, "mac", address=nic.mac_address)
    if source:
        ET.SubElement(element, "source", source)
    ET.SubElement(element, "model", type=nic.properties.get("model", model))


def serial_log(name: str) -> str:
    """The file on the host into which the first serial port of domain ``name`` is copied."""
    return f"{LOG_DIRECTORY}/{name}-serial0.log"
