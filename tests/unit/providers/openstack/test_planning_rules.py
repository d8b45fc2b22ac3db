# SPDX-License-Identifier: Apache-2.0
"""Names, flavors, quotas, addresses and requests: rules of the destination that need no cloud."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from coriolis.providers.api import (
    Context,
    Devices,
    Disk,
    Instance,
    Invalid,
    Layout,
    PlannedDisk,
    Purpose,
)
from coriolis.providers.openstack import PROVIDER, flavors, source_checks
from coriolis.providers.openstack.compute import block_devices, optional_fields
from coriolis.providers.openstack.flavors import Flavor, best_fit
from coriolis.providers.openstack.intent import Intent, from_ref, to_ref
from coriolis.providers.openstack.nics import Subnet, subnet_of
from coriolis.providers.openstack.planning import (
    GIB,
    USER_DATA_BYTES,
    needs_of,
    server_name,
    volume_type,
)
from coriolis.providers.openstack.quotas import Needs, Quota, lacking, limited, read_usage, volume_needs

PLAIN = Instance(id="1", name="web", num_cpu=2, memory_mb=1024)


def instance(**more: Any) -> Instance:
    return Instance(**{**vars(PLAIN), **more})


def flavor(name: str, vcpus: int, ram: int, **more: Any) -> Flavor:
    return Flavor(id=name, name=name, vcpus=vcpus, ram=ram, **more)


SMALL, FIT, LARGE = flavor("small", 1, 1024), flavor("fit", 2, 2048), flavor("large", 8, 8192)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([LARGE, FIT, SMALL], "fit"),
        ([LARGE, SMALL], "large"),
        ([SMALL], None),
        ([], None),
        ([flavor("pci", 2, 1024, special=True), LARGE], "large"),
        ([flavor("swap", 2, 1024, swap=512), LARGE], "large"),
        ([flavor("pci", 2, 1024, special=True)], "pci"),
        ([flavor("m1.web", 2, 1024, special=True), flavor("a", 2, 1024)], "m1.web"),
        ([flavor("m1.web", 8, 8192), flavor("a", 2, 1024)], "a"),
    ],
)
def test_the_smallest_flavor_that_has_enough_is_taken(there: list[Flavor], expected: str | None) -> None:
    found = best_fit(there, instance(flavor_name="m1.web"))
    assert (found and found.name) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"flavor_name": "fit"}, []),
        ({"flavor_name": "small"}, [("openstack.small_flavor", False)]),
        ({}, []),
    ],
)
def test_a_named_flavor_may_be_too_small(
    environment: dict[str, str], expected: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flavors, "listed", lambda *_args, **_more: [vars(one) for one in (SMALL, FIT)])
    cloud: Any = SimpleNamespace(name="cloud", roles=frozenset({"member"}))
    context = Context(log=logging.getLogger(__name__), scratch=Path("/"))
    _chosen, found = flavors.plan_flavor(cloud, PLAIN, environment, context)
    assert [(one.code, one.blocking) for one in found] == expected


def test_quotas_without_room_are_named() -> None:
    quotas = {
        "cores": Quota(limit=10, used=9),
        "instances": Quota(limit=10, used=9),
        "ram": Quota(limit=-1, used=10**6),
    }
    needed = {"cores": 2, "instances": 1, "ram": 1024, "unheard_of": 3}
    (found,) = lacking("compute", quotas, needed, {}, needed, code="openstack.quota")
    assert found.code == "openstack.quota"
    assert found.blocking
    assert "compute quota cores" in found.message
    assert "2 needed, 9 of 10 used" in found.message
    expected = [("compute quota cores", 2, 1), ("compute quota instances", 1, 1)]
    assert [(need.name, need.count, need.free) for need in limited("compute", quotas, needed)] == expected


@pytest.mark.parametrize(
    ("limit", "used", "blocking"),
    [
        (10, 4, None),  # room for the minions of three disks
        (10, 5, False),
        (10, 10, False),  # others may end
        (2, 0, False),
        (1, 0, True),  # never for one
        (-1, 99, None),
    ],
)
def test_what_minions_need_for_a_while_is_a_warning(limit: int, used: int, blocking: bool | None) -> None:
    quotas = {"cores": Quota(limit=limit, used=used)}
    found = lacking("compute", quotas, {}, {"cores": 2}, {"cores": 6}, code="openstack.quota")
    assert [one.blocking for one in found] == ([] if blocking is None else [blocking])
    assert all("2 needed for a minion, 6 when all disks are moved at the same time" in one.message for one in found)


def test_the_largest_volume_is_no_sum() -> None:
    quotas = {"per_volume_gigabytes": Quota(limit=40, used=0)}
    needed = volume_needs([(None, 30), (None, 50)])
    (found,) = lacking("block storage", quotas, needed, {}, needed, code="openstack.quota")
    assert found.blocking
    assert "50 needed, 0 of 40 used; ask an administrator" in found.message
    assert limited("block storage", quotas, needed) == []


def test_minions_come_before_the_server() -> None:
    minion, server = Needs(compute={"cores": 2, "ram": 512}), Needs(compute={"cores": 4}, network={"port": 1})
    assert server | minion * 3 == Needs(compute={"cores": 6, "ram": 1536}, network={"port": 1})
    assert server | Needs() * 0 == server


def test_what_is_reserved_counts_as_used() -> None:
    body = {"id": "project", "volumes": {"limit": 10, "in_use": 3, "reserved": 2}, "groups": {"limit": 5}}
    assert read_usage(body, "in_use") == {"volumes": Quota(limit=10, used=5), "groups": Quota(limit=5, used=0)}


SLOW = {"volumes_slow": 1, "gigabytes_slow": 3}
ONE = {"volumes": 1, "gigabytes": 3, "per_volume_gigabytes": 3, **SLOW}
TWO = {"volumes": 2, "gigabytes": 5, "per_volume_gigabytes": 3, **SLOW}


@pytest.mark.parametrize(
    ("purpose", "present", "volume", "compute"),
    [
        (Purpose.MIGRATE, (), {**TWO, "volumes_fast": 1, "gigabytes_fast": 2}, True),
        (Purpose.REPLICATE, ("a",), ONE, False),
        (Purpose.DEPLOY, ("a", "b"), {}, True),
    ],
)
def test_what_is_there_needs_no_quota(
    purpose: Purpose, present: tuple[str, ...], volume: Mapping[str, int], compute: bool
) -> None:
    disks = (
        PlannedDisk(disk_id="a", size_bytes=2 * GIB, storage="fast"),
        PlannedDisk(disk_id="b", size_bytes=3 * GIB),
    )
    context = Context(log=logging.getLogger(__name__), scratch=Path("/"), purpose=purpose, present=frozenset(present))
    found = needs_of(disks, 2, FIT, {"floating_network": "public"}, context, "slow")
    assert found.volume == volume
    assert found.compute == ({"instances": 1, "cores": 2, "ram": 2048} if compute else {})
    assert found.network == ({"port": 2, "floatingip": 1} if compute else {})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.7", "four"),
        ("10.0.0.0", None),  # the network itself
        ("10.0.0.255", None),  # broadcast
        ("10.0.0.1", None),  # the gateway
        ("10.0.1.7", None),
        ("fd00::7", "six"),
        ("fd01::7", None),  # SLAAC: the network chooses
        ("nonsense", None),
    ],
)
def test_an_address_is_kept_where_a_port_may_have_it(address: str, expected: str | None) -> None:
    subnets = (
        Subnet(id="four", cidr="10.0.0.0/24", gateway="10.0.0.1"),
        Subnet(id="six", cidr="fd00::/64"),
        Subnet(id="auto", cidr="fd01::/64", automatic=True),
    )
    found = subnet_of(address, subnets)
    assert (found and found.id) == expected


def test_names_of_servers() -> None:
    assert server_name(PLAIN, {"name_suffix": "-new"}) == "web-new"
    assert server_name(PLAIN, {"server_name": "Büro 1"}) == "Büro 1"
    for wrong in (" ", "x" * 256, "a\nb"):
        with pytest.raises(Invalid, match="server_name"):
            server_name(PLAIN, {"server_name": wrong})


def test_volume_types_are_known_by_name_and_id() -> None:
    disk, types = Disk(id="a", size_bytes=1), {"id-1": "fast", "id-2": "slow"}
    assert volume_type(disk, {"default": "id-1"}, {"volume_type": "slow"}, types) == "fast"
    assert volume_type(disk, {}, {"volume_type": "slow"}, types) == "slow"
    assert volume_type(disk, {}, {}, types) is None
    with pytest.raises(Invalid, match="no volume type gold; there are fast, slow"):
        volume_type(disk, {"default": "gold"}, {}, types)


def test_the_boot_volume_comes_first_and_none_goes_with_the_server() -> None:
    disks = (PlannedDisk(disk_id="a", size_bytes=1), PlannedDisk(disk_id="b", size_bytes=1, boot=True))
    found = block_devices(Layout(name="web", disks=disks), {"a": "volume-a", "b": "volume-b"})
    assert [(one["uuid"], one["boot_index"]) for one in found] == [("volume-b", 0), ("volume-a", -1)]
    assert not any(one["delete_on_termination"] for one in found)


def test_what_is_not_asked_for_is_not_in_the_request() -> None:
    layout = Layout(name="web", disks=(), properties={"keypair": None, "server_group": "group"})
    assert optional_fields(layout, {}) == {"scheduler_hints": {"group": "group"}}
    found = optional_fields(layout, {"user_data": "#cloud-config ö", "availability_zone": "nova"})
    assert base64.b64decode(found["user_data"]).decode() == "#cloud-config ö"
    assert found["availability_zone"] == "nova"


def test_a_reference_holds_the_request_of_a_server() -> None:
    data = base64.b64encode(bytes(range(256)) * (USER_DATA_BYTES // 256)).decode()
    intent = Intent(mark="coriolis-1", server={"name": "web", "user_data": data}, seconds=5.0)
    ref = to_ref(intent)
    assert from_ref(ref) == intent
    assert len(ref) < 30_000  # it stands twice in the ledger, which takes 64 KiB
    assert from_ref("2bb6eee2-f057-41aa-9e77-6ea612b29938") is None


def test_the_schema_takes_no_more_user_data_than_a_plan() -> None:
    assert PROVIDER.destination_schema is not None
    jsonschema.validate({"user_data": "x" * USER_DATA_BYTES}, PROVIDER.destination_schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"user_data": "x" * (USER_DATA_BYTES + 1)}, PROVIDER.destination_schema)


@pytest.mark.parametrize("bad", ["", "a,b", "a/b", "x" * 61])
def test_the_schema_takes_tags_that_nova_takes(bad: str) -> None:
    assert PROVIDER.destination_schema is not None
    jsonschema.validate({"tags": ["front", "x" * 60]}, PROVIDER.destination_schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"tags": [bad]}, PROVIDER.destination_schema)


@pytest.mark.parametrize(
    ("extra", "codes", "blocking"),
    [
        ({"status": "ACTIVE"}, [], False),
        ({"status": "SHELVED_OFFLOADED"}, ["openstack.server_status"], True),
        ({"status": "SUSPENDED"}, ["openstack.memory_lost"], False),
        ({"status": "SHUTOFF", "locked": True}, ["openstack.locked"], False),
        ({"volumes": {"a": {"encrypted": True}}}, ["openstack.encrypted"], False),
        ({"volumes": {"a": {"multiattach": True}}}, ["openstack.multiattach"], False),
        ({"nics": {"n": {"vnic_type": "direct"}}}, ["openstack.vnic_type"], False),
        ({"nics": {"n": {"floating_addresses": ["192.0.2.1"]}}}, ["openstack.floating_address"], False),
        ({"keypair_name": "mine"}, ["openstack.not_carried"], False),
        ({"tags": ["front"]}, ["openstack.not_carried"], False),
        ({"config_drive": True}, ["openstack.not_carried"], False),
        ({"security_groups": ["default", "web"]}, ["openstack.not_carried"], False),
        ({"security_groups": ["default"], "config_drive": False, "tags": []}, [], False),
    ],
)
def test_what_is_told_of_a_source(extra: dict[str, Any], codes: list[str], blocking: bool) -> None:
    server = instance(devices=Devices(disks=(Disk(id="a", size_bytes=1),)), extra=extra)
    found = source_checks.source_concerns(server, is_admin=False)
    assert [one.code for one in found] == codes
    assert any(one.blocking for one in found) is blocking


def test_a_disk_of_the_host_is_made_empty_and_told() -> None:
    disks = (Disk(id="root", size_bytes=1), Disk(id="ephemeral0", size_bytes=1), Disk(id="swap", size_bytes=1))
    found = source_checks.source_concerns(instance(devices=Devices(disks=disks)), is_admin=False)
    assert [one.code for one in found] == ["openstack.disk_empty", "openstack.disk_empty"]


def test_a_server_without_disks_is_not_read() -> None:
    (none,) = source_checks.source_concerns(PLAIN, is_admin=False)
    assert (none.code, none.blocking) == ("openstack.no_disks", True)
