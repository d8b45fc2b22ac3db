# SPDX-License-Identifier: Apache-2.0
"""A plain member of a project, who is no administrator of anything: does all that a stock policy allows, and is told of
the rest before anything is made. What is asked of the clouds is what the documents say."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack.exceptions import ForbiddenException

from demo.guest import build_guest
from demo.ova import Machine, build_ova
from tests.integration.openstack_moments import Crossing
from tests.integration.openstack_site import Member
from tests.integration.test_openstack_interruptions import BY_IMAGE, BY_MINION, SERVER, moved, undone
from tests.lab import content, places
from tests.lab.fixtures import LabCloud
from tests.lab.places import PASSWORD

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.timeout(1800, func_only=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PAGES = Path(__file__).parents[2] / "doc/source/user"
LARGE = Machine(name="large", cpus=8, memory_mib=4096)
NEEDS_ADMIN, RIGHTS = "openstack.needs_admin", "openstack.rights"
# Where the addresses of a service begin, in the catalogue.
_PREFIX = {"nova": "/v2.1", "cinder": "/v3", "glance": "/v2", "neutron": "/v2.0"}
# What no migration between these clouds asks for; by the title of the row.
UNSEEN = {
    "source": {
        "Cinder: user messages",  # when Cinder fails
        "Cinder: metadata of snapshots (Ceph)",
        "Cinder: attachments that an attempt left (``direct``)",
        "Neutron: floating addresses (``minion_floating_network``)",
    },
    "destination": {
        "Cinder: user messages",
        "Cinder: the volume type of disks for which none is named",
        "Cinder: image metadata that an earlier deployment asked for",
        "Cinder: free room of the pools",  # for administrators, as the next
        "Placement: a host with room",
        "Cinder: delete a volume that stays in ``creating``",
        "Cinder: attachments that an attempt left",
        "Cinder: upload a volume to Glance (``image``)",  # a round after the first, on another worker
        "Glance: mark and fetch the upload of a volume (``image``)",
        "Neutron: floating addresses",
        "Nova: make, share, delete flavors (``create_flavor``)",
        "Nova: remove a server for good, where deleted ones are kept",
        "Nova: stop and start servers that are there already",  # minions of a pool, or after a death
    },
}


# ---- told beforehand


@pytest.fixture(scope="module")
def large(crossing: Crossing) -> str:
    """An endpoint with a machine for which no flavor of the clouds is large enough."""
    with places.locked("images"):
        guest = build_guest(places.LAB / "images", content.GUEST)
        path = build_ova(guest, places.LAB / "images", LARGE)
    return crossing.desk.endpoint("ova", {"path": str(path)})


@pytest.fixture(scope="module")
def admin(crossing: Crossing) -> Iterator[str]:
    """The new cloud, for an administrator who works in the member's project."""
    with in_project(crossing.new, "admin") as info:
        yield crossing.desk.endpoint("openstack", info)


@contextlib.contextmanager
def in_project(member: Member, role: str) -> Iterator[dict[str, Any]]:
    """Somebody with that role in the member's project, and no other: the connection info."""
    name = f"rights-{uuid.uuid4().hex[:8]}"
    with member.cloud.connect() as admin:
        user = admin.identity.create_user(name=name, password=PASSWORD, domain_id="default")
        try:
            project = admin.identity.get_project(member.sdk.current_project_id)
            admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role(role))
            yield {**member.info, "username": name}
        finally:
            admin.identity.delete_user(user)


def rehearsed(crossing: Crossing, origin: str, destination: str, instance: str, **more: Any) -> dict[str, Any]:
    """What a dry run tells of the one instance."""
    order = {
        "origin_endpoint_id": origin,
        "destination_endpoint_id": destination,
        "instances": [instance],
        "storage_mappings": {"default": "fast"},
        **more,
    }
    told = crossing.desk.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]
    (line,) = told["instances"]
    return dict(line)


def concern(line: Mapping[str, Any], code: str) -> Mapping[str, Any]:
    (found,) = [one for one in line["concerns"] if one["code"] == code]
    return dict(found)


def is_allowed(line: Mapping[str, Any]) -> None:
    assert line["possible"], line["concerns"]
    assert NEEDS_ADMIN not in {one["code"] for one in line["concerns"]}


def says(found: Mapping[str, Any], *words: str) -> None:
    assert all(word in found["message"] for word in words), found


def test_that_a_flavor_cannot_be_made(crossing: Crossing, large: str, admin: str) -> None:
    ask = {"network_map": {"VM Network": crossing.new.network.id}, "destination_environment": {"create_flavor": True}}
    line = rehearsed(crossing, large, crossing.target, "large", **ask)
    told = concern(line, NEEDS_ADMIN)
    says(told, "8 CPUs", "4096 MiB", "administrator", "create_flavor")
    assert told["blocking"]
    assert not line["possible"]
    with pytest.raises(ForbiddenException):
        crossing.new.sdk.compute.create_flavor(name="mine", ram=4096, vcpus=8, disk=0)
    is_allowed(rehearsed(crossing, large, admin, "large", **ask))


def test_that_a_host_cannot_be_chosen(crossing: Crossing, admin: str) -> None:
    zone = f"nova:{crossing.new.cloud.cloud.spec.host_names[0]}"
    ask = {"network_map": {"site": crossing.new.network.id}, "destination_environment": {"availability_zone": zone}}
    line = rehearsed(crossing, crossing.origin, crossing.target, "crosser", **ask)
    told = concern(line, NEEDS_ADMIN)
    says(told, "availability_zone", "host", "administrator")
    assert told["blocking"]
    assert not line["possible"]
    sdk = crossing.new.sdk
    with pytest.raises(ForbiddenException):
        sdk.compute.create_server(
            name="mine",
            image_id=sdk.image.find_image(content.GUEST_IMAGE).id,
            flavor_id=sdk.compute.find_flavor("lab.small").id,
            networks=[{"uuid": crossing.new.network.id}],
            availability_zone=zone,
        )
    is_allowed(rehearsed(crossing, crossing.origin, admin, "crosser", **ask))


def test_that_addresses_in_a_shared_network_are_not_kept(crossing: Crossing, admin: str) -> None:
    ask = {"network_map": {"site": content.NETWORK}}
    line = rehearsed(crossing, crossing.origin, crossing.target, "crosser", **ask)
    told = concern(line, NEEDS_ADMIN)
    says(told, content.NETWORK, "MAC", "another project", "administrator")
    assert not told["blocking"]
    assert line["possible"]
    network = crossing.new.sdk.network.find_network(content.NETWORK)
    with pytest.raises(ForbiddenException):
        crossing.new.sdk.network.create_port(network_id=network.id, mac_address="fa:16:3e:88:62:99")
    is_allowed(rehearsed(crossing, crossing.origin, admin, "crosser", **ask))
    own = {"network_map": {"site": crossing.new.network.id}}
    is_allowed(rehearsed(crossing, crossing.origin, crossing.target, "crosser", **own))


def test_that_no_host_has_room_is_for_administrators(crossing: Crossing, admin: str) -> None:
    ask = {
        "network_map": {"site": crossing.new.network.id},
        "destination_environment": {"flavor_name": "rights-huge"},
    }
    with crossing.new.cloud.connect() as sdk:
        huge = sdk.compute.create_flavor(name="rights-huge", ram=1 << 24, vcpus=2, disk=0)
        try:
            lines = [rehearsed(crossing, crossing.origin, end, "crosser", **ask) for end in (crossing.target, admin)]
        finally:
            sdk.compute.delete_flavor(huge)
    told = [[one for one in line["concerns"] if one["code"].startswith("openstack.capacity")] for line in lines]
    assert told[0] == []
    (found,) = told[1]
    says(found, "no host has room", "rights-huge")
    assert (found["code"], found["blocking"]) == ("openstack.capacity", False)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_that_a_reader_can_only_look(crossing: Crossing, side: str) -> None:
    member = crossing.old if side == "source" else crossing.new
    with in_project(member, "reader") as info:
        reader = crossing.desk.endpoint("openstack", info)
        origin, target = (reader, crossing.target) if side == "source" else (crossing.origin, reader)
        line = rehearsed(crossing, origin, target, "crosser", network_map={"site": "site"})
        told = concern(line, RIGHTS)
        says(told, "reader", "member")
        assert (told["side"], told["blocking"]) == (side, True)
        assert not line["possible"]
        if side == "destination":  # Cinder of the old cloud, Zed, lets every role of a project make volumes
            with openstack.connect(**info, load_yaml_config=False, load_envvars=False) as sdk:
                with pytest.raises(ForbiddenException):
                    sdk.block_storage.create_volume(name="mine", size=1)


def test_that_a_locked_server_is_not_shut_down(crossing: Crossing) -> None:
    sdk = crossing.old.sdk
    sdk.compute.lock_server(crossing.server)
    try:
        line = rehearsed(crossing, crossing.origin, crossing.target, "crosser", network_map={"site": "site"})
    finally:
        sdk.compute.unlock_server(crossing.server)
    says(concern(line, "openstack.locked"), "crosser", "unlock", "shut down")


# ---- what is asked is what the documents say


@dataclass(frozen=True, kw_only=True)
class Request:
    service: str
    method: str
    path: str
    action: str | None = None

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path} {self.action or ''}".strip()


def rights(side: str) -> dict[str, list[Request]]:
    """The requests of each row of the page's table, by its title. ``ID`` in a path stands for one word."""
    text = (PAGES / f"openstack-{side}.rst").read_text()
    table = text.partition("\nRights\n======\n")[2].partition("\n\nTrouble\n")[0]
    found: dict[str, list[Request]] = {}
    for row in table.split("\n   * - ")[2:]:
        title, _, rest = row.partition("\n     - ")
        cell = " ".join(rest.partition("\n     - ")[0].split())
        service = title.partition(":")[0].lower()
        for words in re.findall("``([^`]+)``", cell):
            method, path, action = (*words.split(), None)[:3]
            request = Request(service=service, method=method, path=path, action=action)
            found.setdefault(" ".join(title.split()), []).append(request)
    return found


def asked(member: Member, proxies: Mapping[str, Any]) -> list[tuple[Request, int | None]]:
    """What went to the cloud, and the status of its answer. A service's list of versions is everybody's to read."""
    found = []
    for service, proxy in proxies.items():
        for seen in list(proxy.seen):
            path = seen.path.partition("?")[0].rstrip("/").removeprefix(_PREFIX[service])
            path = path.removeprefix(f"/{member.sdk.current_project_id}")
            if path:
                request = Request(service=service, method=seen.method, path=path, action=seen.action)
                found.append((request, seen.status))
    return found


def fits(request: Request, pattern: Request) -> bool:
    return (request.service, request.method, request.action) == (
        pattern.service,
        pattern.method,
        pattern.action,
    ) and re.fullmatch(re.sub(r"\bID\b", "[^/]+", pattern.path), request.path) is not None


def strangers(requests: Sequence[Request], table: Mapping[str, list[Request]]) -> list[str]:
    """Requests that no row has."""
    patterns = [pattern for row in table.values() for pattern in row]
    return sorted({str(one) for one in requests if not any(fits(one, pattern) for pattern in patterns)})


def sides(crossing: Crossing) -> list[tuple[str, Member, Mapping[str, Any]]]:
    return [
        ("source", crossing.old, crossing.proxies["old"]),
        ("destination", crossing.new, crossing.proxies["new"]),
    ]


def test_a_member_is_refused_nothing_and_the_table_has_it_all(crossing: Crossing) -> None:
    """Of all that this session has moved."""
    if not crossing.moves:
        crossing.begin()
        moved(crossing, crossing.migrate())
        crossing.end()
    for side, member, proxies in sides(crossing):
        seen = asked(member, proxies)
        assert len(seen) > 50
        assert [str(request) for request, status in seen if status in (401, 403)] == []
        assert strangers([request for request, _status in seen], rights(side)) == []


@pytest.mark.slow
def test_all_in_the_table_is_needed(crossing: Crossing) -> None:
    """By each transport, with what else can be asked for, and by who only tries the connection."""
    with chosen(crossing.new) as options:
        for more, stops in (({"destination_environment": options}, True), (BY_MINION, False), (BY_IMAGE, False)):
            crossing.begin()
            moved(crossing, crossing.migrate(shutdown_instances=stops, **more), stopped=stops)
            crossing.end()
    for endpoint in (crossing.origin, crossing.target):
        crossing.desk.ask("POST", f"/endpoints/{endpoint}/actions", {"validate-connection": None})
    undo(crossing)
    for side, member, proxies in sides(crossing):
        requests = [request for request, _status in asked(member, proxies)]
        lacking = {
            title: [pattern for pattern in row if not any(fits(request, pattern) for request in requests)]
            for title, row in rights(side).items()
        }
        unseen = {title for title, patterns in lacking.items() if patterns}
        assert unseen == UNSEEN[side], "\n".join(
            f"{title}: {', '.join(map(str, lacking[title]))}" for title in unseen ^ UNSEEN[side]
        )


@contextlib.contextmanager
def chosen(member: Member) -> Iterator[dict[str, Any]]:
    """Options of a destination that name what is there."""
    compute = member.sdk.compute
    compute.create_keypair(name="rights")
    group = compute.create_server_group(name="rights", policy="anti-affinity")
    try:
        yield {
            "keypair_name": "rights",
            "server_group": "rights",
            "security_groups": ["default"],
            "availability_zone": "nova",
            "volumes_availability_zone": "nova",
            "keep_ip_addresses": True,
        }
    finally:
        compute.delete_server_group(group)
        compute.delete_keypair("rights")


def undo(crossing: Crossing) -> None:
    """A migration that is cancelled at its end, so that the source starts again."""
    crossing.begin()
    with crossing.at(SERVER, lambda: crossing.migrate(shutdown_instances=True)) as job:
        job.cancel()
    undone(crossing, job, started_again=True)


def test_the_table_can_lack_something(old_cloud: LabCloud) -> None:
    table = rights("source")
    strange = Request(service="nova", method="POST", path="/servers/1/action", action="os-migrateLive")
    known = Request(service="nova", method="POST", path="/servers/1/action", action="os-stop")
    assert strangers([strange, known], table) == [str(strange)]
