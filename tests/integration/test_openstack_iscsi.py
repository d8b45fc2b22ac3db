# SPDX-License-Identifier: Apache-2.0
"""Servers whose volumes are reached by iSCSI: the real targets, CHAP secrets and connection info of Cinder, on tgtd.

Nova only pretends to run these servers, for it attaches such volumes with a kernel's iSCSI. Their bytes are real, and
the guest boots where it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane import DiskFormat, ImageSource, digest_disk
from coriolis.providers.openstack.iscsi_access import PORTALS
from demo.guest import build_guest
from demo.ova import Machine, build_ova
from tests.integration.libvirt_lab import Lab
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of
from tests.lab import content, places
from tests.lab.fixtures import LabCloud
from tests.lab.spec import ISCSI
from tests.service.standalone_process import running, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MIB = 1 << 20
RANGE = "10.88.12.0/24"
ADDRESS, MAC = "10.88.12.42", "fa:16:3e:88:12:42"
READY = b"coriolis-guest: ready"


@pytest.fixture
def desk(new_fake_cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    portals = tmp_path / "portals.ini"
    portal = f"127.0.0.1:{new_fake_cloud.cloud.spec.port('tgt')}"
    portals.write_text(f"[lab]\nauth_url = {new_fake_cloud.auth()['auth_url']}\nportals = {portal}\n")
    monkeypatch.setenv(PORTALS, str(portals))
    monkeypatch.setenv("no_proxy", "*")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state) as made:
        yield Desk(made)


@pytest.fixture
def member(new_fake_cloud: LabCloud) -> Iterator[Member]:
    with member_of(new_fake_cloud, RANGE, called="iscsi") as found:
        yield found


def test_a_server_leaves_in_rounds_and_boots(desk: Desk, member: Member, lab: Lab) -> None:
    boot, data = member.volume("boot", ISCSI, content.GUEST_IMAGE), member.volume("data", ISCSI)
    member.boot("leaver", ADDRESS, MAC, [boot, data])
    path = desk.submit(
        "transfer",
        desk.endpoint("openstack", member.info),
        desk.endpoint("libvirt", lab.host.connection_info),
        "leaver",
        network_map={"site": "user"},
        storage_mappings={"default": "default"},
        source_environment={"replica_export_mechanism": "direct"},
        destination_environment={"verification": "full"},
    )
    transfer = path.rpartition("/")[2]
    ((of_boot,), (of_data,)) = desk.rounds(desk.executed(transfer), boot, data)
    for one, volume in ((of_boot, boot), (of_data, data)):
        assert one["mode"] == "full"
        assert one["bytes_written"] <= _used(member, volume) + 64 * MIB, "zeros are not written"

    with _file(member, data.id).open("r+b") as file:
        file.seek(301 * MIB + 5)
        file.write(b"new" * MIB)
    second = desk.executed(transfer)
    ((_, of_boot), (_, of_data)) = desk.rounds(second, boot, data)
    assert (of_boot["mode"], of_data["mode"]) == ("compare", "compare")
    assert of_boot["bytes_written"] == 0
    assert 3 * MIB <= of_data["bytes_written"] <= 4 * MIB
    for disk in desk.certified(second):
        assert disk["root"] == _digest(member, disk["disk_id"], disk)

    made = desk.ask("POST", "/deployments", {"deployment": {"transfer_id": transfer}})["deployment"]["id"]
    desk.finished(f"/deployments/{made}", "deployment")
    wait_for(lambda: READY in lab.console("leaver"), PATIENCE)
    assert b"coriolis-guest: boot 1" in lab.console("leaver")
    assert member.seen() == []


def test_its_volumes_are_written_by_way_of_images(desk: Desk, member: Member) -> None:
    with places.locked("images"):
        ova = build_ova(build_guest(places.LAB / "images", content.GUEST), places.LAB / "images", Machine(name="comer"))
    order: dict[str, Any] = {
        "network_map": {"VM Network": {"id": "site"}},
        "storage_mappings": {"default": ISCSI},
    }
    ends = desk.endpoint("ova", {"path": str(ova)}), desk.endpoint("openstack", member.info)
    only_direct = {"destination_environment": {"replica_import_mechanism": "direct"}}
    refused = desk.ended(desk.submit("migration", *ends, "comer", **order, **only_direct), "migration")
    assert refused["last_execution_status"] == "ERROR"
    assert "reached by iSCSI, by which workers read and do not write" in "\n".join(desk.story(refused))
    assert member.seen() == []

    done = desk.migrate(*ends, "comer", **order, destination_environment={"verification": "full"})
    (disk,) = done["transfer_result"]["comer"]["integrity"]["disks"]
    (volume,) = member.sdk.block_storage.volumes()
    assert disk["source_digest"] == _digest(member, volume.id, disk)


def _file(member: Member, volume_id: str) -> Path:
    """The bytes behind the target."""
    return Path(member.cloud.cloud.home.var / "cinder" / ISCSI / f"volume-{volume_id}")


def _used(member: Member, volume: Any) -> int:
    return _file(member, volume.id).stat().st_blocks * 512


def _digest(member: Member, volume_id: str, disk: dict[str, Any]) -> str | None:
    """Of as many bytes as a certificate says the disk has."""
    source = ImageSource(path=_file(member, volume_id), format=DiskFormat.RAW)
    return digest_disk(source, size=disk["size_bytes"]).digest
