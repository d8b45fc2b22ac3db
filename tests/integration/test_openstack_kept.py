# SPDX-License-Identifier: Apache-2.0
"""What a server has beside disks and NICs, between real clouds: what is kept, what is lost and told, and what is made
anew because the destination's options ask for it. The pages of the user guide say the same in tables."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.openstack.minion_login import KeyPair, new_keypair
from coriolis.providers.openstack.nfs_access import SHARES
from demo.guest import build_guest
from demo.ova import Machine, build_ova
from tests.integration.openstack_site import PATIENCE, Desk, Member, member_of, scratch_file, shares
from tests.integration.test_openstack_rights import asked, fits, in_project, rights, strangers
from tests.lab import content, places
from tests.lab.faults import Proxy, proxied
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.timeout(1800, func_only=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

OLD_RANGE, NEW_RANGE = "10.88.91.0/24", "10.88.92.0/24"
NAME, ADDRESS, MAC = "keeper", "10.88.91.42", "fa:16:3e:88:91:42"
MAPS = {"network_map": {"site": "site"}, "storage_mappings": {"default": "fast"}}
GIB = 1 << 30
# A failed job looks for what it may have made after seconds, for no request is on its way for longer here.
OPTIONS: Mapping[str, Mapping[str, object]] = {"engine": {"quarantine_seconds": 5}}
# No flavor of the lab has two CPUs.
TWIN = Machine(name="twin", cpus=2, memory_mib=256)
TWIN_FLAVOR = "coriolis.2.256"
AT_SOURCE = """#!/bin/sh
echo moved with the root disk > /stays
echo rubbish | dd of=/dev/vdb conv=notrunc
sync
echo kept: written
"""
# Of vdb and vdc: sectors, and how many of the first bytes are no zeros.
AT_DESTINATION = """#!/bin/sh
echo kept: root $(cat /stays)
for disk in vdb vdc; do
    echo kept: $disk $(cat /sys/block/$disk/size) $(head -c 1048576 /dev/$disk | tr -d '\\0' | wc -c)
done
echo kept: told
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    desk: Desk
    old: Member
    new: Member
    origin: str
    target: str
    key: KeyPair
    proxies: Mapping[str, Proxy]  # of the new cloud, by service

    @property
    def info(self) -> dict[str, Any]:
        """Connection info of the new cloud, by way of the proxies."""
        return {**self.new.info, "region_name": region(self.new)}

    def rehearsed(self, instance: str, origin: str, target: str, **more: Any) -> dict[str, Any]:
        """What a dry run tells of the instance."""
        ends = {"origin_endpoint_id": origin, "destination_endpoint_id": target}
        order = {**ends, "instances": [instance], **MAPS, **more}
        told = self.desk.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]
        (line,) = told["instances"]
        return dict(line)


@pytest.fixture(scope="module")
def site(old_cloud: LabCloud, new_cloud: LabCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("kept")
    state = folder / "state"
    state.mkdir(mode=0o700)
    key = new_keypair()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(SHARES, str(scratch_file(folder, shares([old_cloud, new_cloud]))))
        patch.setenv("no_proxy", "*")
        old = stack.enter_context(member_of(old_cloud, OLD_RANGE, called="kept"))
        new = stack.enter_context(member_of(new_cloud, NEW_RANGE, called="kept"))
        for member in (old, new):
            stack.enter_context(surroundings(member, key))
        desk = Desk(stack.enter_context(running(state, OPTIONS)))
        proxies = stack.enter_context(proxied(new_cloud, "nova", "neutron", region=region(new)))
        made = Site(desk=desk, old=old, new=new, origin="", target="", key=key, proxies=proxies)
        ends = [desk.endpoint("openstack", info) for info in (old.info, made.info)]
        yield dataclasses.replace(made, origin=ends[0], target=ends[1])


def region(member: Member) -> str:
    return f"{member.info['username']}-kept"


@contextlib.contextmanager
def surroundings(member: Member, key: KeyPair) -> Iterator[None]:
    """A router to the external network, a keypair, a server group and a security group."""
    sdk = member.sdk
    external = sdk.network.find_network(content.EXTERNAL_NETWORK)
    subnet = member.network.subnet_ids[0]
    router = sdk.network.create_router(name="kept", external_gateway_info={"network_id": external.id})
    sdk.network.add_interface_to_router(router, subnet=subnet)
    sdk.compute.create_keypair(name="kept", public_key=key.public, key_type="ssh")
    group = sdk.compute.create_server_group(name="kept", policy="anti-affinity")
    sdk.network.create_security_group(name="web")
    try:
        yield
    finally:
        empty(member)
        sdk.compute.delete_server_group(group)
        sdk.compute.delete_keypair("kept")
        sdk.network.remove_interface_from_router(router, subnet=subnet)
        sdk.network.delete_router(router)


def empty(member: Member) -> None:
    """Floating addresses, too, which stay when a server is deleted."""
    member.clear()
    for address in member.sdk.network.ips(project_id=member.sdk.current_project_id):
        member.sdk.network.delete_ip(address)


@contextlib.contextmanager
def roomy_flavor(member: Member) -> Iterator[Any]:
    """A flavor with an ephemeral and a swap disk, for this project."""
    with member.cloud.connect() as admin:
        size = {"vcpus": 1, "ram": 320, "disk": 1, "ephemeral": 1, "swap": 64}
        made = admin.compute.create_flavor(name=f"kept-{uuid.uuid4().hex[:8]}", is_public=False, **size)
        try:
            admin.compute.flavor_add_tenant_access(made, member.sdk.current_project_id)
            yield made
        finally:
            member.clear()
            admin.compute.delete_flavor(made)


@pytest.fixture(scope="module")
def keeper(site: Site) -> Iterator[None]:
    """A running server of the old cloud that has all that a server can have."""
    with roomy_flavor(site.old) as flavor:
        boot(site.old, flavor)
        yield


def boot(member: Member, flavor: Any) -> None:
    sdk = member.sdk
    web = sdk.network.find_security_group("web", project_id=sdk.current_project_id)
    port = sdk.network.create_port(
        network_id=member.network.id,
        mac_address=MAC,
        fixed_ips=[{"subnet_id": member.network.subnet_ids[0], "ip_address": ADDRESS}],
        security_group_ids=[web.id],
    )
    made = sdk.compute.create_server(
        name=NAME,
        flavor_id=flavor.id,
        image_id=sdk.image.find_image(content.MINION_IMAGE).id,
        networks=[{"port": port.id}],
        metadata={"tier": "front"},
        tags=["kept", "lab"],
        key_name="kept",
        config_drive=True,
        user_data=base64.b64encode(AT_SOURCE.encode()).decode(),
        scheduler_hints={"group": sdk.compute.find_server_group("kept").id},
    )
    server = sdk.compute.wait_for_server(made, wait=PATIENCE)
    external = sdk.network.find_network(content.EXTERNAL_NETWORK)
    sdk.network.create_ip(floating_network_id=external.id, port_id=port.id)
    member.until_said(server, "kept: written")
    wait_for(lambda: floating(member), PATIENCE)


def floating(member: Member) -> list[str]:
    """Addresses of the server, as Nova tells them."""
    entries = [entry for entries in member.server(NAME).addresses.values() for entry in entries]
    return [entry["addr"] for entry in entries if entry["OS-EXT-IPS:type"] == "floating"]


def asked_for() -> dict[str, Any]:
    """Of the destination: all that does not come by itself."""
    return {
        "keep_ip_addresses": True,
        "keypair_name": "kept",
        "user_data": AT_DESTINATION,
        "metadata": {"tier": "back"},
        "tags": ["arrived"],
        "server_group": "kept",
        "config_drive": True,
        "security_groups": ["web"],
        "floating_ip_network": content.EXTERNAL_NETWORK,
        "availability_zone": "nova",
        "volumes_availability_zone": "nova",
        "verification": "full",
    }


def told(line: Mapping[str, Any], code: str) -> list[str]:
    return [one["message"] for one in line["concerns"] if one["code"] == f"openstack.{code}"]


# ---- told beforehand


@pytest.mark.usefixtures("keeper")
def test_what_stays_behind_is_told(site: Site) -> None:
    line = site.rehearsed(NAME, site.origin, site.target, destination_environment={"keep_ip_addresses": True})
    assert line["possible"]
    (address,) = floating(site.old)
    assert [address in message for message in told(line, "floating_address")] == [True]
    (lost,) = told(line, "not_carried")
    for field in ("keypair_name", "metadata", "tags", "server_group", "security_groups", "config_drive"):
        assert field in lost
    assert "user_data" not in lost  # a member does not see whether there are some
    assert sorted(message.split()[1] for message in told(line, "disk_empty")) == ["ephemeral0", "swap"]
    assert [ADDRESS in message for message in told(line, "address_not_kept")] == [True]


@pytest.mark.usefixtures("keeper")
def test_an_administrator_is_told_of_user_data(site: Site) -> None:
    with in_project(site.old, "admin") as info:
        origin = site.desk.endpoint("openstack", info)
        line = site.rehearsed(NAME, origin, site.target)
    (lost,) = told(line, "not_carried")
    assert "user_data" in lost


# ---- moved


@pytest.fixture(scope="module")
def moved(site: Site, keeper: None) -> Iterator[dict[str, Any]]:
    order = {**MAPS, "destination_environment": asked_for(), "replication_count": 1, "shutdown_instances": True}
    yield site.desk.migrate(site.origin, site.target, NAME, **order)
    empty(site.new)


def test_the_disks_arrive_and_those_of_the_host_are_empty(site: Site, moved: dict[str, Any]) -> None:
    disks = moved["transfer_result"][NAME]["integrity"]["disks"]
    assert [disk["source_digest"] == disk["target_digest"] for disk in disks] == [True] * 3
    server = site.new.server(NAME)
    said = site.new.until_said(server, "kept: told")
    assert "kept: root moved with the root disk" in said
    for disk in ("vdb", "vdc"):
        assert f"kept: {disk} {GIB // 512} 0" in said.replace("\r", "")
    volumes = [site.new.sdk.block_storage.get_volume(one.id) for one in server.attached_volumes]
    assert sorted((volume.size, volume.is_bootable) for volume in volumes) == [(1, False), (1, False), (1, True)]


def test_the_server_has_what_was_asked_for(site: Site, moved: dict[str, Any]) -> None:
    server = site.new.server(NAME)
    assert server.flavor.original_name == "lab.small"
    assert server.key_name == "kept"
    assert server.metadata["tier"] == "back"
    assert set(server.tags) - {"arrived"} == {server.metadata["coriolis_key"]}
    assert server.has_config_drive
    assert server.availability_zone == "nova"
    assert [group["name"] for group in server.security_groups] == ["web"]
    group = site.new.sdk.compute.find_server_group("kept")
    assert server.server_groups == [group.id]
    with site.new.cloud.connect() as admin:
        seen = admin.compute.get_server(server.id)
    assert base64.b64decode(seen.user_data).decode() == AT_DESTINATION


def test_the_port_has_the_mac_and_a_new_floating_address(site: Site, moved: dict[str, Any]) -> None:
    sdk = site.new.sdk
    (port,) = sdk.network.ports(device_id=site.new.server(NAME).id)
    assert port.mac_address == MAC
    assert port.fixed_ips[0]["ip_address"] != ADDRESS
    web = sdk.network.find_security_group("web", project_id=sdk.current_project_id)
    assert port.security_group_ids == [web.id]
    (address,) = sdk.network.ips(project_id=sdk.current_project_id)
    assert (address.port_id, address.fixed_ip_address) == (port.id, port.fixed_ips[0]["ip_address"])
    assert address.floating_network_id == sdk.network.find_network(content.EXTERNAL_NETWORK).id
    assert list(address.tags) == [address.description]
    wait_for(lambda: floating(site.new) == [address.floating_ip_address], PATIENCE)
    (before,) = site.old.sdk.network.ips(project_id=site.old.sdk.current_project_id)
    assert [before.floating_ip_address] == floating(site.old)  # the source keeps its own


def test_the_guest_has_keypair_and_metadata(site: Site, moved: dict[str, Any], tmp_path: Path) -> None:
    server = site.new.server(NAME)
    site.new.until_said(server, "lab-minion: ready")
    (port,) = site.new.sdk.network.ports(device_id=server.id)
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(site.key.private)
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "BatchMode=yes")
    command = ["ssh", "-F", "/dev/null", "-i", str(key), *[word for one in options for word in ("-o", one)]]
    what = "cat /run/config/openstack/latest/meta_data.json"
    answer = subprocess.run(
        [*command, f"root@{port.fixed_ips[0]['ip_address']}", what],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    facts = json.loads(answer.stdout)
    assert facts["meta"]["tier"] == "back"
    assert facts["public_keys"] == {"kept": site.key.public}


def test_nothing_else_is_left(site: Site, moved: dict[str, Any]) -> None:
    assert site.new.ours() == ["floating address", "port", "server", "volume", "volume", "volume"]
    assert site.old.ours() == []
    server = site.old.server(NAME)
    assert (server.status, dict(server.metadata), sorted(server.tags)) == (
        "SHUTOFF",
        {"tier": "front"},
        ["kept", "lab"],
    )


# ---- flavors that are made


@pytest.fixture(scope="module")
def twin(site: Site) -> str:
    """An endpoint with a machine for which the new cloud has no flavor."""
    with places.locked("images"):
        guest = build_guest(places.LAB / "images", content.GUEST)
        path = build_ova(guest, places.LAB / "images", TWIN)
    return site.desk.endpoint("ova", {"path": str(path)})


def with_flavor(site: Site, **more: Any) -> dict[str, Any]:
    return {
        "network_map": {TWIN.network: site.new.network.id},  # an administrator sees all that are called so
        "storage_mappings": {"default": "fast"},
        "destination_environment": {"create_flavor": True, "floating_ip_network": content.EXTERNAL_NETWORK, **more},
    }


def made_flavors(site: Site) -> list[Any]:
    with site.new.cloud.connect() as admin:
        return [one for one in admin.compute.flavors(is_public=None) if one.name == TWIN_FLAVOR]


def test_a_member_cannot_have_a_flavor_made(site: Site, twin: str) -> None:
    empty(site.new)
    line = site.rehearsed(TWIN.name, twin, site.target, **with_flavor(site))
    assert not line["possible"]
    (message,) = told(line, "needs_admin")
    assert "2 CPUs and 256 MiB" in message
    path = site.desk.submit("migration", twin, site.target, TWIN.name, **with_flavor(site))
    done = site.desk.ended(path, "migration")
    assert done["last_execution_status"] == "ERROR"
    assert any("2 CPUs and 256 MiB" in line for line in site.desk.story(done)), site.desk.story(done)
    assert made_flavors(site) == []
    assert site.new.ours() == []


def test_a_flavor_is_removed_with_what_failed(site: Site, twin: str) -> None:
    """Nova refuses the server when all else is there: nobody has that host."""
    empty(site.new)
    with in_project(site.new, "admin") as info:
        target = site.desk.endpoint("openstack", {**info, "region_name": region(site.new)})
        order = with_flavor(site, availability_zone="nova:no-such-host")
        path = site.desk.submit("migration", twin, target, TWIN.name, **order)
        done = site.desk.ended(path, "migration")
        assert done["last_execution_status"] == "ERROR"
        assert any("no-such-host" in line for line in site.desk.story(done)), site.desk.story(done)
        wait_for(lambda: site.new.ours() == [], PATIENCE)
    assert made_flavors(site) == []


def test_an_administrator_has_a_flavor_made(site: Site, twin: str) -> None:
    empty(site.new)
    with in_project(site.new, "admin") as info:
        target = site.desk.endpoint("openstack", {**info, "region_name": region(site.new)})
        site.desk.migrate(twin, target, TWIN.name, **with_flavor(site))
    server = site.new.server(TWIN.name)
    (flavor,) = made_flavors(site)
    with site.new.cloud.connect() as admin:
        try:
            assert (flavor.vcpus, flavor.ram, flavor.disk, flavor.is_public) == (2, 256, 0, False)
            assert flavor.description == server.metadata["coriolis_key"]
            who = {one["tenant_id"] for one in admin.compute.get_flavor_access(flavor.id)}
            assert who == {site.new.sdk.current_project_id}
            assert server.flavor.original_name == TWIN_FLAVOR
            site.new.until_said(server, "coriolis-guest: ready")
            assert site.new.ours() == ["flavor", "floating address", "port", "server", "volume"]
        finally:
            empty(site.new)
            admin.compute.delete_flavor(flavor)


def test_the_table_of_rights_has_what_was_asked(site: Site, moved: dict[str, Any]) -> None:
    """When all of the above has run: what no other migration asks for, too."""
    table = rights("destination")
    requests = [request for request, _status in asked(site.new, site.proxies)]
    assert strangers(requests, table) == []
    for title in ("Neutron: floating addresses", "Nova: make, share, delete flavors (``create_flavor``)"):
        assert [str(one) for one in table[title] if not any(fits(request, one) for request in requests)] == []
