# SPDX-License-Identifier: Apache-2.0
"""Whole migrations into, out of and between real clouds, by a real standalone, as plain members of projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import build_guest
from demo.ova import Machine, build_ova
from tests.integration.libvirt_lab import Lab
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of, scratch_file, shares
from tests.lab import content, places
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RANGE = "10.88.7.0/24"
ADDRESS, MAC = "10.88.7.42", "fa:16:3e:88:07:42"
OF_A_BOOT = 8 << 20  # what a guest that starts or stops may write
NFS = {"default": "fast", "backend_mappings": [{"source": "fast", "destination": "slow"}]}


@pytest.fixture
def desk(old_cloud: LabCloud, new_cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv(SHARES, str(scratch_file(tmp_path, shares([old_cloud, new_cloud]))))
    monkeypatch.setenv("no_proxy", "*")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state) as made:
        yield Desk(made)


@pytest.fixture
def new(new_cloud: LabCloud) -> Iterator[Member]:
    with member_of(new_cloud, RANGE) as member:
        yield member


@pytest.fixture
def old(old_cloud: LabCloud) -> Iterator[Member]:
    with member_of(old_cloud, RANGE) as member:
        yield member


def changed(desk: Desk, done: dict[str, Any]) -> dict[str, int]:
    """Bytes that the second round of a migration wrote, of each disk; what it read was compared with the first."""
    found = {}
    for disk in desk.certified(f"/migrations/{done['id']}"):
        first, second = disk["rounds"]
        assert (first["mode"], second["mode"]) == ("full", "compare")
        assert first["bytes_written"] > second["bytes_written"]
        found[disk["disk_id"]] = second["bytes_written"]
    return found


def test_an_ova_boots_in_the_new_cloud(desk: Desk, new: Member) -> None:
    with places.locked("images"):
        guest = build_guest(places.LAB / "images", content.GUEST)
        ova = build_ova(guest, places.LAB / "images", Machine(name="from-ova"))
    done = desk.migrate(
        desk.endpoint("ova", {"path": str(ova)}),
        desk.endpoint("openstack", new.info),
        "from-ova",
        network_map={"VM Network": {"id": "site"}},
        storage_mappings={"default": "fast"},
        destination_environment={"verification": "full"},
    )
    server = new.server("from-ova")
    said = new.until_said(server, "coriolis-guest: ready", "coriolis-guest: address")
    assert f"data ok {guest.data_digest}" in said
    assert f"nic eth0 {Machine().mac}" in said
    (disk,) = done["transfer_result"]["from-ova"]["integrity"]["disks"]
    assert disk["source_digest"] == disk["target_digest"]
    assert new.ours() == ["port", "server", "volume"]


def test_a_running_server_moves_to_the_new_cloud(desk: Desk, old: Member, new: Member) -> None:
    server = old.boot("mover", ADDRESS, MAC)
    data = old.volume("mover-data", "fast")
    old.sdk.compute.create_volume_attachment(server, volume_id=data.id)
    old.until_said(server, "coriolis-guest: ready")
    done = desk.move(old, new, "mover", NFS, keep_ip_addresses=True)
    changes = changed(desk, done)
    assert 0 < changes.pop("root") <= OF_A_BOOT
    assert changes == {data.id: 0}
    moved = new.server("mover")
    said = new.until_said(moved, "coriolis-guest: ready", f"coriolis-guest: address {ADDRESS}")
    assert "coriolis-guest: boot 2" in said
    assert f"nic eth0 {MAC}" in said
    types = {new.sdk.block_storage.get_volume(one.id).volume_type for one in moved.attached_volumes}
    assert types == {"fast", "slow"}
    assert new.ours() == ["port", "server", "volume", "volume"]
    assert old.ours() == []


@pytest.mark.slow
def test_a_server_that_boots_from_a_volume_moves_with_an_idle_one(desk: Desk, old: Member, new: Member) -> None:
    boot, idle = old.volume("bfv-boot", "fast", content.GUEST_IMAGE), old.volume("bfv-idle", "slow")
    server = old.boot("bfv", ADDRESS, MAC, [boot, idle])
    old.until_said(server, "coriolis-guest: ready")
    done = desk.move(old, new, "bfv", NFS)
    said = new.until_said(new.server("bfv"), "coriolis-guest: ready")
    assert "coriolis-guest: boot 2" in said
    disks = done["transfer_result"]["bfv"]["integrity"]["disks"]
    assert {disk["disk_id"] for disk in disks} == {boot.id, idle.id}
    changes = changed(desk, done)
    assert changes.pop(boot.id) <= OF_A_BOOT
    assert changes == {idle.id: 0}
    assert new.ours() == ["port", "server", "volume", "volume"]
    assert old.ours() == []


@pytest.mark.slow
def test_a_transfer_is_deployed_twice_and_then_in_place(desk: Desk, new: Member, tmp_path: Path) -> None:
    with places.locked("images"):
        guest = build_guest(places.LAB / "images", content.GUEST)
        ova = build_ova(guest, places.LAB / "images", Machine(name="again"))
    order = {
        "origin_endpoint_id": desk.endpoint("ova", {"path": str(ova)}),
        "destination_endpoint_id": desk.endpoint("openstack", new.info),
        "instances": ["again"],
        "network_map": {"VM Network": "site"},
        "storage_mappings": {"default": "fast"},
    }
    transfer = desk.ask("POST", "/transfers", {"transfer": order})["transfer"]["id"]
    run = desk.ask("POST", f"/transfers/{transfer}/executions", {"execution": {}})["execution"]["id"]
    desk.finished(f"/transfers/{transfer}/executions/{run}", "execution")
    assert new.ours() == ["volume"]
    for number, clone in enumerate((True, True, False), 1):
        body = {"transfer_id": transfer, "clone_disks": clone}
        made = desk.ask("POST", "/deployments", {"deployment": body})["deployment"]["id"]
        desk.finished(f"/deployments/{made}", "deployment")
        assert len(list(new.sdk.compute.servers(name="^again$"))) == number
    for server in new.sdk.compute.servers(name="^again$"):
        said = new.until_said(server, "coriolis-guest: ready")
        assert "coriolis-guest: boot 1" in said
        assert f"data ok {guest.data_digest}" in said
    assert new.ours() == ["port"] * 3 + ["server"] * 3 + ["volume"] * 3


@pytest.mark.slow
def test_a_server_leaves_the_new_cloud_for_libvirt(desk: Desk, new: Member, lab: Lab) -> None:
    server = new.boot("leaver", ADDRESS, MAC)
    new.until_said(server, "coriolis-guest: ready")
    done = desk.migrate(
        desk.endpoint("openstack", new.info),
        desk.endpoint("libvirt", lab.host.connection_info),
        "leaver",
        network_map={"site": "user"},
        storage_mappings={"default": "default"},
        destination_environment={"verification": "full"},
        shutdown_instances=True,
    )
    wait_for(lambda: b"coriolis-guest: ready" in lab.console("leaver"), PATIENCE)
    said = lab.console("leaver").decode(errors="replace")
    assert "coriolis-guest: boot 2" in said
    assert f"nic eth0 {MAC}" in said
    (disk,) = done["transfer_result"]["leaver"]["integrity"]["disks"]
    assert disk["source_digest"] == disk["target_digest"]
    assert new.server("leaver").status == "SHUTOFF"
    assert new.ours() == []
