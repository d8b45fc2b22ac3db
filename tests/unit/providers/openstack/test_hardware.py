# SPDX-License-Identifier: Apache-2.0
"""The hardware that a guest shall see: asked for, or as it was in another cloud."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.providers.api import Firmware, Instance, Invalid, OsType
from coriolis.providers.openstack.hardware import CHOICES, hardware_concerns, image_properties

OPTIONS = {choice.option: choice for choice in CHOICES}


def instance(properties: dict[str, Any] | None = None, **more: Any) -> Instance:
    extra = {} if properties is None else {"image": {"id": "1", "present": True, "properties": properties}}
    return Instance(id="1", name="web", num_cpu=2, memory_mb=1024, extra=extra, **more)


SECURE: dict[str, Any] = {"firmware_type": Firmware.EFI, "secure_boot": True, "os_type": OsType.WINDOWS}


def test_hardware_becomes_properties_of_the_boot_volume() -> None:
    assert image_properties(instance(), {}) == {"hw_firmware_type": "bios"}
    assert image_properties(instance(**SECURE), {"disk_bus": "scsi", "nic_model": "e1000"}) == {
        "hw_firmware_type": "uefi",
        "os_secure_boot": "required",
        "hw_machine_type": "q35",
        "os_type": "windows",
        "hw_disk_bus": "scsi",
        "hw_scsi_model": "virtio-scsi",
        "hw_vif_model": "e1000",
    }


@pytest.mark.parametrize(
    ("told", "environment", "expected"),
    [
        ({"hw_disk_bus": "sata"}, {}, {"hw_disk_bus": "sata"}),
        ({"hw_disk_bus": "sata"}, {"disk_bus": "virtio"}, {"hw_disk_bus": "virtio"}),
        ({"hw_disk_bus": "ide"}, {}, {"hw_disk_bus": "ide", "hw_machine_type": "pc"}),
        ({"hw_disk_bus": "scsi"}, {}, {"hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi"}),
        (
            {"hw_disk_bus": "scsi", "hw_scsi_model": "lsisas1068"},
            {},
            {"hw_disk_bus": "scsi", "hw_scsi_model": "lsisas1068"},
        ),
        ({"hw_scsi_model": "virtio-scsi"}, {}, {}),
        ({"hw_vif_model": "E1000"}, {}, {"hw_vif_model": "e1000"}),
        ({"hw_machine_type": "pc-q35-7.2"}, {}, {"hw_machine_type": "q35"}),
        ({"hw_machine_type": "pc-i440fx-2.11"}, {}, {"hw_machine_type": "pc"}),
        ({"hw_machine_type": "pc-q35-7.2"}, {"machine_type": "pc"}, {"hw_machine_type": "pc"}),
        (
            {"hw_qemu_guest_agent": True, "os_distro": "debian"},
            {},
            {"hw_qemu_guest_agent": "True", "os_distro": "debian"},
        ),
        ({"hw_video_model": "qxl", "os_secure_boot": "required"}, {}, {}),
    ],
)
def test_what_a_server_of_another_cloud_had_is_kept(
    told: dict[str, Any], environment: dict[str, Any], expected: dict[str, str]
) -> None:
    assert image_properties(instance(told), environment) == {"hw_firmware_type": "bios", **expected}
    assert list(hardware_concerns(instance(told), environment)) == []


@pytest.mark.parametrize(
    ("made", "environment", "message"),
    [
        (instance(**SECURE), {"machine_type": "pc"}, "needs machine_type q35"),
        (instance(), {"machine_type": "q35", "disk_bus": "ide"}, "no IDE bus"),
        (instance(**SECURE), {"disk_bus": "ide"}, "no IDE bus"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(made: Instance, environment: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        image_properties(made, environment)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_not_kept_is_told(option: str) -> None:
    choice = OPTIONS[option]
    strange = instance({choice.name: "strange"})
    (concern,) = hardware_concerns(strange, {})
    assert concern.code == "openstack.hardware_not_kept"
    assert not concern.blocking
    assert {choice.name, "strange", option} <= set(concern.message.split())
    assert choice.name not in image_properties(strange, {})
    assert list(hardware_concerns(strange, {option: choice.values[0]})) == []


@pytest.mark.parametrize(
    ("made", "environment", "expected"),
    [
        (instance({"hw_disk_bus": "ide"}), {"machine_type": "q35"}, {"hw_machine_type": "q35"}),
        (
            instance({"hw_machine_type": "pc-q35-7.2"}),
            {"disk_bus": "ide"},
            {"hw_disk_bus": "ide", "hw_machine_type": "pc"},
        ),
        (
            instance({"hw_disk_bus": "ide"}, firmware_type=Firmware.EFI, secure_boot=True),
            {},
            {"hw_firmware_type": "uefi", "os_secure_boot": "required", "hw_machine_type": "q35"},
        ),
    ],
)
def test_what_the_source_says_gives_way_to_what_is_asked_for(
    made: Instance, environment: dict[str, Any], expected: dict[str, str]
) -> None:
    assert image_properties(made, environment) == {"hw_firmware_type": "bios", **expected}
    assert [concern.code for concern in hardware_concerns(made, environment)] == ["openstack.hardware_not_kept"]


@pytest.mark.parametrize("option", OPTIONS)
def test_the_default_of_the_cloud_can_be_asked_for(option: str) -> None:
    choice = OPTIONS[option]
    told, environment = instance({choice.name: choice.values[-1]}), {option: "default"}
    assert choice.name not in image_properties(told, environment)
    assert list(hardware_concerns(told, environment)) == []


KNOWN = st.sampled_from(sorted({value for choice in CHOICES for value in choice.values} | {"pc-q35-8.1", "lsiLogic"}))


@given(st.dictionaries(st.sampled_from([choice.name for choice in CHOICES]), KNOWN | st.none() | st.booleans()))
def test_a_property_of_an_image_is_kept_or_told(told: dict[str, Any]) -> None:
    source = instance(told)
    found = image_properties(source, {})
    lost = {concern.message.split()[0] for concern in hardware_concerns(source, {})}
    for name, value in told.items():
        same = {"pc-q35-8.1": "q35"}.get(str(value), value)
        assert (name in lost) is (bool(value) and found.get(name) != same)
