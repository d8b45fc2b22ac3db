# SPDX-License-Identifier: Apache-2.0
"""The OVA of the demo is what its manifest, its descriptor and QEMU say it is."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from demo.ova import Machine, describe, pack

OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
        file.seek(3 * MIB)
        file.write(bytes(range(256)) * 4096)
    return path


def test_order_and_digests(tmp_path: Path, disk: Path) -> None:
    ova = tmp_path / "out" / "small.ova"
    pack(ova, Machine(name="small"), [disk])
    with tarfile.open(ova) as archive:
        names = archive.getnames()
        content = {name: archive.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert names == ["small.ovf", "small.mf", "small-disk1.vmdk"]
    stated = dict(line.split(")= ") for line in content["small.mf"].decode().splitlines())
    assert stated == {
        f"SHA256({name}": hashlib.sha256(content[name]).hexdigest() for name in ("small.ovf", "small-disk1.vmdk")
    }
    assert [path.name for path in ova.parent.iterdir()] == ["small.ova"]


def test_disk_is_stream_optimized_and_equal(tmp_path: Path, disk: Path) -> None:
    ova = tmp_path / "small.ova"
    pack(ova, Machine(name="small"), [disk])
    with tarfile.open(ova) as archive:
        archive.extract("small-disk1.vmdk", tmp_path)
    vmdk = tmp_path / "small-disk1.vmdk"
    assert b'createType="streamOptimized"' in vmdk.read_bytes()[: 64 * 1024]
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "vmdk", disk, vmdk], check=True, capture_output=True)


def test_descriptor_tells_the_hardware(disk: Path) -> None:
    machine = Machine(name='a <b> & "c"', cpus=3, memory_mib=640, network="VM & Network")
    root = ET.fromstring(describe(machine, [disk, disk], [8 * MIB, 16 * MIB]))
    assert [e.get(f"{OVF}capacity") for e in root.iter(f"{OVF}Disk")] == ["8", "16"]
    assert [e.get(f"{OVF}name") for e in root.iter(f"{OVF}Network")] == [machine.network]
    assert root.find(f"{OVF}VirtualSystem").get(f"{OVF}id") == machine.name  # type: ignore[union-attr]
    items = [{e.tag.removeprefix(RASD): e.text for e in item} for item in root.iter(f"{OVF}Item")]
    quantity = {item["ResourceType"]: item.get("VirtualQuantity") for item in items}
    assert (quantity["3"], quantity["4"]) == ("3", "640")
    assert [i["HostResource"] for i in items if i["ResourceType"] == "17"] == ["ovf:/disk/vmdisk1", "ovf:/disk/vmdisk2"]
    assert [i["Connection"] for i in items if i["ResourceType"] == "10"] == [machine.network]
    assert len({item["InstanceID"] for item in items}) == len(items)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        pack(tmp_path / "x" / "none.ova", Machine(), [tmp_path / "absent.raw"])
    assert list((tmp_path / "x").iterdir()) == []


def test_machine_is_hashable() -> None:
    assert len({Machine(), dataclasses.replace(Machine(), cpus=2), Machine()}) == 2
