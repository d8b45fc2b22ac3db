# SPDX-License-Identifier: Apache-2.0
"""The hardware that a guest shall see, as image metadata of its boot volume, which Nova reads. Pure.

Source of names and values: https://docs.openstack.org/glance/latest/admin/useful-image-properties.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from coriolis.providers.api import Concern, Environment, Firmware, Instance, Invalid, OsType


@dataclass(frozen=True)
class Choice:
    """An option of ``destination_environment``, and the image property that it sets; the source's is the default."""

    option: str
    title: str
    name: str
    values: tuple[str, ...]


CHOICES = (
    Choice("disk_bus", "Disk bus", "hw_disk_bus", ("virtio", "scsi", "sata", "ide", "usb")),
    Choice("nic_model", "NIC model", "hw_vif_model", ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")),
    Choice("machine_type", "Machine type", "hw_machine_type", ("pc", "q35")),
)
#: What else is kept: no cloud refuses it.
_KEPT = ("hw_qemu_guest_agent", "hw_rng_model", "os_distro", "os_version")
_SCSI_MODELS = frozenset({"virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi"})
_OS_TYPES = {OsType.LINUX: "linux", OsType.WINDOWS: "windows"}


def image_properties(instance: Instance, environment: Environment) -> dict[str, str]:
    """Of the boot volume. What the image of a server of another cloud says is kept where the environment is silent.

    :raises Invalid: they contradict each other
    """
    told = _told(instance)
    chosen = {choice.option: environment.get(choice.option) or _kept(choice, told) for choice in CHOICES}
    efi = instance.firmware_type is Firmware.EFI
    found = {"hw_firmware_type": "uefi" if efi else "bios"}
    found |= {name: str(told[name]) for name in _KEPT if told.get(name) not in (None, "")}
    if instance.os_type in _OS_TYPES:
        found["os_type"] = _OS_TYPES[instance.os_type]
    if efi and instance.secure_boot:
        if environment.get("machine_type") == "pc":
            raise Invalid("machine_type: the instance uses secure boot, which needs machine_type q35")
        found["os_secure_boot"] = "required"
        chosen["machine_type"] = "q35"
    if chosen["disk_bus"] == "ide":
        if chosen["machine_type"] == "q35":
            raise Invalid("disk_bus: machine q35 has no IDE bus; use disk_bus sata, or machine_type pc")
        chosen["machine_type"] = "pc"  # the cloud's default may be a q35
    if chosen["disk_bus"] == "scsi":
        model = str(told.get("hw_scsi_model", "")).lower()
        found["hw_scsi_model"] = model if model in _SCSI_MODELS else "virtio-scsi"
    return found | {choice.name: str(chosen[choice.option]) for choice in CHOICES if chosen[choice.option]}


def hardware_concerns(instance: Instance, environment: Environment) -> Iterator[Concern]:
    """What the source says of its hardware, and that no option can say: the guest sees the cloud's default."""
    told = _told(instance)
    for choice in CHOICES:
        value = told.get(choice.name)
        if value and not environment.get(choice.option) and not _kept(choice, told):
            message = f"{choice.name} {value} is not kept; {choice.option} may be one of {', '.join(choice.values)}"
            yield Concern(code="openstack.hardware_not_kept", message=message)


def _told(instance: Instance) -> Mapping[str, Any]:
    return (instance.extra.get("image") or {}).get("properties") or {}


def _kept(choice: Choice, told: Mapping[str, Any]) -> str | None:
    value = str(told.get(choice.name) or "").lower()
    if choice.option == "machine_type":
        value = _machine(value)
    return value if value in choice.values else None


def _machine(value: str) -> str:
    """Without QEMU's version, which another cloud may not have: pc-q35-7.2, pc-i440fx-7.2."""
    if value.startswith(("pc-q35", "q35")):
        return "q35"
    return "pc" if value.startswith("pc-i440fx") else value
