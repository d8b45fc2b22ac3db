# SPDX-License-Identifier: Apache-2.0
"""Whole migrations into a real cloud in which something fails: what can be mended by trying again is, what cannot is
told in words that name the thing, and nothing of ours is left."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.fake.cloud import Cloud as FakeCloud
from coriolis.providers.openstack.nfs_access import SHARES
from demo.ova import Machine, pack
from tests.integration.openstack_site import ENDED, PATIENCE, Desk, Member, member_of, shares
from tests.lab.faults import Fault, Proxy, broken_type, faulty_region, proxied, volumes_hang
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MIB = 1 << 20
RANGE, ADDRESS = "10.88.9.0/24", "10.88.9.42"
MACHINE = Machine(name="faulty")
DISK_MIB = 24  # nothing that could be compressed, or skipped as zeros
SLOW = MIB // 8  # bytes a second: the copy lasts until the test lets it go on
TOKEN_SECONDS = 60  # more than a request may wait on a busy machine
SERVICES = ("cinder", "glance", "neutron", "nova")
WHOLE = ["port", "server", "volume"]
ALWAYS = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """A standalone, and a member of a project of the cloud who works in a region whose services can be made to fail.
    ``shares``: the operator's file of NFS shares."""

    lab: LabCloud
    desk: Desk
    member: Member
    proxies: Mapping[str, Proxy]
    shares: Path
    ova: str

    def fault(self, service: str, method: str, path: str, *, skip: int = 0, **how: Any) -> Fault:
        """``skip``: so many requests that fit pass before the first one that meets it."""
        return self.proxies[service].add(method, path, when=_after(skip), **how)

    def endpoint(self, **more: Any) -> str:
        """The cloud, seen through the proxies."""
        return self.desk.endpoint("openstack", {**self.member.info, "region_name": faulty_region(self.lab), **more})

    def order(self, destination: str | None = None, **more: Any) -> dict[str, Any]:
        return {
            "origin_endpoint_id": self.ova,
            "destination_endpoint_id": destination or self.endpoint(),
            "instances": [MACHINE.name],
            "network_map": {MACHINE.network: self.member.network.name},
            "storage_mappings": {"default": "fast"},
            **more,
        }

    def start(self, order: dict[str, Any]) -> str:
        """The path of a new migration."""
        return f"/migrations/{self.desk.ask('POST', '/migrations', {'migration': order})['migration']['id']}"

    def completed(self, path: str) -> dict[str, Any]:
        """It arrived whole, once, and nothing else of ours is there."""
        done = self.desk.finished(path, "migration")
        (disk,) = next(iter(done["transfer_result"].values()))["integrity"]["disks"]
        assert disk["source_digest"] == disk["target_digest"]
        assert self.member.seen() == WHOLE
        return done

    def failed(self, path: str) -> str:
        """What the user is told of it. Nothing of ours is left."""
        done = self.desk.ended(path, "migration")
        assert done["last_execution_status"] == "ERROR", Desk.story(done)
        left = self.member.seen()
        assert left == [], Desk.story(done)
        return str(done["message"])

    def rehearsed(self, order: dict[str, Any]) -> tuple[bool, dict[str, str]]:
        """Whether a dry run calls it possible, and its concerns: message by code."""
        answer = self.desk.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]
        (instance,) = answer["instances"]
        return answer["possible"], {one["code"]: one["message"] for one in instance["concerns"]}

    def copying(self, path: str) -> bool:
        """Whether bytes have moved, and more are to move."""
        job = self.desk.ask("GET", path)["migration"]
        assert job["last_execution_status"] not in ENDED, Desk.story(job)
        moving = any(task["task_type"] == "REPLICATE_DISKS" and task["status"] == "RUNNING" for task in job["tasks"])
        return moving and 0 < job["bytes_done"] < job["bytes_total"]

    @contextlib.contextmanager
    def slow(self, destination: str) -> Iterator[None]:
        """Copies into this endpoint are slow while this lasts."""
        target = {"endpoint_id": destination}
        budget = {"name": "slow", "scope": "endpoint", "target": target, "bytes_per_second": SLOW}
        made = self.desk.ask("POST", "/bandwidth_budgets", {"bandwidth_budget": budget})["bandwidth_budget"]["id"]
        try:
            yield
        finally:
            self.desk.ask("DELETE", f"/bandwidth_budgets/{made}")

    def token(self, service: str) -> str:
        """The last one that the service was shown."""
        return self.proxies[service].seen[-1].token


def _after(skip: int) -> Callable[[], bool]:
    left = iter(range(skip))
    return lambda: next(left, None) is None


@pytest.fixture(scope="module")
def whole_site(new_cloud: LabCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("faults")
    disk, ova = folder / "disk.raw", folder / "faulty.ova"
    disk.write_bytes(random.Random(8).randbytes(DISK_MIB * MIB))
    pack(ova, MACHINE, [disk])
    listed = folder / "shares.ini"
    listed.write_text(shares([new_cloud]))
    state = folder / "state"
    state.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(SHARES, str(listed))
        patch.setenv("no_proxy", "*")
        member = stack.enter_context(member_of(new_cloud, RANGE))
        proxies = stack.enter_context(proxied(new_cloud, *SERVICES))
        options = {"api": {"provider_call_timeout_seconds": PATIENCE}}  # much else may run on this machine
        desk = Desk(stack.enter_context(running(state, options)))
        origin = desk.endpoint("ova", {"path": str(ova)})
        yield Site(lab=new_cloud, desk=desk, member=member, proxies=proxies, shares=listed, ova=origin)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """Without faults, and with nothing in the project, before and after."""
    yield whole_site
    for proxy in whole_site.proxies.values():
        proxy.clear()
    whole_site.member.clear()


# ---- what services answer -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """``faults``: service, method, path, and what happens. ``said``: what the error has to say, expressions; None: the
    migration completes."""

    faults: tuple[tuple[str, str, str, Mapping[str, Any]], ...]
    said: tuple[str, ...] | None = None
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)


UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
LOST: dict[str, Any] = {"lose_answer": True}
THRICE: dict[str, Any] = {"times": 3, "status": 500}
EVER: dict[str, Any] = {"times": ALWAYS, "status": 500}
CUT: dict[str, Any] = {"times": 2, "cut_after": 5 * MIB}
IMAGE = {"replica_import_mechanism": "image"}

OVERCOME = {
    "answers are lost": Case(
        faults=(
            ("cinder", "POST", "/volumes$", LOST),
            ("cinder", "POST", "/attachments$", LOST),
            ("neutron", "POST", "/ports$", LOST),
            ("nova", "POST", "/servers$", LOST),
        ),
    ),
    "Cinder fails thrice at a volume": Case(faults=(("cinder", "POST", "/volumes$", THRICE),)),
    "Cinder fails thrice at an attachment": Case(faults=(("cinder", "POST", "/attachments$", {**THRICE, "skip": 1}),)),
    "Nova fails thrice at the server": Case(faults=(("nova", "POST", "/servers$", THRICE),)),
    "Neutron fails thrice at the port": Case(faults=(("neutron", "POST", "/ports$", THRICE),)),
    "uploads are cut": Case(faults=(("glance", "PUT", "/file$", CUT),), environment=IMAGE),
    "the answer to the image is lost": Case(faults=(("glance", "POST", "/images$", LOST),), environment=IMAGE),
}
TOLD = {
    "Cinder fails for ever at the volume": Case(
        faults=(("cinder", "POST", "/volumes$", EVER),),
        said=("volume faulty-\\S+ ", "Cinder", "HTTP 500 of http://\\S+/volumes"),
    ),
    "Nova fails for ever at the server": Case(
        faults=(("nova", "POST", "/servers$", EVER),), said=("server faulty", "HTTP 500 of http://\\S+/servers")
    ),
    "Nova refuses the server": Case(
        faults=(("nova", "POST", "/servers$", {"times": ALWAYS, "status": 403}),),
        said=("server faulty", "lack the right"),
    ),
    "Neutron refuses the port": Case(
        faults=(("neutron", "POST", "/ports$", {"times": ALWAYS, "status": 403}),),
        said=("ports of faulty", "lack the right"),
    ),
}
TABLE = [pytest.param(case, id=name.replace(" ", "-")) for name, case in {**OVERCOME, **TOLD}.items()]


@pytest.mark.slow
@pytest.mark.parametrize("case", TABLE)
def test_a_fault_is_overcome_or_told(site: Site, case: Case) -> None:
    faults = [site.fault(service, method, path, **how) for service, method, path, how in case.faults]
    path = site.start(site.order(destination_environment=dict(case.environment)))
    if case.said is None:
        site.completed(path)
    else:
        told = site.failed(path)
        for words in case.said:
            assert re.search(words, told), told
    for fault in faults:
        assert fault.met == fault.times if fault.times < ALWAYS else fault.met > 0


def test_a_volume_that_ends_in_error_is_told(site: Site) -> None:
    with broken_type(site.lab) as kind:
        told = site.failed(site.start(site.order(storage_mappings={"default": kind})))
    assert re.search(f"volume {UUID} ended in status error: .*\\w", told), told


@pytest.mark.slow
def test_a_volume_that_is_made_late_is_overcome(site: Site) -> None:
    """Whoever waits for it too long makes another one. One is used, and the others are removed."""
    fault = site.fault("cinder", "POST", "/volumes$", hold=True)
    path = site.start(site.order(destination_environment={"volume_seconds": 3}))
    wait_for(lambda: fault.met, PATIENCE)  # others use this Cinder, too: it hangs for a short time only
    with volumes_hang(site.lab):
        fault.released.set()

        def waited() -> bool:
            tasks = site.desk.ask("GET", path)["migration"]["tasks"]
            return any("still creating" in line["message"] for task in tasks for line in task["events"])

        wait_for(waited, PATIENCE)
    site.completed(path)


# ---- tokens ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def keystone(site: Site) -> Iterator[Any]:
    """The cloud's own, as its admin."""
    with site.lab.connect() as admin:
        yield admin.identity


def _is_valid(keystone: Any, token: str) -> bool:
    answer = keystone.get("/auth/tokens", headers={"X-Subject-Token": token})
    assert answer.status_code in (200, 404)
    return bool(answer.status_code == 200)


@pytest.mark.slow
def test_a_copy_goes_on_when_its_token_has_ended(
    site: Site, keystone: Any, free_port: Callable[[], int], tmp_path: Path
) -> None:
    with site.lab.cloud.keystone_beside(TOKEN_SECONDS, free_port(), tmp_path) as auth_url:
        allowed = site.shares.read_text()
        more = allowed.replace("[", "[short-").replace(site.lab.auth()["auth_url"], auth_url)
        site.shares.write_text(allowed + more)
        destination = site.endpoint(auth_url=auth_url)
        try:
            with site.slow(destination):
                path = site.start(site.order(destination))
                wait_for(lambda: site.copying(path), PATIENCE)
                sent = len(site.proxies["cinder"].seen)
                token = site.token("cinder")
                assert _is_valid(keystone, token)
                wait_for(lambda: not _is_valid(keystone, token), PATIENCE)
                assert site.copying(path)
                assert len(site.proxies["cinder"].seen) == sent
            site.completed(path)
        finally:
            site.shares.write_text(allowed)
    first = site.proxies["cinder"].seen[sent]
    assert first.token != token
    assert first.status in (200, 202, 204)


@pytest.mark.slow
def test_a_copy_goes_on_when_its_token_was_revoked(site: Site, keystone: Any) -> None:
    """Glance, at the latest, refuses it: it sees that token for the first time when all bytes are there."""
    destination = site.endpoint()
    with site.slow(destination):
        path = site.start(site.order(destination, destination_environment=IMAGE))
        wait_for(lambda: site.copying(path), PATIENCE)
        token = site.token("cinder")
        assert keystone.delete("/auth/tokens", headers={"X-Subject-Token": token}).status_code == 204
        assert not _is_valid(keystone, token)
        assert site.copying(path)
    site.completed(path)
    assert (token, 401) in [(one.token, one.status) for proxy in site.proxies.values() for one in proxy.seen]


# ---- quotas ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_room(site: Site, *services: str) -> Iterator[None]:
    """The project may have no server, no volume, no port while this lasts."""
    project = site.member.sdk.current_project_id
    with site.lab.connect() as admin:
        closing = {
            "nova": lambda: admin.compute.update_quota_set(project, instances=0),
            "cinder": lambda: admin.block_storage.update_quota_set(project, volumes=0),
            "neutron": lambda: admin.network.update_quota(project, port=0),
        }
        opening = {
            "nova": lambda: admin.compute.revert_quota_set(project),
            "cinder": lambda: admin.block_storage.revert_quota_set(project),
            "neutron": lambda: admin.network.delete_quota(project),
        }
        for service in services:
            closing[service]()
        try:
            yield
        finally:
            for service in services:
                opening[service]()


def test_a_quota_without_room_is_told_before_anything_is_made(site: Site) -> None:
    order = site.order()
    with _no_room(site, "nova", "cinder", "neutron"):
        answer = site.desk.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]
        assert answer["possible"] is False
        concerns = answer["instances"][0]["concerns"]
        told = [one["message"] for one in concerns if one["code"] == "openstack.quota" and one["blocking"]]
        error = site.failed(site.start(order))
    for words in ("compute quota instances", "block storage quota volumes", "network quota port"):
        assert any(words in message for message in told), told
        assert words in error
    made = [one.path for proxy in site.proxies.values() for one in proxy.seen if one.method == "POST"]
    assert made == []


def test_a_quota_of_the_default_volume_type_is_told(site: Site) -> None:
    project = site.member.sdk.current_project_id
    with site.lab.connect() as admin:
        kind = admin.block_storage.get_type("default").name
        limits = {"quota_set": {f"volumes_{kind}": 0}}
        assert admin.block_storage.put(f"/os-quota-sets/{project}", json=limits).ok
        try:
            order = site.order(storage_mappings={})
            told = site.desk.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]
        finally:
            admin.block_storage.revert_quota_set(project)
    (found,) = [one for one in told["instances"][0]["concerns"] if one["code"] == "openstack.quota"]
    assert f"block storage quota volumes_{kind}" in found["message"]
    assert found["blocking"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "path", "said"),
    [
        ("cinder", "/volumes$", "volume faulty-\\S+ .*quota"),
        ("neutron", "/ports$", "ports of faulty: .*[Qq]uota"),
        ("nova", "/servers$", "server faulty: .*[Qq]uota exceeded for instances"),
    ],
    ids=lambda value: value if value.isalpha() else "",
)
def test_a_quota_that_is_used_up_after_the_plan_is_told(site: Site, service: str, path: str, said: str) -> None:
    fault = site.fault(service, "POST", path, hold=True)
    job = site.start(site.order())
    wait_for(lambda: fault.met, PATIENCE)
    with _no_room(site, service):
        fault.released.set()
        told = site.failed(job)
    assert re.search(said, told), told
    assert "ask an administrator" in told


# ---- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_mac_address_that_is_taken_is_told_beforehand_and_not_kept(site: Site) -> None:
    order = site.order()
    taken = site.member.sdk.network.create_port(network_id=site.member.network.id, mac_address=MACHINE.mac)
    possible, concerns = site.rehearsed(order)
    assert possible
    assert concerns["openstack.mac_taken"] == f"MAC address {MACHINE.mac} is taken in network site: it is not kept"
    site.completed(site.start(order))
    addresses = {port.mac_address for port in site.member.sdk.network.ports(network_id=site.member.network.id)}
    assert MACHINE.mac in addresses
    assert site.member.sdk.network.get_port(taken).device_id == ""


@pytest.mark.slow
def test_a_mac_address_that_is_taken_after_the_plan_is_told(site: Site) -> None:
    fault = site.fault("neutron", "POST", "/ports$", hold=True)
    path = site.start(site.order())
    wait_for(lambda: fault.met, PATIENCE)
    taken = site.member.sdk.network.create_port(network_id=site.member.network.id, mac_address=MACHINE.mac)
    fault.released.set()
    told = site.failed(path)
    assert f"MAC address {MACHINE.mac} is taken in network site by port {taken.id}" in told
    assert "keep_mac_addresses" in told


@pytest.fixture
def twin(site: Site) -> Iterator[Any]:
    """A second network of the same range, without anything in it afterwards."""
    sdk = site.member.sdk.network
    network = sdk.create_network(name="twin")
    sdk.create_subnet(network_id=network.id, ip_version=4, cidr=RANGE)
    yield network
    site.member.clear()
    for port in list(sdk.ports(network_id=network.id)):
        sdk.delete_port(port)
    sdk.delete_network(network)


@pytest.mark.slow
def test_an_address_that_is_taken_is_told(site: Site, twin: Any) -> None:
    """After the plan, as an error; before it, as a concern."""
    sdk = site.member.sdk
    site.member.boot("keeper", ADDRESS, "fa:16:3e:88:09:42")
    order = site.order(
        origin_endpoint_id=site.desk.endpoint("openstack", site.member.info),
        instances=["keeper"],
        network_map={"site": "twin"},
        destination_environment={"keep_ip_addresses": True, "server_name": "kept"},
    )
    fault = site.fault("neutron", "POST", "/ports$", hold=True)
    assert site.rehearsed(order)[0]
    path = site.start(order)
    wait_for(lambda: fault.met, PATIENCE)
    taken = sdk.network.create_port(network_id=twin.id, fixed_ips=[{"ip_address": ADDRESS}])
    fault.released.set()
    told = site.failed(path)
    assert f"address {ADDRESS} is taken in network twin by port {taken.id}" in told
    assert "keep_ip_addresses" in told
    possible, concerns = site.rehearsed(order)
    assert possible
    expected = f"address {ADDRESS} is not kept: it is taken in network twin"
    assert concerns["openstack.address_not_kept"] == expected


# ---- out of the cloud -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_downloads_that_are_cut_go_on(site: Site, tmp_path: Path) -> None:
    site.member.boot("leaver", ADDRESS, "fa:16:3e:88:09:43")
    there = FakeCloud.create(tmp_path / "there")
    cut = site.fault("glance", "GET", "/file$", **CUT)
    order = {
        "origin_endpoint_id": site.endpoint(),
        "destination_endpoint_id": site.desk.endpoint("fake", {"path": str(there.path)}),
        "instances": ["leaver"],
        "network_map": {"site": "net-a"},
    }
    done = site.desk.finished(site.start(order), "migration")
    assert cut.met == cut.times
    told = "\n".join(Desk.story(done))
    assert told.count("was cut off at") == cut.times
    (disk,) = done["transfer_result"]["leaver"]["integrity"]["disks"]
    assert disk["source_digest"] == disk["target_digest"]
    assert site.member.seen() == []
