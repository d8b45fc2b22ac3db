# SPDX-License-Identifier: Apache-2.0
"""Domain XML to instance and back."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.providers.api import (
    Devices,
    Disk,
    Firmware,
    Instance,
    Layout,
    Nic,
    OsType,
    PlannedDisk,
    PlannedNic,
)
from coriolis.providers.libvirt.define_xml import Definition, Hardware, VolumeFile, define_xml, target_name
from coriolis.providers.libvirt.domain_xml import disk_sources, instance_from_xml, our_key, parse, summary_from_xml

WINDOWS = """\
<domain type='kvm' id='3'>
  <name>win</name><uuid>c7a5fdbd-cdaf-9455-926a-d65c16db1809</uuid>
  <metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>
    <libosinfo:os id='http://microsoft.com/win/2k19'/></libosinfo:libosinfo></metadata>
  <memory unit='KiB'>4194304</memory><currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader></os>
  <cpu mode='custom'><feature policy='require' name='vmx'/></cpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/c.qcow2'/>
      <target dev='sda' bus='scsi'/><boot order='2'/>
      <address type='drive' controller='0' bus='0' target='0' unit='3'/></disk>
    <disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='fast' volume='d'/>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/virtio.iso'/><target dev='sdb' bus='sata'/><readonly/></disk>
    <disk type='file' device='cdrom'><target dev='sdc' bus='sata'/></disk>
    <controller type='scsi' index='0' model='virtio-scsi'/><controller type='usb' index='0'/>
    <interface type='network'><mac address='52:54:00:AA:01:02'/><source network='lan'/><model type='virtio'/>
      <boot order='1'/></interface>
    <interface type='bridge'><mac address='52:54:00:aa:01:03'/><source bridge='br0'/></interface>
    <serial type='pty'/>
  </devices>
</domain>"""


def test_a_domain_is_read_whole() -> None:
    instance = instance_from_xml(
        parse(WINDOWS), sizes={"sda": 10, "vda": 20}, running=True, network_ids={"lan": "net-1"}, pools={"sda": "slow"}
    )
    assert (instance.num_cpu, instance.memory_mb, instance.dynamic_memory_enabled) == (2, 4096, True)
    assert (instance.firmware_type, instance.secure_boot, instance.nested_virtualization) == (Firmware.EFI, True, True)
    assert (instance.os_type, instance.guest_id) == (OsType.WINDOWS, "http://microsoft.com/win/2k19")
    assert instance.boot_order == ({"type": "nic", "id": "52:54:00:aa:01:02"}, {"type": "disk", "id": "sda"})
    first, second = instance.devices.disks
    assert (first.controller_id, first.unit_number, first.storage_backend_identifier) == ("scsi0", 3, "slow")
    assert (second.path, second.storage_backend_identifier, second.size_bytes) == ("d", "fast", 20)
    assert [c.id for c in instance.devices.controllers] == ["scsi0"]
    assert [n.network_id for n in instance.devices.nics] == ["net-1", "bridge:br0"]
    assert instance.devices.nics[0].mac_address == "52:54:00:aa:01:02"
    assert [c["id"] for c in instance.devices.cdroms] == ["sdb", "sdc"]
    assert [s.target for s in disk_sources(parse(WINDOWS))] == ["sda", "vda"]
    assert our_key(parse(WINDOWS)) is None


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("http://debian.org/debian/12", OsType.LINUX),
        ("http://oracle.com/solaris/11", OsType.SOLARIS),
        ("http://oracle.com/ol/9.1", OsType.LINUX),
        ("http://freebsd.org/freebsd/13", OsType.BSD),
        ("http://example.org/odd", OsType.UNKNOWN),
    ],
)
def test_the_guest_is_known_by_its_vendor(identifier: str, expected: OsType) -> None:
    assert instance_from_xml(
        parse(WINDOWS.replace("http://microsoft.com/win/2k19", identifier)), sizes={}, running=False
    ).os_type is expected  # fmt: skip


@pytest.mark.parametrize(
    ("bus", "index", "name"), [("virtio", 0, "vda"), ("virtio", 25, "vdz"), ("virtio", 26, "vdaa"), ("sata", 1, "sdb"),
                               ("scsi", 701, "sdzz"), ("ide", 0, "hda")]
)  # fmt: skip
def test_targets_are_named_like_the_kernel_does(bus: str, index: int, name: str) -> None:
    assert target_name(bus, index) == name


_names = st.text(st.characters(min_codepoint=32, exclude_characters="/\x7f", exclude_categories=("Cs", "Cc")),
                 min_size=1, max_size=40).filter(str.strip)  # fmt: skip
_macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    firmware = draw(st.sampled_from(Firmware))
    secure = draw(st.booleans()) and firmware is Firmware.EFI
    bus = draw(st.sampled_from(["virtio", "scsi", "sata"]))
    count = draw(st.integers(0, 30))
    macs = draw(st.lists(_macs, max_size=4, unique=True))
    networks = draw(st.lists(_names | st.just("user") | st.just("bridge:br0"), min_size=len(macs), max_size=len(macs)))
    instance = Instance(
        id=draw(_names),
        name="source",
        num_cpu=draw(st.integers(1, 512)),
        memory_mb=draw(st.integers(1, 1 << 22)),
        os_type=draw(st.sampled_from(OsType)),
        firmware_type=firmware,
        secure_boot=secure,
        devices=Devices(
            disks=tuple(Disk(id=f"d{i}", size_bytes=512) for i in range(count)),
            nics=tuple(Nic(id=m, network_name="x", mac_address=m) for m in macs),
        ),
    )
    boot = draw(st.integers(0, max(count - 1, 0)))
    layout = Layout(
        name=draw(_names),
        disks=tuple(PlannedDisk(disk_id=f"d{i}", size_bytes=512, boot=i == boot) for i in range(count)),
        nics=tuple(PlannedNic(nic_id=m, network=n, mac_address=m) for m, n in zip(macs, networks, strict=True)),
    )
    return Definition(
        uuid="c7a5fdbd-cdaf-5455-926a-d65c16db1809",
        key=draw(_names),
        instance=instance,
        layout=layout,
        hardware=Hardware(disk_bus=bus, firmware=firmware.value, secure_boot=secure, accel=draw(
            st.sampled_from(["kvm", "tcg"])), graphics=draw(st.sampled_from(["none", "vnc"]))),
        files={f"d{i}": VolumeFile(path=f"/pool/{draw(_names)}", format="qcow2") for i in range(count)},
    )  # fmt: skip


@given(definitions())
def test_what_is_defined_is_read_back(definition: Definition) -> None:
    xml = define_xml(definition)
    root = parse(xml)
    back = instance_from_xml(root, sizes={}, running=False)
    source, layout = definition.instance, definition.layout
    assert our_key(root) == definition.key
    assert (back.id, back.name) == (definition.uuid, layout.name)
    for field in ("num_cpu", "memory_mb", "os_type", "firmware_type", "secure_boot"):
        assert getattr(back, field) == getattr(source, field), field
    assert [disk.path for disk in back.devices.disks] == [definition.files[d.disk_id].path for d in layout.disks]
    assert [nic.mac_address for nic in back.devices.nics] == [nic.mac_address for nic in layout.nics]
    assert [n.network_name for n in back.devices.nics] == [n.network.removeprefix("bridge:") for n in layout.nics]
    boot = [index for index, disk in enumerate(layout.disks) if disk.boot]
    assert [entry["id"] for entry in back.boot_order] == [back.devices.disks[i].id for i in boot]
    assert summary_from_xml(root).num_cpu == back.num_cpu
    assert ET.fromstring(xml).get("type") == ("kvm" if definition.hardware.accel == "kvm" else "qemu")
