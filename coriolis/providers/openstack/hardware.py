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


#: As if the source said nothing.
DEFAULT = "default"
CHOICES = (
    Choice("disk_bus", "Disk bus", "hw_disk_bus", ("virtio", "scsi", "sata", "ide", "usb")),
    Choice("nic_model", "NIC model", "hw_vif_model", ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")),
    Choice("machine_type", "Machine type", "hw_machine_type", ("pc", "q35")),
)
#: What else is kept: no cloud refuses it.
_KEPT = ("hw_qemu_guest_agent", "hw_rng_model", "os_distro", "os_version")
_SCSI_MODELS = frozenset({"virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi"})
#: What options and firmware decide: a volume on which it was set for an earlier plan does not keep it.
CHOSEN = frozenset({"os_secure_boot", "hw_scsi_model", *(choice.name for choice in CHOICES)})
_OS_TYPES = {OsType.LINUX: "linux", OsType.WINDOWS: "windows"}


def image_properties(instance: Instance, environment: Environment) -> dict[str, str]:
    """Of the boot volume. What the image of a server of another cloud says is kept where the environment is silent.

    :raises Invalid: what the environment says cannot be
    """
    told, chosen = _told(instance), _chosen(instance, environment)
    found = {"hw_firmware_type": "uefi" if instance.firmware_type is Firmware.EFI else "bios"}
    found |= {name: str(told[name]) for name in _KEPT if told.get(name) not in (None, "")}
    if instance.os_type in _OS_TYPES:
        found["os_type"] = _OS_TYPES[instance.os_type]
    if _is_secure(instance):
        found["os_secure_boot"] = "required"
    if chosen["disk_bus"] == "scsi":
        model = str(told.get("hw_scsi_model", "")).lower()
        found["hw_scsi_model"] = model if model in _SCSI_MODELS else "virtio-scsi"
    return found | {choice.name: value for choice in CHOICES if (value := chosen[choice.option])}


def hardware_concerns(instance: Instance, environment: Environment) -> Iterator[Concern]:
    """What the source says of its hardware, and the new server does not get."""
    told, chosen = _told(instance), _chosen(instance, environment)
    for choice in CHOICES:
        value, made = told.get(choice.name), chosen[choice.option]
        if not value or environment.get(choice.option) or (made and made == _kept(choice, told)):
            continue
        instead = made or "the cloud's default"
        message = f"{choice.name} {value} is not kept: it will be {instead}, or what {choice.option} says"
        yield Concern(code="openstack.hardware_not_kept", message=message)


def _chosen(instance: Instance, environment: Environment) -> dict[str, str | None]:
    """The value of each option; None: the cloud's default. What the user says goes before what the source says.

    :raises Invalid: what the environment says cannot be
    """
    told, secure = _told(instance), _is_secure(instance)
    asked = {choice.option: environment.get(choice.option) for choice in CHOICES}
    found = {choice.option: asked[choice.option] or _kept(choice, told) for choice in CHOICES}
    found = {option: None if value == DEFAULT else value for option, value in found.items()}
    if secure:
        if asked["machine_type"] == "pc":
            raise Invalid("machine_type: the instance uses secure boot, which needs machine_type q35")
        found["machine_type"] = "q35"
    if found["disk_bus"] != "ide":
        return found
    wants_q35 = secure or asked["machine_type"] == "q35"
    if asked["disk_bus"] == "ide" and wants_q35:
        raise Invalid("disk_bus: machine q35 has no IDE bus; use disk_bus sata, or machine_type pc")
    if wants_q35:
        found["disk_bus"] = None
    elif asked["machine_type"] is None:
        found["machine_type"] = "pc"  # the cloud's default may be a q35
    return found


def _is_secure(instance: Instance) -> bool:
    return instance.secure_boot and instance.firmware_type is Firmware.EFI


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
