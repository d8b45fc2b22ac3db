# SPDX-License-Identifier: Apache-2.0
"""Whole servers whose volumes are in Ceph: from one cloud's Ceph to the other one's NFS, back, and from Ceph to Ceph.
Of what is in Ceph, later rounds carry what Ceph says has changed. Guests boot from it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.openstack.ceph_access import CLUSTERS
from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import Guest, build_guest
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of, shares
from tests.integration.rbd_cluster import Volume
from tests.lab import ceph, ceph_clouds, content, places
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.skipif(not ceph.available(), reason="not installed: Ceph"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MIB = 1 << 20
RANGE = "10.88.9.0/24"
ADDRESS, MAC = "10.88.9.42", "fa:16:3e:88:09:42"
READY = "coriolis-guest: ready"
# A guest that boots or ends changes its journal, its super block and the file with the number of its boots.
OF_A_BOOT = 4 * MIB
TO_NFS = {"default": "fast", "backend_mappings": [{"source": "ceph", "destination": "slow"}]}


@pytest.fixture
def desk(old_cloud: LabCloud, new_cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    clouds = (old_cloud, new_cloud)
    for cloud in clouds:
        if ceph_clouds.NAME not in cloud.cloud.spec.additions.cinder_backends:
            pytest.skip(f"cloud {cloud.name} was brought up without Ceph; bring it down and up")
    for variable, text in ((SHARES, shares(clouds)), (CLUSTERS, clusters(clouds))):
        path = tmp_path / f"{variable}.ini"
        path.write_text(text)
        monkeypatch.setenv(variable, str(path))
    monkeypatch.setenv("no_proxy", "*")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state) as made:
        yield Desk(made)


def clusters(clouds: Sequence[LabCloud]) -> str:
    """The operator's file of Ceph clusters for these clouds."""
    mine = ceph_clouds.cluster()
    fields = {"conf": mine.conf, "user": "coriolis", "keyring": mine.keyring("coriolis"), "pools": "volumes"}
    lines = [f"{name} = {value}\n" for name, value in fields.items()]
    return "".join(f"[{cloud.name}]\nauth_url = {cloud.auth()['auth_url']}\n{''.join(lines)}" for cloud in clouds)


@pytest.fixture(scope="module")
def guest() -> Guest:
    with places.locked("images"):
        return build_guest(places.LAB / "images", content.GUEST)


@pytest.fixture
def guest_in_ceph(old_cloud: LabCloud, guest: Guest) -> Iterator[str]:
    """The name of an image in the old cloud's Ceph. Volumes of it share its objects: ask for it before `old`."""
    with old_cloud.connect() as admin:
        made = admin.image.create_image(
            name=f"guest-{uuid.uuid4().hex[:8]}", disk_format="raw", container_format="bare", visibility="public"
        )
        try:
            headers = {"Content-Type": "application/octet-stream", "X-Image-Meta-Store": "ceph"}
            with guest.disk.open("rb") as file:
                admin.image.put(f"/images/{made.id}/file", data=file, headers=headers).raise_for_status()
            yield str(made.name)
        finally:
            admin.image.delete_image(made)


@pytest.fixture
def old(old_cloud: LabCloud) -> Iterator[Member]:
    with member_of(old_cloud, RANGE, called="ceph") as member:
        yield member


@pytest.fixture
def new(new_cloud: LabCloud) -> Iterator[Member]:
    with member_of(new_cloud, RANGE, called="ceph") as member:
        yield member


@pytest.mark.timeout(4 * PATIENCE)
def test_a_server_leaves_ceph_for_nfs(desk: Desk, old: Member, new: Member, guest: Guest) -> None:
    boot, idle = old.volume("mover-boot", "ceph", content.GUEST_IMAGE), old.volume("mover-idle", "ceph")
    old.until_said(old.boot("mover", ADDRESS, MAC, [boot, idle]), READY)
    (_, of_boot), (_, of_idle) = _moved(desk, old, new, TO_NFS, guest, boot, idle)
    assert _types(new) == {"slow"}
    assert (of_boot["mode"], of_idle["mode"]) == ("dirty", "dirty")
    assert 0 < of_boot["bytes_written"] <= of_boot["bytes_read"] <= OF_A_BOOT
    assert (of_idle["bytes_read"], of_idle["bytes_written"]) == (0, 0)
    assert [_told("snap ls", volume) for volume in (boot, idle)] == [[], []]


@pytest.mark.timeout(4 * PATIENCE)
def test_a_server_comes_from_nfs_to_ceph(desk: Desk, old: Member, new: Member, guest: Guest) -> None:
    boot, idle = new.volume("mover-boot", "slow", content.GUEST_IMAGE), new.volume("mover-idle", "fast")
    new.until_said(new.boot("mover", ADDRESS, MAC, [boot, idle]), READY)
    (_, of_boot), (_, of_idle) = _moved(desk, new, old, {"default": "ceph"}, guest, boot, idle)
    assert _types(old) == {"ceph"}
    assert (of_boot["mode"], of_idle["mode"]) == ("compare", "compare")
    assert 0 < of_boot["bytes_written"] <= OF_A_BOOT
    assert of_idle["bytes_written"] == 0
    for volume in old.sdk.block_storage.volumes():
        assert len(_told("status", volume)["watchers"]) == 1, "QEMU has it open"
        assert sum(one["length"] for one in _told("diff", volume)) < volume.size << 29, "zeros are not written"


@pytest.mark.timeout(4 * PATIENCE)
def test_a_transfer_from_ceph_to_ceph_carries_only_changes(
    desk: Desk, guest_in_ceph: str, old: Member, new: Member, guest: Guest
) -> None:
    boot, data = old.volume("stayer-boot", "ceph", guest_in_ceph), old.volume("stayer-data", "ceph")
    assert "parent" in _told("info", boot), "it shares the objects of the image"
    server = old.boot("stayer", ADDRESS, MAC, [boot, data])
    old.until_said(server, READY)
    order = {
        "origin_endpoint_id": desk.endpoint("openstack", old.info),
        "destination_endpoint_id": desk.endpoint("openstack", new.info),
        "instances": ["stayer"],
        "network_map": {"site": "site"},
        "storage_mappings": {"default": "ceph"},
        "destination_environment": {"verification": "full"},
    }
    transfer = desk.ask("POST", "/transfers", {"transfer": order})["transfer"]["id"]
    first = desk.executed(transfer)
    assert [(len(rounds), rounds[0]["mode"]) for rounds in desk.rounds(first, boot, data)] == [(1, "full")] * 2
    assert old.seen() == ["snapshot", "snapshot"], "Ceph tells what changed since these"

    _turn(old, server, on=False)
    _in_ceph(data.id).change(["write", 301 * MIB + 5, 3 * MIB, 1], ["write", 700 * MIB, 9, 2])
    _turn(old, server, on=True)
    old.until_said(server, "coriolis-guest: boot 2", READY)

    second = desk.executed(transfer, shutdown_instances=True)
    # One round while it still runs, another one when it is stopped.
    (_, of_boot, last_of_boot), (_, of_data, last_of_data) = desk.rounds(second, boot, data)
    assert {one["mode"] for one in (of_boot, last_of_boot, of_data, last_of_data)} == {"dirty"}
    assert (last_of_data["bytes_read"], last_of_data["bytes_written"]) == (0, 0)
    assert 0 < of_boot["bytes_written"] <= of_boot["bytes_read"] <= OF_A_BOOT
    assert 3 * MIB < of_data["bytes_written"] <= of_data["bytes_read"] <= 8 * MIB
    for disk in desk.certified(second):
        assert _in_ceph(disk["target_volume"]).digest() == _in_ceph(disk["disk_id"]).digest()

    for clone in (True, False):
        body = {"transfer_id": transfer, "clone_disks": clone}
        made = desk.ask("POST", "/deployments", {"deployment": body})["deployment"]["id"]
        desk.finished(f"/deployments/{made}", "deployment")
    servers = list(new.sdk.compute.servers(name="^stayer$"))
    assert len(servers) == 2
    for one in servers:
        said = new.until_said(one, READY)
        assert "coriolis-guest: boot 3" in said
        assert f"data ok {guest.data_digest}" in said
    assert _types(new) == {"ceph"}
    assert sum("parent" in _told("info", volume) for volume in new.sdk.block_storage.volumes()) == 2
    desk.ask("DELETE", f"/transfers/{transfer}?delete_disks=true")
    wait_for(lambda: old.seen() == [], PATIENCE)
    assert new.seen() == ["port"] * 2 + ["server"] * 2 + ["volume"] * 4


def _moved(
    desk: Desk, origin: Member, destination: Member, storage: dict[str, Any], guest: Guest, *volumes: Any
) -> list[list[dict[str, Any]]]:
    """Migrates the running server ``mover`` in two rounds. It boots there with all its data, and nothing else of ours
    is left. What each round moved, of each of the volumes."""
    done = desk.move(origin, destination, "mover", storage, keep_ip_addresses=True)
    said = destination.until_said(destination.server("mover"), READY, f"coriolis-guest: address {ADDRESS}")
    assert "coriolis-guest: boot 2" in said
    assert f"data ok {guest.data_digest}" in said
    assert destination.seen() == ["port", "server", "volume", "volume"]
    assert origin.seen() == []
    return desk.rounds(f"/migrations/{done['id']}", *volumes)


def _turn(member: Member, server: Any, *, on: bool) -> None:
    compute = member.sdk.compute
    (compute.start_server if on else compute.stop_server)(server)
    compute.wait_for_server(compute.get_server(server.id), status="ACTIVE" if on else "SHUTOFF", wait=PATIENCE)


def _types(member: Member) -> set[str]:
    return {volume.volume_type for volume in member.sdk.block_storage.volumes()}


def _in_ceph(volume_id: str) -> Volume:
    return Volume(ceph_clouds.cluster(), f"volume-{volume_id}")


def _told(words: str, volume: Any) -> Any:
    """The answer of ``rbd`` about a volume."""
    return json.loads(ceph_clouds.cluster().rbd(*words.split(), f"volumes/volume-{volume.id}", "--format=json"))
