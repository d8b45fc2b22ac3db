# SPDX-License-Identifier: Apache-2.0
"""A server, with its volumes, ports and image, as an instance. Pure: what the services said comes in.

``Instance.extra`` of a server:

==================== ===============================================================================================
``status``           Nova's word: ACTIVE, SHUTOFF, PAUSED ...
``locked``           whether only an administrator may stop it
``availability_zone``, ``description``, ``keypair_name``, ``metadata``, ``tags``, ``config_drive``
                     as the server has them
``has_user_data``    None when our credentials may not see it; the data themselves may hold secrets and stay behind
``server_groups``    ids
``security_groups``  names
``flavor``           ``vcpus``, ``ram_mb``, ``disk_gb``, ``ephemeral_gb``, ``swap_mb``, ``extra_specs``
``image``            ``id`` of the image that it was made from (None for one that boots from a volume), ``present``
                     (whether Glance still has it), ``properties`` (``hw_*``, ``os_*`` ... of the image or boot volume)
``volumes``          disk id -> ``type``, ``bootable``, ``encrypted``, ``multiattach``, ``device``, ``status``
``nics``             nic id -> ``security_group_ids``, ``floating_addresses``, ``port_security``, ``vnic_type``
==================== ===============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coriolis.providers.api import (
    Controller,
    Devices,
    Disk,
    Firmware,
    Instance,
    InstanceSummary,
    Nic,
    OsType,
)

MIB = 1 << 20
GIB = 1 << 30
ROOT = "root"
SWAP = "swap"
EPHEMERAL = "ephemeral0"
#: ``storage_backend_identifier`` of disks that live with the hypervisor
LOCAL = "local"

_OFF = frozenset({"SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "ERROR", "BUILD", "DELETED", "SOFT_DELETED"})
#: hw_disk_bus -> type of controller
_CONTROLLERS = {"virtio": "virtio", "scsi": "scsi", "ide": "ide", "sata": "sata", "usb": "scsi", "fdc": "ide"}
_OS_TYPES = {"linux": OsType.LINUX, "windows": OsType.WINDOWS}
#: beginning of os_distro -> type. https://docs.openstack.org/glance/latest/admin/useful-image-properties.html
_DISTRIBUTIONS = (
    ("windows", OsType.WINDOWS),
    ("freebsd", OsType.BSD),
    ("netbsd", OsType.BSD),
    ("openbsd", OsType.BSD),
    ("solaris", OsType.SOLARIS),
    ("opensolaris", OsType.SOLARIS),
)
#: beginnings of the names of image properties that speak of the guest, and among those of some that do not
_TELLING = ("hw_", "os_", "img_", "architecture")
_ABOUT_THE_FILE = ("os_glance", "os_hash", "os_hidden", "img_signature")
_UNKNOWN_DISTRIBUTIONS = frozenset({"", "unknown", "other", "netware", "msdos"})


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What belongs to a server. ``image``: None when the server boots from a volume, or the image is gone."""

    server: Any
    volumes: Sequence[Any] = ()
    ports: Sequence[Any] = ()
    image: Any | None = None
    network_names: Mapping[str, str] | None = None  # id -> name


def summary(server: Any, properties: Mapping[str, Any] | None) -> InstanceSummary:
    """A line of a listing. ``properties``: of the image, or None when they are not known."""
    return InstanceSummary(
        id=server.id,
        name=server.name,
        instance_name=server.name,
        num_cpu=cpus(server),
        memory_mb=memory_mb(server),
        os_type=os_type(properties or {}),
        flavor_name=flavor_name(server),
        firmware_type=None if properties is None else firmware(properties),
    )


def instance(parts: Parts) -> Instance:
    server = parts.server
    properties = image_properties(parts)
    bus = str(properties.get("hw_disk_bus") or "virtio")
    controller = Controller(id="disks", type=_CONTROLLERS.get(bus, "virtio"), model=bus)
    disks = _disks(parts, controller.id)
    return Instance(
        id=server.id,
        name=server.name,
        instance_name=server.name,
        hostname=server.hostname,
        num_cpu=cpus(server),
        memory_mb=memory_mb(server),
        os_type=os_type(properties),
        firmware_type=firmware(properties),
        secure_boot=str(properties.get("os_secure_boot", "")).lower() == "required",
        guest_id=properties.get("os_distro"),
        flavor_name=flavor_name(server),
        running=server.status not in _OFF,
        boot_order=({"type": "disk", "id": disks[0].id},) if disks else (),
        devices=Devices(
            disks=disks,
            nics=_nics(parts, str(properties.get("hw_vif_model") or "virtio")),
            controllers=(controller,) if disks else (),
        ),
        extra=_extra(parts, properties),
    )


# ---- facts of the flavor and the image --------------------------------------------------------------------------


def cpus(server: Any) -> int:
    return max(1, int(server.flavor.vcpus or 1))


def memory_mb(server: Any) -> int:
    return max(1, int(server.flavor.ram or 1))


def flavor_name(server: Any) -> str | None:
    """The name that the flavor had when the server got it."""
    return server.flavor.original_name or server.flavor.name


def os_type(properties: Mapping[str, Any]) -> OsType:
    """From ``os_type``, otherwise from ``os_distro``; most images tell neither."""
    told = _OS_TYPES.get(str(properties.get("os_type", "")).lower())
    if told is not None:
        return told
    distribution = str(properties.get("os_distro") or "").lower()
    for start, kind in _DISTRIBUTIONS:
        if distribution.startswith(start):
            return kind
    return OsType.UNKNOWN if distribution in _UNKNOWN_DISTRIBUTIONS else OsType.LINUX


def firmware(properties: Mapping[str, Any]) -> Firmware:
    """Nova's default is BIOS."""
    return Firmware.EFI if str(properties.get("hw_firmware_type", "")).lower() == "uefi" else Firmware.BIOS


def image_id(server: Any) -> str | None:
    """None for a server that boots from a volume."""
    return (server.image.id if server.image else None) or None


def properties_of(image: Any) -> dict[str, Any]:
    """The properties of a Glance image that speak of the guest, by Glance's names.

    openstacksdk makes attributes of those that it knows, and leaves the others in ``properties``.
    """
    told = image.to_dict(computed=False, original_names=True)
    return telling({**told, **(told.get("properties") or {})})


def image_properties(parts: Parts) -> dict[str, Any]:
    """Of the image, or of the volume that is booted. What the server itself says (from 2.98 on) is the latest word."""
    if parts.image is not None:
        return properties_of(parts.image)
    if image_id(parts.server) is not None:
        return telling(getattr(parts.server.image, "properties", None) or {})
    boot = boot_volume(parts.server, parts.volumes)
    return telling(getattr(boot, "volume_image_metadata", None) or {})


def telling(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Of the metadata of an image, or of a volume made from one, what speaks of the guest."""
    return {
        name: value
        for name, value in sorted(properties.items())
        if value is not None and name.startswith(_TELLING) and not name.startswith(_ABOUT_THE_FILE)
    }


# ---- disks ------------------------------------------------------------------------------------------------------


def device_of(server: Any, volume: Any) -> str:
    """Where Nova put the volume: ``/dev/vdb``; empty when Cinder does not tell."""
    for attachment in volume.attachments or ():
        if attachment.get("server_id") == server.id:
            return str(attachment.get("device") or "")
    return ""


def _rank(device: str) -> tuple[bool, int, str]:
    """vda, vdb ... vdz, vdaa; unknown ones last."""
    return (not device, len(device), device)


def ordered_volumes(server: Any, volumes: Iterable[Any]) -> list[Any]:
    """By device name."""
    return sorted(volumes, key=lambda volume: (*_rank(device_of(server, volume)), volume.id))


def boot_volume(server: Any, volumes: Iterable[Any]) -> Any | None:
    """What a server without image boots from: its root device when our credentials may see that, otherwise the first
    bootable volume."""
    if image_id(server) is not None:
        return None
    found = ordered_volumes(server, volumes)
    roots = [volume for volume in found if device_of(server, volume) == (server.root_device_name or "?")]
    bootable = [volume for volume in found if volume.is_bootable]
    return next(iter([*roots, *bootable, *found]), None)


def root_bytes(server: Any, image: Any | None) -> int:
    """Of an image-backed root disk: the flavor's size; the image's own where the flavor has none."""
    if server.flavor.disk:
        return int(server.flavor.disk) * GIB
    sizes = [int(image.min_disk or 0) * GIB, int(image.virtual_size or image.size or 0)] if image is not None else []
    return max(sizes, default=0)


def _disks(parts: Parts, controller: str) -> tuple[Disk, ...]:
    """The boot disk, ephemeral and swap disks in Nova's order of making them, then volumes by device name."""
    server = parts.server
    boot = boot_volume(server, parts.volumes)
    found: list[tuple[str, int, str, str | None]] = []  # id, bytes, storage, name
    if boot is not None:
        found.append(_volume(server, boot))
    elif image_id(server) is not None:
        found.append((ROOT, root_bytes(server, parts.image), LOCAL, "root"))
    found.append((EPHEMERAL, int(server.flavor.ephemeral or 0) * GIB, LOCAL, "ephemeral"))
    found.append((SWAP, int(server.flavor.swap or 0) * MIB, LOCAL, "swap"))
    found += [_volume(server, volume) for volume in ordered_volumes(server, parts.volumes) if volume is not boot]
    present = [one for one in found if one[1] > 0]
    return tuple(
        Disk(
            id=identifier,
            size_bytes=size,
            format="raw",
            controller_id=controller,
            unit_number=number,
            storage_backend_identifier=storage,
            allocation_type="dynamic",
            name=name,
        )
        for number, (identifier, size, storage, name) in enumerate(present)
    )


def _volume(server: Any, volume: Any) -> tuple[str, int, str, str | None]:
    name = volume.name or device_of(server, volume).removeprefix("/dev/") or None
    return volume.id, int(volume.size) * GIB, volume.volume_type, name


# ---- network interfaces -----------------------------------------------------------------------------------------


def _nics(parts: Parts, model: str) -> tuple[Nic, ...]:
    """In the order of the server's addresses, which is that of its interfaces; those without address last."""
    order = [entry.get("OS-EXT-IPS-MAC:mac_addr") for entry in _entries(parts.server)]
    place = {mac: number for number, mac in reversed(list(enumerate(order)))}
    names = parts.network_names or {}
    ports = sorted(
        parts.ports, key=lambda port: (place.get(port.mac_address, len(order)), port.created_at or "", port.id)
    )
    return tuple(
        Nic(
            id=port.id,
            network_name=names.get(port.network_id) or port.network_id,
            network_id=port.network_id,
            mac_address=(port.mac_address or "").lower() or None,
            name=port.name or None,
            model=model,
            ip_addresses=tuple(fixed["ip_address"] for fixed in port.fixed_ips or ()),
        )
        for port in ports
    )


def _entries(server: Any) -> list[dict[str, Any]]:
    return [entry for entries in (server.addresses or {}).values() for entry in entries]


def _floating(server: Any, mac: str | None) -> list[str]:
    return [
        entry["addr"]
        for entry in _entries(server)
        if entry.get("OS-EXT-IPS:type") == "floating" and entry.get("OS-EXT-IPS-MAC:mac_addr") == mac
    ]


# ---- what else there is -----------------------------------------------------------------------------------------


def _extra(parts: Parts, properties: Mapping[str, Any]) -> dict[str, Any]:
    server, flavor = parts.server, parts.server.flavor
    return {
        "status": server.status,
        "locked": bool(server.is_locked),
        "availability_zone": server.availability_zone or None,
        "description": server.description or None,
        "keypair_name": server.key_name,
        "metadata": dict(server.metadata or {}),
        "tags": sorted(server.tags or ()),
        "config_drive": bool(server.has_config_drive),
        "has_user_data": _has_user_data(server),
        "server_groups": list(server.server_groups or ()),
        "security_groups": sorted({group["name"] for group in server.security_groups or ()}),
        "flavor": {
            "vcpus": flavor.vcpus,
            "ram_mb": flavor.ram,
            "disk_gb": flavor.disk,
            "ephemeral_gb": flavor.ephemeral or 0,
            "swap_mb": flavor.swap or 0,
            "extra_specs": dict(flavor.extra_specs or {}),
        },
        "image": {
            "id": image_id(server),
            "present": parts.image is not None,
            "properties": dict(properties),
        },
        "volumes": {volume.id: _about_volume(server, volume) for volume in parts.volumes},
        "nics": {port.id: _about_port(server, port) for port in parts.ports},
    }


def _has_user_data(server: Any) -> bool | None:
    """Nova shows extended attributes to administrators only; a host name of the hypervisor tells that we are one."""
    if server.user_data:
        return True
    return False if server.hypervisor_hostname else None


def _about_volume(server: Any, volume: Any) -> dict[str, Any]:
    return {
        "type": volume.volume_type,
        "bootable": bool(volume.is_bootable),
        "encrypted": bool(volume.is_encrypted),
        "multiattach": bool(volume.is_multiattach),
        "device": device_of(server, volume) or None,
        "status": volume.status,
        "availability_zone": volume.availability_zone,
    }


def _about_port(server: Any, port: Any) -> dict[str, Any]:
    return {
        "security_group_ids": list(port.security_group_ids or ()),
        "floating_addresses": _floating(server, port.mac_address),
        "port_security": port.is_port_security_enabled,
        "vnic_type": port.binding_vnic_type,
    }
