# SPDX-License-Identifier: Apache-2.0
"""OVF descriptors of several exporters as instances."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.providers.api import Firmware, Instance, Invalid, OsType
from coriolis.providers.ova import hardware, ovf
from tests import ovf_packages as build


def read(data: bytes, option: str | None = None, number: int = 0) -> Instance:
    envelope = ovf.parse(data)
    return hardware.to_instance(envelope, envelope.systems[number], instance_id="x", option=option)


def with_hardware(items: str, **more: Any) -> bytes:
    return build.descriptor(build.system(items, **more))


def test_vmware() -> None:
    config = (
        '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>'
        '<vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>'
        '<vmw:Config ovf:required="false" vmw:key="nestedHVEnabled" vmw:value="true"/>'
    )
    items = (
        build.cpus(4, AllocationUnits="hertz * 10^6")
        + build.memory(8192)
        + build.scsi("VirtualSCSI")
        + build.item(InstanceID=4, ResourceType=20, ResourceSubType="vmware.sata.ahci", ElementName="SATA 0")
        + build.item(InstanceID=5, ResourceType=20, ResourceSubType="vmware.nvme.controller")
        + build.item(InstanceID=6, ResourceType=5, Address=1)
        + build.drive("vmdisk1", unit=2)
        + build.item(InstanceID=7, ResourceType=15, Parent=6, ElementName="CD/DVD drive 1")
        + build.nic(mac="00:50:56:AB:CD:EF")
        + config
    )
    os = '<OperatingSystemSection ovf:id="112" vmw:osType="windows2019srv_64Guest"><Info/></OperatingSystemSection>'
    boot = '<vmw:BootOrderSection vmw:instanceId="12" vmw:type="disk"><Info/></vmw:BootOrderSection>'
    instance = read(with_hardware(items, os=os, more=boot))
    assert (instance.num_cpu, instance.memory_mb, instance.os_type) == (4, 8192, OsType.WINDOWS)
    assert (instance.firmware_type, instance.secure_boot) == (Firmware.EFI, True)
    assert instance.nested_virtualization
    assert instance.boot_order == ({"type": "disk", "id": "12"},)
    assert [(c.id, c.type, c.model, c.bus_number) for c in instance.devices.controllers] == [
        ("6", "ide", None, 1),
        ("3", "scsi", "pvscsi", 0),
        ("4", "sata", "ahci", 0),
        ("5", "nvme", "nvme", 0),
    ]
    (disk,) = instance.devices.disks
    assert (disk.id, disk.size_bytes, disk.controller_id, disk.unit_number) == ("vmdisk1", 4 << 20, "3", 2)
    (nic,) = instance.devices.nics
    assert (nic.network_name, nic.model, nic.mac_address) == ("VM Network", "vmxnet3", "00:50:56:ab:cd:ef")
    assert instance.devices.cdroms == ({"id": "7", "name": "CD/DVD drive 1", "controller_id": "6"},)


def test_virtualbox_in_ovf_2() -> None:
    items = (
        build.item(InstanceID=1, ResourceType=3, VirtualQuantity=1, Caption="1 virtual CPU")
        + build.memory(512, "MegaBytes")
        + build.item(InstanceID=5, ResourceType=20, ResourceSubType="AHCI", Caption="sataController0", Address=0)
        + build.item(
            "StorageItem", InstanceID=8, ResourceType=17, Parent=5, AddressOnParent=0, HostResource="/disk/vmdisk1"
        )
        + build.item("EthernetPortItem", InstanceID=9, ResourceType=10, ResourceSubType="E1000", Connection="NAT")
    )
    os = (
        '<OperatingSystemSection ovf:id="94"><Info/><vbox:OSType ovf:required="false">Ubuntu_64</vbox:OSType>'
        "</OperatingSystemSection>"
    )
    machine = (
        '<vbox:Machine ovf:required="false" name="box"><Hardware><Firmware type="EFI"/><Network>'
        '<Adapter slot="0" enabled="true" MACAddress="0800272AFB4E"/>'
        '<Adapter slot="1" enabled="false" MACAddress="08002700FB4E"/>'
        "</Network></Hardware></vbox:Machine>"
    )
    data = build.descriptor(
        build.system(items, name="box", os=os, more=machine),
        namespace=build.OVF_2,
        disks=build.disk(capacity=4 << 20, units=""),
    )
    instance = read(data)
    assert ovf.parse(data).version == 2
    assert (instance.memory_mb, instance.os_type, instance.firmware_type) == (512, OsType.LINUX, Firmware.EFI)
    assert [(c.type, c.model) for c in instance.devices.controllers] == [("sata", "ahci")]
    assert [(d.id, d.size_bytes, d.controller_id) for d in instance.devices.disks] == [("vmdisk1", 4 << 20, "5")]
    assert [(n.network_name, n.mac_address) for n in instance.devices.nics] == [("NAT", "08:00:27:2a:fb:4e")]


def test_ovirt() -> None:
    """Its disks name a bus and no controller, its NIC models are numbers, its namespace ends with a slash."""
    items = (
        build.item(InstanceID=1, ResourceType=3, num_of_sockets=2, cpu_per_socket=3)
        + build.memory(2048, "MegaBytes")
        + build.item(InstanceID="d1", ResourceType=17, HostResource="ovf:/disk/vmdisk1", Parent="0")
        + build.item(
            InstanceID="n1", ResourceType=10, ResourceSubType=3, Connection="ovirtmgmt", MACAddress="56:6F:0A:00:00:01"
        )
    )
    details = (
        'ovf:parentRef="" ovf:volume-format="COW" ovf:disk-interface="VirtIO_SCSI" ovf:boot="true"'
        ' ovf:format="http://www.vmware.com/specifications/vmdk.html#sparse"'
    )
    data = build.descriptor(
        build.system(items, more="<BiosType>4</BiosType>"),
        namespace=f"{build.OVF_1}/",
        disks=build.disk(capacity=1, units="byte * 2^30", more=details),
    )
    instance = read(data)
    assert (instance.num_cpu, instance.memory_mb) == (6, 2048)
    assert (instance.firmware_type, instance.secure_boot) == (Firmware.EFI, True)
    assert [(c.id, c.type) for c in instance.devices.controllers] == [("scsi", "scsi")]
    assert instance.devices.disks[0].controller_id == "scsi"
    assert (instance.devices.nics[0].model, instance.devices.nics[0].mac_address) == ("virtio", "56:6f:0a:00:00:01")
    assert ovf.parse(data).disks["vmdisk1"].format == "qcow2"


def test_section_elements_with_types() -> None:
    """The form of older oVirt: ``<Section xsi:type="ovf:DiskSection_Type">``."""
    data = build.descriptor().decode()
    data = data.replace("<DiskSection>", '<Section xsi:type="ovf:DiskSection_Type">').replace(
        "</DiskSection>", "</Section>"
    )
    data = data.replace('<VirtualSystem ovf:id="web">', '<Content ovf:id="web" xsi:type="ovf:VirtualSystem_Type">')
    data = data.replace("</VirtualSystem>", "</Content>")
    assert read(data.encode()).devices.disks[0].size_bytes == 4 << 20


@pytest.mark.parametrize(
    ("subtype", "kind", "model"),
    [
        ("lsilogic", "scsi", "lsilogic"),
        ("lsilogicsas", "scsi", "lsisas1068"),
        ("VirtualSCSI", "scsi", "pvscsi"),
        ("buslogic", "scsi", "buslogic"),
        ("virtio lsilogic", "scsi", "lsilogic"),
    ],
)
def test_scsi_controllers(subtype: str, kind: str, model: str) -> None:
    instance = read(with_hardware(build.scsi(subtype) + build.drive("vmdisk1")))
    assert [(c.type, c.model) for c in instance.devices.controllers] == [(kind, model)]


@pytest.mark.parametrize(
    ("quantity", "units", "megabytes"),
    [
        (1024, "byte * 2^20", 1024),
        (2, "byte * 2^30", 2048),
        (512, "MegaBytes", 512),
        (3, "GigaBytes", 3072),
        (536870912, "byte", 512),
        (1, "byte * 10^9", 954),
    ],
)
def test_memory(quantity: int, units: str, megabytes: int) -> None:
    assert read(with_hardware(build.memory(quantity, units))).memory_mb == megabytes


@pytest.mark.parametrize("reference", ["ovf:/disk/vmdisk1", "ovf://disk/vmdisk1", "/disk/vmdisk1", "file1", "vmdisk1"])
def test_ways_to_name_a_disk(reference: str) -> None:
    items = build.item(InstanceID=9, ResourceType=17, HostResource=reference)
    assert [disk.id for disk in read(with_hardware(items)).devices.disks] == ["vmdisk1"]


def test_a_drive_may_name_a_file() -> None:
    instance = read(with_hardware(build.drive("ovf:/file/file1")))
    assert [disk.id for disk in instance.devices.disks] == ["file1"]


class TestDeploymentOptions:
    OPTIONS = (
        "<DeploymentOptionSection><Info/>"
        '<Configuration ovf:id="small"/><Configuration ovf:id="big" ovf:default="true"/>'
        "</DeploymentOptionSection>"
    )
    ITEMS = (
        build.cpus(1)
        + build.memory(1024)
        + build.memory(4096, attributes='ovf:configuration="big huge"')
        + build.drive("vmdisk1")
    )

    def data(self) -> bytes:
        return build.descriptor(build.system(self.ITEMS), more=self.OPTIONS)

    def test_the_default_is_taken(self) -> None:
        assert read(self.data()).memory_mb == 4096

    def test_another_is_named(self) -> None:
        assert read(self.data(), "small").memory_mb == 1024

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(Invalid, match="small, big"):
            read(self.data(), "medium")


def test_collections_nest() -> None:
    inner = (
        f'<VirtualSystemCollection ovf:id="inner"><Info/>{build.system(id_="b", name="B")}</VirtualSystemCollection>'
    )
    first = build.system(id_="a", name="A")
    outer = f'<VirtualSystemCollection ovf:id="outer"><Info/>{first}{inner}</VirtualSystemCollection>'
    assert [system.name for system in ovf.parse(build.descriptor(outer)).systems] == ["A", "B"]


def test_a_capacity_may_be_a_property() -> None:
    product = '<ProductSection><Info/><Property ovf:key="size" ovf:value="7" ovf:type="uint16"/></ProductSection>'
    data = build.descriptor(build.system(more=product), disks=build.disk(capacity="${size}", units="byte * 2^30"))
    assert ovf.parse(data).disks["vmdisk1"].capacity == 7 << 30


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (80, (), OsType.LINUX),
        (115, (), OsType.WINDOWS),
        (78, (), OsType.BSD),
        (1, ("other3xLinux64Guest",), OsType.LINUX),
        (1, ("darwin21_64Guest",), OsType.OSX),
        (101, ("whatever",), OsType.LINUX),
        (None, ("Solaris11_64",), OsType.SOLARIS),
        (102, ("other",), OsType.OTHER),
        (None, (), OsType.UNKNOWN),
    ],
)
def test_operating_systems(number: int | None, words: tuple[str, ...], expected: OsType) -> None:
    from coriolis.providers.ova.operating_systems import os_type

    assert os_type(number, words) is expected


LAUGHS = (
    "<!DOCTYPE lolz [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9))
    + "]>"
)
EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/shadow">]>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "well-formed"),
        (b"<Envelope", "well-formed"),
        (b"\xff\xfe\x00rubbish", "well-formed"),
        (b"<html/>", "not an OVF"),
        (build.descriptor(before=LAUGHS), "entities"),
        (build.descriptor(before=EXTERNAL), "entities"),
        (build.descriptor(before="<!DOCTYPE x>"), "DTD"),
        (build.descriptor(namespace="http://www.vmware.com/schema/ovf/1/envelope"), "0.9"),
        (build.descriptor(namespace="http://schemas.dmtf.org/ovf/envelope/3"), "not known"),
        (build.descriptor("<X/>"), "no VirtualSystem"),
        (build.descriptor(disks=build.disk() * 2), "two disks"),
        (build.descriptor(files=build.file() * 2), "two files"),
        (build.descriptor(disks=build.disk(capacity="lots")), "whole number"),
        (build.descriptor(disks=build.disk(capacity=0)), "capacity"),
        (build.descriptor(disks=build.disk(capacity=1 << 60)), "capacity"),
        (build.descriptor(files=build.file(more='ovf:compression="rar"')), "gzip"),
        (build.descriptor(files=build.file(more='ovf:size="-1"')), "whole number"),
        (with_hardware(build.cpus(0)), "0 processors"),
        (with_hardware(build.cpus(10**9)), "processors"),
        (with_hardware(build.item(InstanceID=1, ResourceType=3, VirtualQuantity="many")), "whole number"),
        (with_hardware(build.memory(1, "hertz * 10^6")), "unit"),
        (with_hardware(build.memory(1 << 50)), "memory"),
        (with_hardware(build.drive("nowhere")), "not described"),
        (with_hardware(build.drive("vmdisk1") + build.drive("vmdisk1", unit=1)), "same disk"),
        (with_hardware(build.item(InstanceID=9, ResourceType=17, HostResource="x.vmdk")), "x.vmdk"),
        (b"<!-- " + b"x" * (9 << 20) + b" -->" + build.descriptor(), "are not read"),
    ],
)
def test_what_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(data)


WORDS = re.compile(rb"(?<=>)[^<>]+(?=<)|(?<=\")[^\"<>]*(?=\")")
FULL = build.descriptor(
    build.system(
        build.PLAIN_HARDWARE
        + build.item(InstanceID=8, ResourceType=20, ResourceSubType="AHCI", Address=1)
        + '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>',
        more='<vmw:BootOrderSection vmw:instanceId="12" vmw:type="disk"><Info/></vmw:BootOrderSection>',
    ),
    files=build.file(more='ovf:size="5" ovf:chunkSize="7" ovf:compression="gzip"'),
    more=TestDeploymentOptions.OPTIONS,
)
STRANGE = st.one_of(
    st.sampled_from(["", "-1", "0", "9" * 5000, "²", "٣", "1e9", "NaN", "../x", "ovf:/disk/", "byte * 2^20", "${x}"]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters='<>&"'), max_size=30),
)


@given(data=st.data())
def test_strange_words_anywhere(data: st.DataObject) -> None:
    """Any text in the place of any value is read or refused; nothing else is raised."""
    spots = [match.span() for match in WORDS.finditer(FULL)]
    start, end = data.draw(st.sampled_from(spots))
    changed = FULL[:start] + data.draw(STRANGE).encode() + FULL[end:]
    with contextlib.suppress(Invalid):
        assert read(changed).num_cpu > 0


@given(data=st.data())
def test_damaged_bytes_anywhere(data: st.DataObject) -> None:
    body = bytearray(FULL)
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        read(bytes(body))


def test_deep_nesting() -> None:
    deep = b"<x>" * 100_000 + b"</x>" * 100_000
    assert read(FULL.replace(b"<NetworkSection>", deep + b"<NetworkSection>")).num_cpu == 2
