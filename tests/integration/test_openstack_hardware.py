# SPDX-License-Identifier: Apache-2.0
"""Guests that need other hardware than the cloud's default boot in another cloud as they did: on an IDE disk, by UEFI
with Secure Boot. One that has nothing to boot from is told of."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import build_guest, make_sparse
from tests.integration.openstack_site import NETWORK, Desk, Member, member_of, scratch_file, shares
from tests.lab import content, places
from tests.lab.efi_guest import build_efi_guest
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.timeout(3600, func_only=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RANGE = "10.88.16.0/24"
NAME, ADDRESS, MAC = "special", "10.88.16.42", "fa:16:3e:88:16:42"
READY = "coriolis-guest: ready"
STORAGE = {"default": "fast"}
NFS = {**STORAGE, "backend_mappings": [{"source": "fast", "destination": "slow"}]}
IDE = {"hw_disk_bus": "ide", "hw_machine_type": "pc", "hw_vif_model": "vmxnet3"}
# By UEFI without Secure Boot no guest of the newest Nova starts under Debian 12's libvirt.
SECURE = {
    "hw_firmware_type": "uefi",
    "os_secure_boot": "required",
    "hw_machine_type": "q35",
    "hw_disk_bus": "scsi",
    "hw_scsi_model": "virtio-scsi",
    "hw_vif_model": "vmxnet3",
    "os_type": "linux",
}


@pytest.fixture
def desk(old_cloud: LabCloud, new_cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv(SHARES, str(scratch_file(tmp_path, shares([old_cloud, new_cloud]))))
    monkeypatch.setenv("no_proxy", "*")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state) as made:
        yield Desk(made)


@pytest.fixture
def old(old_cloud: LabCloud) -> Iterator[Member]:
    with member_of(old_cloud, RANGE, called="hardware") as member:
        yield member


@pytest.fixture
def new(new_cloud: LabCloud) -> Iterator[Member]:
    with member_of(new_cloud, RANGE, called="hardware") as member:
        yield member


def plain(_folder: Path) -> Path:
    with places.locked("images"):
        return build_guest(places.LAB / "images", content.GUEST).disk


@contextmanager
def image(member: Member, disk: Path, properties: Mapping[str, str]) -> Iterator[str]:
    """The id of an image of the member's."""
    made = member.sdk.image.create_image(
        name=NAME, filename=str(disk), disk_format="raw", container_format="bare", wait=True, min_disk=1, **properties
    )
    try:
        yield str(made.id)
    finally:
        member.sdk.image.delete_image(made)


@pytest.mark.parametrize(
    ("build", "properties", "xpaths"),
    [
        pytest.param(plain, IDE, ["devices/disk/target[@bus='ide']"], id="ide"),
        pytest.param(
            build_efi_guest,
            SECURE,
            [
                "os/loader[@secure='yes']",
                "devices/controller[@model='virtio-scsi']",
                "devices/disk/target[@bus='scsi']",
            ],
            id="secure-boot",
        ),
    ],
)
def test_the_hardware_is_kept(
    desk: Desk,
    old: Member,
    new: Member,
    tmp_path: Path,
    build: Callable[[Path], Path],
    properties: dict[str, str],
    xpaths: list[str],
) -> None:
    with image(old, build(tmp_path), properties) as made:
        server = old.boot(NAME, ADDRESS, MAC, image=made)
        old.until_said(server, READY)
        desk.move(old, new, NAME, NFS, keep_ip_addresses=True)
    moved = new.server(NAME)
    said = new.until_said(moved, READY, f"address {ADDRESS}")
    assert "coriolis-guest: boot 2" in said
    assert f"nic eth0 {MAC}" in said
    (boot,) = moved.attached_volumes
    told = new.sdk.block_storage.get_volume(boot.id).volume_image_metadata
    assert told.items() >= properties.items()
    domain = domain_of(new, moved.id)
    for xpath in [*xpaths, "devices/interface/model[@type='vmxnet3']"]:
        assert domain.find(xpath) is not None, f"{xpath} in {ET.tostring(domain, encoding='unicode')}"


def test_a_guest_with_nothing_to_boot_from_is_told_of(desk: Desk, old: Member, new: Member, tmp_path: Path) -> None:
    make_sparse(tmp_path / "empty.raw", 16 << 20)
    with image(old, tmp_path / "empty.raw", SECURE) as made:
        old.boot(NAME, ADDRESS, MAC, image=made)
        done = desk.migrate(
            desk.endpoint("openstack", old.info),
            desk.endpoint("openstack", new.info),
            NAME,
            network_map={NETWORK: NETWORK},
            storage_mappings=STORAGE,
        )
    assert new.server(NAME).status == "ACTIVE"
    assert "but its console says: No bootable option or device was found." in "\n".join(desk.story(done))


def domain_of(member: Member, server_id: str) -> ET.Element:
    """What libvirt was told to make of a server."""
    home, hosts = member.cloud.cloud.home, member.cloud.cloud.spec.host_names
    for host in hosts:
        uri = f"qemu+unix:///system?socket={home.var}/libvirt/{host}/run/libvirt-sock"
        command = ["virsh", "-q", "-c", uri, "dumpxml", server_id]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode == 0:
            return ET.fromstring(done.stdout)
    raise LookupError(f"no host of {hosts} has server {server_id}")
