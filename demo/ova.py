# SPDX-License-Identifier: Apache-2.0
"""Pack a raw disk as an OVA the way vSphere exports a machine.

A tar file with, in this order, the OVF 1.1 descriptor, the manifest with SHA-256 digests (DSP0243, section 6) and
one stream-optimized VMDK for each disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from demo.guest import BUILD_TIME, MIB, Guest, run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """What the descriptor says of the virtual hardware. Memory in MiB."""

    name: str = "coriolis-guest"
    cpus: int = 1
    memory_mib: int = 256
    network: str = "VM Network"
    mac: str = "00:50:56:8c:01:15"


def build_ova(guest: Guest, folder: Path, machine: Machine = Machine()) -> Path:
    """Give the OVA of `guest` in `folder`, packed unless it is there already (its name holds the guest's key)."""
    name = hashlib.sha256(f"{guest.key} {machine} {Path(__file__).read_text()}".encode()).hexdigest()[:16]
    ova = folder / f"ova-{name}" / f"{machine.name}.ova"
    if not ova.exists():
        pack(ova, machine, [guest.disk])
    return ova


def pack(ova: Path, machine: Machine, disks: Sequence[Path]) -> None:
    """Write `ova` from raw `disks`; it appears only when it is complete."""
    work = ova.with_name(ova.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        vmdks = [_stream_optimized(disk, work / f"{machine.name}-disk{n}.vmdk") for n, disk in enumerate(disks, 1)]
        sizes = [disk.stat().st_size for disk in disks]
        descriptor = work / f"{machine.name}.ovf"
        descriptor.write_text(describe(machine, vmdks, sizes))
        manifest = work / f"{machine.name}.mf"
        manifest.write_text("".join(_manifest_line(path) for path in (descriptor, *vmdks)))
        _tar(work / ova.name, (descriptor, manifest, *vmdks))
        (work / ova.name).rename(ova)
    finally:
        shutil.rmtree(work)


def _stream_optimized(disk: Path, vmdk: Path) -> Path:
    options = "subformat=streamOptimized,adapter_type=lsilogic"
    run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", options, disk, vmdk])
    return vmdk


def _manifest_line(path: Path) -> str:
    with path.open("rb") as file:
        return f"SHA256({path.name})= {hashlib.file_digest(file, 'sha256').hexdigest()}\n"


def _tar(target: Path, members: Sequence[Path]) -> None:
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in members:
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o644, BUILD_TIME
            entry.uid = entry.gid = 64
            entry.uname = entry.gname = "someone"
            with path.open("rb") as file:
                archive.addfile(entry, file)


def describe(machine: Machine, vmdks: Sequence[Path], sizes: Sequence[int]) -> str:
    """The OVF descriptor; `sizes` are the capacities of the disks in bytes."""
    out = io.StringIO()
    out.write(_HEAD)
    for number, vmdk in enumerate(vmdks, 1):
        size, href = vmdk.stat().st_size, quoteattr(vmdk.name)
        out.write(f'    <File ovf:id="file{number}" ovf:href={href} ovf:size="{size}"/>\n')
    out.write("  </References>\n  <DiskSection>\n    <Info>List of the virtual disks</Info>\n")
    for number, (vmdk, size) in enumerate(zip(vmdks, sizes, strict=True), 1):
        out.write(
            f'    <Disk ovf:capacity="{size // MIB}" ovf:capacityAllocationUnits="byte * 2^20" '
            f'ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}" ovf:format="{_VMDK_FORMAT}" '
            f'ovf:populatedSize="{vmdk.stat().st_size}"/>\n'
        )
    network = quoteattr(machine.network)
    out.write(_MIDDLE.format(name=quoteattr(machine.name), text=escape(machine.name), network=network))
    for item in _hardware(machine, len(vmdks)):
        out.write(_item(item))
    out.write("    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n")
    return out.getvalue()


def _hardware(machine: Machine, disks: int) -> list[dict[str, str]]:
    """Items by their RASD elements; the resource types are those of CIM_ResourceAllocationSettingData."""
    return [
        _amount("1", "3", "hertz * 10^6", f"{machine.cpus} virtual CPU(s)", machine.cpus),
        _amount("2", "4", "byte * 2^20", f"{machine.memory_mib}MB of memory", machine.memory_mib),
        {
            "Address": "0",
            "Description": "SCSI Controller",
            "ElementName": "SCSI Controller 0",
            "InstanceID": "3",
            "ResourceSubType": "lsilogic",
            "ResourceType": "6",
        },
        *(_hard_disk(number) for number in range(disks)),
        {
            "Address": machine.mac,
            "AddressOnParent": "7",
            "AutomaticAllocation": "true",
            "Connection": machine.network,
            "Description": f"VmxNet3 ethernet adapter on {machine.network}",
            "ElementName": "Network adapter 1",
            "InstanceID": "4",
            "ResourceSubType": "VmxNet3",
            "ResourceType": "10",
        },
    ]


def _amount(instance: str, kind: str, units: str, name: str, quantity: int) -> dict[str, str]:
    return {
        "AllocationUnits": units,
        "ElementName": name,
        "InstanceID": instance,
        "ResourceType": kind,
        "VirtualQuantity": str(quantity),
    }


def _hard_disk(number: int) -> dict[str, str]:
    return {
        "AddressOnParent": str(number),
        "ElementName": f"Hard Disk {number + 1}",
        "HostResource": f"ovf:/disk/vmdisk{number + 1}",
        "InstanceID": str(10 + number),
        "Parent": "3",
        "ResourceType": "17",
    }


def _item(elements: dict[str, str]) -> str:
    lines = "".join(f"        <rasd:{name}>{escape(value)}</rasd:{name}>\n" for name, value in elements.items())
    return f"      <Item>\n{lines}      </Item>\n"


_VMDK_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
          xmlns:vmw="http://www.vmware.com/schema/ovf"
          xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
"""

_MIDDLE = """\
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
    <Network ovf:name={network}>
      <Description>The {text} network</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id={name}>
    <Info>A Virtual system</Info>
    <Name>{text}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest">
      <Info>The operating system installed</Info>
      <Description>Debian GNU/Linux 12 (64-bit)</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{text}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-20</vssd:VirtualSystemType>
      </System>
"""
