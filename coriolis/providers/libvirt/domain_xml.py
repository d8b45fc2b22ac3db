# SPDX-License-Identifier: Apache-2.0
"""libvirt's domain XML as our instance model. Rules only; the other direction is ``define_xml``.

Source of the format: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coriolis.providers.api import (
    Controller,
    Devices,
    Disk,
    Firmware,
    Instance,
    InstanceSummary,
    Invalid,
    Nic,
    OsType,
)

NAMESPACE = "urn:coriolis:libvirt:1"  # of our element in <metadata>
LIBOSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
_DISK_CONTROLLERS = ("scsi", "ide", "sata")
_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1 << 10, "KiB": 1 << 10, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20,
          "GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40}  # fmt: skip
# Vendor part of a libosinfo id, http://VENDOR/...
_OS_BY_VENDOR: tuple[tuple[str, OsType], ...] = (
    ("microsoft.com", OsType.WINDOWS),
    ("freebsd.org", OsType.BSD),
    ("openbsd.org", OsType.BSD),
    ("netbsd.org", OsType.BSD),
    ("dragonflybsd.org", OsType.BSD),
    ("apple.com", OsType.OSX),
    ("oracle.com/solaris", OsType.SOLARIS),
    ("sun.com/solaris", OsType.SOLARIS),
    ("omnios.org", OsType.SOLARIS),
    ("smartos.org", OsType.SOLARIS),
    ("oracle.com/ol", OsType.LINUX),
    *(
        (vendor, OsType.LINUX)
        for vendor in (
            "debian.org", "ubuntu.com", "redhat.com", "fedoraproject.org", "centos.org", "rockylinux.org",
            "almalinux.org", "suse.com", "opensuse.org", "archlinux.org", "alpinelinux.org", "gentoo.org",
            "libosinfo.org/linux", "linux", "amazon.com", "nixos.org", "mageia.org", "altlinux.org",
        )
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DiskSource:
    """Where a domain's disk is. ``target``: the name that the guest's bus gives it, our disk id.

    ``type``: libvirt's word (file, block, volume, network); ``path``: of a file or block device on the host.
    """

    target: str
    type: str
    format: str
    path: str | None = None
    pool: str | None = None
    volume: str | None = None
    read_only: bool = False
    transient: bool = False


def parse(xml: str) -> ET.Element:
    try:
        return ET.fromstring(xml)
    except ET.ParseError as error:
        raise Invalid(f"libvirt gave XML that cannot be read: {error}") from None


def disk_sources(domain: ET.Element) -> tuple[DiskSource, ...]:
    """The disks (no CD-ROMs, floppies, empty drives) in the order of the XML."""
    found = []
    for element in domain.iterfind("./devices/disk"):
        source = element.find("source")
        if element.get("device", "disk") != "disk" or source is None:
            continue
        kind = element.get("type", "file")
        path = {"file": source.get("file"), "block": source.get("dev")}.get(kind)
        found.append(
            DiskSource(
                target=_get(element, "target", "dev", ""),
                type=kind,
                format=_get(element, "driver", "type", "raw"),
                path=path,
                pool=source.get("pool"),
                volume=source.get("volume"),
                read_only=element.find("readonly") is not None,
                transient=element.find("transient") is not None,
            )
        )
    return tuple(found)


def instance_from_xml(
    domain: ET.Element,
    *,
    sizes: Mapping[str, int],
    running: bool,
    network_ids: Mapping[str, str] | None = None,
    pools: Mapping[str, str] | None = None,
) -> Instance:
    """``sizes``: bytes by target; ``network_ids``: libvirt's by name; ``pools``: pool name by target."""
    name = domain.findtext("name", "")
    os_element = domain.find("os")
    return Instance(
        id=domain.findtext("uuid", ""),
        name=name,
        instance_name=name,
        num_cpu=_cpus(domain),
        memory_mb=_memory_mb(domain),
        os_type=os_type(domain),
        firmware_type=firmware(domain),
        secure_boot=_secure_boot(os_element),
        nested_virtualization=any(
            f.get("name") in ("vmx", "svm") and f.get("policy") in ("require", "force")
            for f in domain.iterfind("./cpu/feature")
        ),
        dynamic_memory_enabled=_current_memory(domain) < _memory(domain),
        guest_id=_guest_id(domain),
        running=running,
        boot_order=_boot_order(domain),
        devices=Devices(
            disks=tuple(_disks(domain, sizes, pools or {})),
            nics=tuple(_nics(domain, network_ids or {})),
            controllers=tuple(_controllers(domain)),
            cdroms=tuple(_removable(domain, "cdrom")),
            floppies=tuple(_removable(domain, "floppy")),
            serial_ports=tuple(
                {"id": f"serial{i}", "type": e.get("type", "pty")}
                for i, e in enumerate(domain.iterfind("./devices/serial"))
            ),
        ),
    )


def summary_from_xml(domain: ET.Element) -> InstanceSummary:
    name = domain.findtext("name", "")
    return InstanceSummary(
        id=domain.findtext("uuid", ""),
        name=name,
        instance_name=name,
        num_cpu=_cpus(domain),
        memory_mb=_memory_mb(domain),
        os_type=os_type(domain),
        firmware_type=firmware(domain),
    )


def our_key(domain: ET.Element) -> str | None:
    """The key that the domain was made with; None when it is not ours."""
    element = domain.find(f"./metadata/{{{NAMESPACE}}}instance")
    return None if element is None else element.get("key")


def os_type(domain: ET.Element) -> OsType:
    """From libosinfo's metadata, otherwise from ours."""
    guest = (_guest_id(domain) or "").split("://")[-1]
    for vendor, kind in _OS_BY_VENDOR:
        if guest.startswith(vendor):
            return kind
    ours = domain.find(f"./metadata/{{{NAMESPACE}}}instance")
    word = None if ours is None else ours.get("os_type")
    return OsType(word) if word in set(OsType) else OsType.UNKNOWN


def firmware(domain: ET.Element) -> Firmware:
    element = domain.find("os")
    if element is None:
        return Firmware.BIOS
    loader = element.find("loader")
    efi = element.get("firmware") == "efi" or (loader is not None and loader.get("type") == "pflash")
    return Firmware.EFI if efi else Firmware.BIOS


def _get(element: ET.Element, path: str, attribute: str, default: str) -> str:
    found = element.find(path)
    return default if found is None else found.get(attribute, default)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _guest_id(domain: ET.Element) -> str | None:
    element = domain.find(f"./metadata/{{{LIBOSINFO}}}libosinfo/{{{LIBOSINFO}}}os")
    return None if element is None else element.get("id")


def _cpus(domain: ET.Element) -> int:
    element = domain.find("vcpu")
    if element is None:
        return 1
    return _number(element.get("current")) or _number((element.text or "").strip()) or 1


def _bytes(element: ET.Element | None) -> int:
    if element is None:
        return 0
    return (_number((element.text or "").strip()) or 0) * _UNITS.get(element.get("unit", "KiB"), 1 << 10)


def _memory(domain: ET.Element) -> int:
    return _bytes(domain.find("memory"))


def _current_memory(domain: ET.Element) -> int:
    return _bytes(domain.find("currentMemory")) or _memory(domain)


def _memory_mb(domain: ET.Element) -> int:
    return -(-_memory(domain) // (1 << 20))


def _secure_boot(os_element: ET.Element | None) -> bool:
    if os_element is None:
        return False
    feature = next((f for f in os_element.iterfind("./firmware/feature") if f.get("name") == "secure-boot"), None)
    if feature is not None:
        return feature.get("enabled") == "yes"
    return _get(os_element, "loader", "secure", "no") == "yes"


def _disks(domain: ET.Element, sizes: Mapping[str, int], pools: Mapping[str, str]) -> list[Disk]:
    addresses = {_get(e, "target", "dev", ""): (e.find("address"), _get(e, "target", "bus", "")) for e in
                 domain.iterfind("./devices/disk")}  # fmt: skip
    return [
        Disk(
            id=source.target,
            name=source.target,
            size_bytes=sizes.get(source.target, 0),
            format=source.format,
            path=source.path or source.volume,
            controller_id=_controller_of(*addresses[source.target]),
            unit_number=_unit_of(addresses[source.target][0]),
            storage_backend_identifier=source.pool or pools.get(source.target),
            allocation_type="dynamic" if source.format != "raw" else None,
        )
        for source in disk_sources(domain)
    ]


def _controller_of(address: ET.Element | None, bus: str) -> str | None:
    if address is None or address.get("type") != "drive" or bus not in _DISK_CONTROLLERS:
        return None
    return f"{bus}{address.get('controller', '0')}"


def _unit_of(address: ET.Element | None) -> int | None:
    if address is None or address.get("type") != "drive":
        return None
    return _number(address.get("unit"))


def _controllers(domain: ET.Element) -> list[Controller]:
    return [
        Controller(
            id=f"{e.get('type')}{e.get('index', '0')}",
            type=e.get("type", ""),
            bus_number=_number(e.get("index")) or 0,
            model=e.get("model"),
        )
        for e in domain.iterfind("./devices/controller")
        if e.get("type") in _DISK_CONTROLLERS
    ]


def _nics(domain: ET.Element, network_ids: Mapping[str, str]) -> list[Nic]:
    nics = []
    for index, element in enumerate(domain.iterfind("./devices/interface")):
        mac = _get(element, "mac", "address", "").lower() or None
        kind = element.get("type", "network")
        source = element.find("source")
        names = {} if source is None else source.attrib
        network = names.get("network") or names.get("bridge") or names.get("dev") or kind
        identifier = network_ids.get(network) if kind == "network" else f"bridge:{network}"
        nics.append(
            Nic(
                id=mac or f"nic{index}",
                name=_get(element, "alias", "name", f"nic{index}"),
                network_name=network,
                network_id=identifier if kind in ("network", "bridge") else None,
                mac_address=mac,
                model=_get(element, "model", "type", "") or None,
            )
        )
    return nics


def _removable(domain: ET.Element, device: str) -> list[dict[str, Any]]:
    found = []
    for element in domain.iterfind("./devices/disk"):
        if element.get("device") == device:
            source = element.find("source")
            entry: dict[str, Any] = {"id": _get(element, "target", "dev", "")}
            if source is not None and source.get("file"):
                entry["path"] = source.get("file")
            found.append(entry)
    return found


def _boot_order(domain: ET.Element) -> tuple[dict[str, Any], ...]:
    """Devices with a boot order of their own, in that order; otherwise the classes of ``<os>``."""
    ordered = []
    for kind, path in (("disk", "./devices/disk"), ("nic", "./devices/interface")):
        for element in domain.iterfind(path):
            order = _number(_get(element, "boot", "order", ""))
            if order is not None:
                identifier = _get(element, "target", "dev", "") if kind == "disk" else _get(
                    element, "mac", "address", "").lower()  # fmt: skip
                ordered.append((order, {"type": kind, "id": identifier}))
    if ordered:
        return tuple(entry for _, entry in sorted(ordered, key=lambda pair: pair[0]))
    words = {"hd": "disk", "network": "nic"}
    return tuple({"type": words.get(e.get("dev", ""), e.get("dev", ""))} for e in domain.iterfind("./os/boot"))
