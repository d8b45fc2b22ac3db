# SPDX-License-Identifier: Apache-2.0
"""What the services say of a server, as an instance."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openstack.block_storage.v3.volume import Volume
from openstack.compute.v2.server import Server
from openstack.image.v2.image import Image
from openstack.network.v2.port import Port

from coriolis.providers.api import Firmware, Instance, OsType, from_json, to_json
from coriolis.providers.openstack import instances
from coriolis.providers.openstack.inventory import any_case

GIB = 1 << 30
FLAVOR = {"vcpus": 2, "ram": 512, "disk": 3, "ephemeral": 0, "swap": 0, "original_name": "small"}


def server(**more: Any) -> Server:
    body = {"id": "server-1", "name": "web", "status": "ACTIVE", "flavor": FLAVOR, "image": {"id": "image-1"}}
    return Server.existing(**{**body, **more})


def volume(name: str, device: str, **more: Any) -> Volume:
    attachments = [{"server_id": "another", "device": "/dev/vda"}, {"server_id": "server-1", "device": device}]
    return Volume.existing(id=name, name="", size=1, volume_type="fast", attachments=attachments, **more)


def disks(**parts: Any) -> list[str]:
    made = instances.instance(instances.Parts(**parts))
    return [disk.id for disk in made.devices.disks]


def test_image_backed_disks_come_in_the_order_in_which_nova_makes_them() -> None:
    flavor = {**FLAVOR, "ephemeral": 2, "swap": 64}
    volumes = [volume("late", "/dev/vdaa"), volume("early", "/dev/vdd"), volume("second", "/dev/vde")]
    made = instances.instance(instances.Parts(server=server(flavor=flavor), volumes=volumes))
    found = [(disk.id, disk.size_bytes, disk.storage_backend_identifier) for disk in made.devices.disks]
    assert found == [
        ("root", 3 * GIB, "local"),
        ("ephemeral0", 2 * GIB, "local"),
        ("swap", 64 << 20, "local"),
        ("early", GIB, "fast"),
        ("second", GIB, "fast"),
        ("late", GIB, "fast"),
    ]
    assert [disk.unit_number for disk in made.devices.disks] == list(range(6))


def test_boot_volume_is_the_root_device_otherwise_the_first_bootable_one() -> None:
    volumes = [volume("data", "/dev/vda"), volume("system", "/dev/vdb", is_bootable=True)]
    assert disks(server=server(image=""), volumes=volumes) == ["system", "data"]
    told = server(image="", root_device_name="/dev/vda")
    assert disks(server=told, volumes=volumes) == ["data", "system"]


def test_root_disk_of_a_flavor_without_size_is_as_large_as_its_image() -> None:
    flavor = {**FLAVOR, "disk": 0}
    image = Image.existing(id="image-1", min_disk=1, virtual_size=5 << 29, size=100)
    made = instances.instance(instances.Parts(server=server(flavor=flavor), image=image))
    assert made.devices.disks[0].size_bytes == 5 << 29


def test_image_tells_firmware_secure_boot_and_system() -> None:
    image = Image.existing(
        id="image-1",
        hw_firmware_type="uefi",
        needs_secure_boot="required",
        os_type="windows",
        hw_disk_bus="scsi",
        hw_vif_model="e1000",
        os_hash_algo="sha512",
        properties={"os_admin_user": "bob"},
    )
    ports = [Port.existing(id="port-1", network_id="net-1", mac_address="FA:16:3E:00:00:01")]
    made = instances.instance(instances.Parts(server=server(), image=image, ports=ports))
    assert (made.firmware_type, made.secure_boot, made.os_type) == (Firmware.EFI, True, OsType.WINDOWS)
    assert made.devices.controllers[0].type == "scsi"
    assert (made.devices.nics[0].model, made.devices.nics[0].mac_address) == ("e1000", "fa:16:3e:00:00:01")
    properties = made.extra["image"]["properties"]
    assert properties["os_admin_user"] == "bob"
    assert "os_hash_algo" not in properties


def test_boot_volume_tells_what_the_image_would() -> None:
    root = volume("system", "/dev/vda", volume_image_metadata={"hw_firmware_type": "uefi", "image_name": "x"})
    made = instances.instance(instances.Parts(server=server(image=""), volumes=[root]))
    assert made.firmware_type is Firmware.EFI
    assert made.extra["image"] == {"id": None, "present": False, "properties": {"hw_firmware_type": "uefi"}}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, OsType.UNKNOWN),
        ({"os_type": "Linux"}, OsType.LINUX),
        ({"os_distro": "debian"}, OsType.LINUX),
        ({"os_distro": "windows"}, OsType.WINDOWS),
        ({"os_distro": "freebsd"}, OsType.BSD),
        ({"os_type": "linux", "os_distro": "windows"}, OsType.LINUX),
        ({"os_distro": "unknown"}, OsType.UNKNOWN),
    ],
)
def test_system(properties: dict[str, str], expected: OsType) -> None:
    assert instances.os_type(properties) is expected


def test_interfaces_have_the_order_of_the_addresses_of_the_server() -> None:
    def entry(address: str, mac: str, kind: str = "fixed") -> dict[str, Any]:
        return {"addr": address, "OS-EXT-IPS-MAC:mac_addr": mac, "OS-EXT-IPS:type": kind}

    addresses = {
        "z": [entry("10.0.0.2", "02:00:00:00:00:02"), entry("203.0.113.7", "02:00:00:00:00:02", "floating")],
        "a": [entry("10.1.0.1", "02:00:00:00:00:01")],
    }
    ports = [
        Port.existing(id=f"port-{n}", network_id=f"net-{n}", mac_address=f"02:00:00:00:00:0{n}") for n in (1, 2, 3)
    ]
    parts = instances.Parts(server=server(addresses=addresses), ports=ports, network_names={"net-2": "z"})
    made = instances.instance(parts)
    assert [(nic.id, nic.network_name) for nic in made.devices.nics] == [
        ("port-2", "z"),
        ("port-1", "net-1"),
        ("port-3", "net-3"),
    ]
    assert made.extra["nics"]["port-2"]["floating_addresses"] == ["203.0.113.7"]


def test_instance_travels_as_json() -> None:
    made = instances.instance(
        instances.Parts(server=server(metadata={"a": "b"}, tags=["t"]), volumes=[volume("v", "/dev/vdb")])
    )
    assert from_json(Instance, to_json(made)) == made


@pytest.mark.parametrize("status", ["SHUTOFF", "SHELVED_OFFLOADED", "ERROR"])
def test_not_running(status: str) -> None:
    assert not instances.instance(instances.Parts(server=server(status=status))).running


@pytest.mark.parametrize(
    "name", ["web-1", "a.b", "x[1]", "(a|b)*", "50$", "^up", "back\\slash", "q?+{2}", "a b_c", "]"]
)
def test_pattern_finds_the_name_in_any_case_and_nothing_else(name: str) -> None:
    pattern = any_case(name)
    assert pattern is not None
    for written in (name, name.upper(), name.lower()):
        assert re.search(pattern, f"<{written}>")
    assert not re.search(f"^{pattern}$", name + "x")
    assert not re.search(f"^{pattern}$", "x" * len(name))


def test_names_beyond_ascii_are_compared_here() -> None:
    assert any_case("straße") is None


def test_what_a_volume_tells_of_its_guest_is_told_apart_from_what_it_tells_of_a_file() -> None:
    guest = {"hw_firmware_type": "uefi", "os_secure_boot": "required", "os_type": "linux", "architecture": "x86_64"}
    file = {"image_id": "i", "image_name": "n", "disk_format": "qcow2", "size": "1", "os_hash_algo": "sha512"}
    assert instances.telling({**guest, **file, "coriolis_key": "k"}) == guest
