# SPDX-License-Identifier: Apache-2.0
"""Builds OVF packages as the exporters of several platforms write them, and damaged ones."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MIB = 1 << 20
VMDK_URI = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

_NAMESPACES = (
    'xmlns="{ovf}" xmlns:ovf="{ovf}"'
    ' xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"'
    ' xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"'
    ' xmlns:epasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_EthernetPortAllocationSettingData.xsd"'
    ' xmlns:sasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_StorageAllocationSettingData.xsd"'
    ' xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vbox="http://www.virtualbox.org/ovf/machine"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
OVF_1 = "http://schemas.dmtf.org/ovf/envelope/1"
OVF_2 = "http://schemas.dmtf.org/ovf/envelope/2"


def content(size: int) -> bytes:
    """Bytes of a disk: data that compresses badly, holes, and an odd end."""
    blocks = [hashlib.blake2b(number.to_bytes(8, "big")).digest() * 64 for number in range(64)]
    data = bytearray(size)
    for number in range(0, size - 4096, 3 * 65536 + 4096):
        data[number : number + 4096] = blocks[(number >> 12) % 64]
    data[-3:] = b"end"
    return bytes(data)


def image(path: Path, data: bytes, format_: str, options: str = "") -> Path:
    """A disk image with this content, by qemu-img."""
    raw = path.with_name(f"{path.name}.input")
    raw.write_bytes(data)
    command = ["qemu-img", "convert", "-f", "raw", "-O", format_]
    subprocess.run([*command, *(["-o", options] if options else []), str(raw), str(path)], check=True)
    raw.unlink()
    return path


def vmdk(path: Path, data: bytes) -> Path:
    """Stream-optimized, as vSphere exports."""
    return image(path, data, "vmdk", "subformat=streamOptimized,adapter_type=lsilogic")


def item(element: str = "Item", attributes: str = "", **fields: object) -> str:
    prefix = {"Item": "rasd", "StorageItem": "sasd", "EthernetPortItem": "epasd"}[element]
    lines = "".join(f"<{prefix}:{name}>{value}</{prefix}:{name}>" for name, value in fields.items())
    return f"<{element}{attributes and ' ' + attributes}>{lines}</{element}>\n"


def cpus(count: int, **more: object) -> str:
    return item(InstanceID=1, ResourceType=3, VirtualQuantity=count, **more)


def memory(quantity: int, units: str = "byte * 2^20", attributes: str = "") -> str:
    return item("Item", attributes, AllocationUnits=units, InstanceID=2, ResourceType=4, VirtualQuantity=quantity)


def scsi(model: str = "lsilogic") -> str:
    return item(InstanceID=3, Address=0, ResourceType=6, ResourceSubType=model, ElementName="SCSI controller 0")


def drive(disk: str, unit: int = 0, parent: int = 3) -> str:
    return item(
        AddressOnParent=unit,
        ElementName=f"Hard disk {unit + 1}",
        HostResource=disk if "/" in disk else f"ovf:/disk/{disk}",
        InstanceID=10 + unit,
        Parent=parent,
        ResourceType=17,
    )


def nic(network: str = "VM Network", model: str = "VmxNet3", mac: str | None = None) -> str:
    address = {"Address": mac} if mac else {}
    return item(**address, Connection=network, InstanceID=20, ResourceSubType=model, ResourceType=10)


PLAIN_HARDWARE = cpus(2) + memory(1024) + scsi() + drive("vmdisk1") + nic()


def system(hardware: str = PLAIN_HARDWARE, *, name: str = "web", id_: str = "web", more: str = "", os: str = "") -> str:
    os = os or '<OperatingSystemSection ovf:id="96"><Info>OS</Info></OperatingSystemSection>'
    return (
        f'<VirtualSystem ovf:id="{id_}"><Info>A machine</Info><Name>{name}</Name>{os}'
        f"<VirtualHardwareSection><Info>Hardware</Info>{hardware}</VirtualHardwareSection>{more}</VirtualSystem>"
    )


def disk(
    id_: str = "vmdisk1",
    file: str | None = "file1",
    capacity: object = 4,
    units: str = "byte * 2^20",
    more: str = f'ovf:format="{VMDK_URI}"',
) -> str:
    reference = f'ovf:fileRef="{file}"' if file else ""
    unit = f'ovf:capacityAllocationUnits="{units}"' if units else ""
    return f'<Disk ovf:diskId="{id_}" {reference} ovf:capacity="{capacity}" {unit} {more}/>'


def file(href: str = "web-disk1.vmdk", id_: str = "file1", more: str = "") -> str:
    return f'<File ovf:href="{href}" ovf:id="{id_}" {more}/>'


def descriptor(
    systems: str = "",
    *,
    files: str | None = None,
    disks: str | None = None,
    more: str = "",
    namespace: str = OVF_1,
    before: str = "",
) -> bytes:
    """A whole descriptor; by default one machine with one disk of 4 MiB in ``web-disk1.vmdk``."""
    files = file() if files is None else files
    disks = disk() if disks is None else disks
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}<Envelope {_NAMESPACES.format(ovf=namespace)}>'
        f"<References>{files}</References><DiskSection><Info>Disks</Info>{disks}</DiskSection>"
        f'<NetworkSection><Info>Networks</Info><Network ovf:name="VM Network"/></NetworkSection>{more}'
        f"{systems or system()}</Envelope>"
    ).encode()


def manifest(files: Mapping[str, bytes], algorithm: str = "sha256", form: str = "{a}({n})= {d}\n") -> bytes:
    return "".join(
        form.format(a=algorithm.upper(), n=name, d=hashlib.new(algorithm, data).hexdigest())
        for name, data in files.items()
    ).encode()


def pack(target: Path, members: Mapping[str, bytes] | Sequence[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """An OVA of these members, in this order."""
    entries = members if not isinstance(members, Mapping) else [(_entry(n, len(d)), d) for n, d in members.items()]
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for entry, data in entries:
            with target.with_suffix(".member").open("w+b") as body:
                body.write(data)
                body.seek(0)
                archive.addfile(entry, body)
    target.with_suffix(".member").unlink(missing_ok=True)
    return target


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def ova(target: Path, data: bytes, *, with_manifest: bool = True, name: str = "web") -> Path:
    """A good OVA with one disk of this content, as vSphere writes it."""
    disk_file = vmdk(target.with_suffix(".building"), data)
    members = {
        "web.ovf": descriptor(system(name=name), disks=disk(capacity=len(data), units="byte")),
        "web-disk1.vmdk": disk_file.read_bytes(),
    }
    disk_file.unlink()
    if with_manifest:
        ordered = {"web.ovf": members["web.ovf"], "web.mf": manifest(members)}
        members = {**ordered, "web-disk1.vmdk": members["web-disk1.vmdk"]}
    return pack(target, members)
