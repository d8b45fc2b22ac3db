# SPDX-License-Identifier: Apache-2.0
"""Whole migrations into, out of and between real clouds, by a real standalone, as plain members of projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import build_guest
from demo.ova import Machine, build_ova
from tests.integration.openstack_site import Desk, Member, member_of, scratch_file, shares
from tests.lab import content, places
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RANGE = "10.88.7.0/24"
ADDRESS, MAC = "10.88.7.42", "fa:16:3e:88:07:42"
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
    done = desk.migrate(
        desk.endpoint("openstack", old.info),
        desk.endpoint("openstack", new.info),
        "mover",
        network_map={"site": "site"},
        storage_mappings=NFS,
        destination_environment={"keep_ip_addresses": True, "verification": "full"},
        replication_count=2,
        shutdown_instances=True,
    )
    assert old.server("mover").status == "SHUTOFF"
    moved = new.server("mover")
    said = new.until_said(moved, "coriolis-guest: ready", f"coriolis-guest: address {ADDRESS}")
    assert "coriolis-guest: boot 2" in said
    assert f"nic eth0 {MAC}" in said
    root, second = done["transfer_result"]["mover"]["integrity"]["disks"]
    for disk in (root, second):
        assert disk["source_digest"] == disk["target_digest"]
        assert disk["rounds"] == 2
    types = {new.sdk.block_storage.get_volume(one.id).volume_type for one in moved.attached_volumes}
    assert types == {"fast", "slow"}
    assert new.ours() == ["port", "server", "volume", "volume"]
    assert old.ours() == []
