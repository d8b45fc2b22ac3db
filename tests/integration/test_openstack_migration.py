# SPDX-License-Identifier: Apache-2.0
"""Whole migrations into a real cloud, by a real standalone, as a plain member of a project."""

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


@pytest.fixture
def desk(new_cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv(SHARES, str(scratch_file(tmp_path, shares([new_cloud]))))
    monkeypatch.setenv("no_proxy", "*")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state) as made:
        yield Desk(made)


@pytest.fixture
def new(new_cloud: LabCloud) -> Iterator[Member]:
    with member_of(new_cloud, RANGE) as member:
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
