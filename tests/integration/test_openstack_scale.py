# SPDX-License-Identifier: Apache-2.0
"""Many servers of one cloud: what it is asked to list, plan and migrate them, by the word of its own services. They are
of Nova's fake driver, and their disks are real images; they go to the null provider, some to volumes of the cloud."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.api import Context
from coriolis.providers.openstack.nfs_access import SHARES
from coriolis.providers.openstack.provider import connect
from tests.integration.openstack_site import NETWORK, Member, member_of, scratch_file, shares
from tests.lab import content
from tests.lab.fixtures import LabCloud
from tests.lab.fleet import Fleet, fleet
from tests.lab.watch import Call, Kind, Watch
from tests.perf.scale_bench import INTO_THE_CLOUD, PROVIDERS, Desk, Spent
from tests.perf.standalone_bench import standalone

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.usefixtures("loopback")]

FEW, SOME = 10, 5
PAGE = 1000  # what Nova gives at most
MANY = int(os.environ.get("CORIOLIS_SCALE", "500"))
FETCH = "glance GET /images/{id}/file"
RANGE = "10.88.95.0/24"
#: What may be listed, once a minute for all instances.
SHARED = {"cinder GET /types", "nova GET /flavors/detail"}
#: Calls for each instance: a little more than were counted. Of the others some are looks whether a thing is ready.
PLAN = {Kind.TOKEN: 1, Kind.VERSION: 3, Kind.LOOKUP: 3, Kind.OTHER: 3}
PLAN_INTO_THE_CLOUD = {**PLAN, Kind.LOOKUP: 4, Kind.OTHER: 8}
JOB = {Kind.TOKEN: 2, Kind.VERSION: 8, Kind.LOOKUP: 4, Kind.OTHER: 18}
JOB_INTO_VOLUMES = {Kind.TOKEN: 4, Kind.VERSION: 20, Kind.LOOKUP: 8, Kind.OTHER: 80}
INTO_VOLUMES = {
    "network_map": {content.NETWORK: NETWORK},
    "storage_mappings": {"default": "fast"},
    "destination_environment": {"verification": "full", "flavor_name": "lab.nano"},
}


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def few(new_fake_cloud: LabCloud) -> Fleet:
    return fleet(new_fake_cloud, FEW)


@pytest.fixture(scope="module")
def many(new_fake_cloud: LabCloud) -> Fleet:
    return fleet(new_fake_cloud, MANY)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def desk(few: Fleet, log: Path) -> Iterator[Desk]:
    with standalone(PROVIDERS, log) as service:
        yield Desk(service, few)


def lists(calls: Sequence[Call]) -> list[str]:
    return [str(one) for one in calls if one.kind is Kind.LIST]


def test_the_provider_counts_what_the_cloud_counts(few: Fleet, tmp_path: Path) -> None:
    """A whole listing, and then one server after the other through the same connection."""
    watch = Watch(few.cloud.cloud)
    context = Context(log=logging.getLogger(), scratch=tmp_path)
    connection = connect(dict(few.info), context)
    found = connection.inventory.list_instances({}, marker=None, limit=None, name=None, context=context)
    assert sorted(one.id for one in found) == list(few.ids)
    listing = watch.calls()
    assert connection.cloud.calls.count == len(listing)
    first, last = "limit&sort_dir&sort_key", "limit&marker&sort_dir&sort_key"
    assert lists(listing) == [f"nova GET /servers/detail?{page}" for page in (first, last)]
    watch = Watch(few.cloud.cloud)
    for one in found:
        assert connection.inventory.get_instance({}, one.id, context).devices.nics
    reading = watch.calls()
    connection.close()
    assert connection.cloud.calls.count == len(listing) + len(reading)
    assert lists(reading) == []
    asked = [str(one) for one in reading]
    assert asked.count("nova GET /servers/{id}") == asked.count("neutron GET /ports?device_id") == FEW
    assert asked.count("neutron GET /networks?id") == asked.count("glance GET /images/{id}") == 1


def test_a_plan_lists_nothing_for_each_instance(desk: Desk, few: Fleet) -> None:
    assert lists(bounded(desk.planned(few.ids, desk.nowhere), PLAN).calls) == []
    asked = lists(bounded(desk.planned(few.ids, desk.cloud, **INTO_THE_CLOUD), PLAN_INTO_THE_CLOUD).calls)
    kinds = Counter(one.split("?")[0] for one in asked)
    assert kinds.keys() == SHARED
    assert max(kinds.values()) < FEW  # one of each a minute


def test_jobs_list_nothing_for_each_instance(desk: Desk, few: Fleet, log: Path) -> None:
    watch = Watch(few.cloud.cloud)
    check(desk.migrated([few.ids]))
    check(desk.migrated([[one] for one in few.ids[:SOME]]))
    told = log.read_text()
    counted = sum(int(number) for number in re.findall(r"cloud \S+ was asked requests=(\d+)", told))
    calls = watch.calls()
    heard = len(calls)
    tokens = sum(one.kind is Kind.TOKEN for one in calls)
    assert tokens <= 2 * FEW  # those that begin at once; each instance has five tasks that need one
    # On a machine that is starved, answers come too late, and attempts are given up: these count no more.
    lost = re.findall(r"timed out\. Retrying|the task was taken away", told)
    assert counted <= heard if lost else counted == heard, (counted, heard, lost)
    assert few.left() == []


@pytest.fixture
def member(new_fake_cloud: LabCloud) -> Iterator[Member]:
    with member_of(new_fake_cloud, RANGE, called="scale") as made:
        yield made


def test_jobs_into_volumes_list_nothing_for_each_instance(
    few: Fleet, member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers that are made only pretend to run; their volumes are real, and have the bytes."""
    monkeypatch.setenv(SHARES, str(scratch_file(tmp_path, shares([few.cloud]))))
    with standalone(PROVIDERS) as service:
        desk = Desk(service, few)
        there = desk.endpoint("openstack", member.info)
        spent = bounded(desk.migrated([few.ids[:SOME]], there, **INTO_VOLUMES), JOB_INTO_VOLUMES)
    kinds = Counter(one.split("?")[0] for one in lists(spent.calls))
    assert kinds.keys() <= SHARED
    assert max(kinds.values(), default=0) < SOME
    assert {one.status for one in member.sdk.compute.servers()} == {"ACTIVE"}
    assert len(list(member.sdk.block_storage.volumes())) == SOME
    assert few.left() == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_more_than_a_page(new_fake_cloud: LabCloud, tmp_path: Path) -> None:
    """Forwards, from any of them, and through the service."""
    ships = fleet(new_fake_cloud, PAGE + 100, wired=False)
    context = Context(log=logging.getLogger(), scratch=tmp_path)
    with contextlib.closing(connect(dict(ships.info), context)) as connection:

        def ids(**part: Any) -> list[str]:
            part = {"marker": None, "limit": None, **part}
            return [one.id for one in connection.inventory.list_instances({}, name=None, context=context, **part)]

        watch = Watch(new_fake_cloud.cloud)
        assert ids() == list(ships.ids)
        assert [one.split("?")[0] for one in lists(watch.calls())] == ["nova GET /servers/detail"] * 3
        assert ids(limit=PAGE + 1) == list(ships.ids[: PAGE + 1])
        assert ids(marker=ships.ids[49], limit=PAGE) == list(ships.ids[50 : PAGE + 50])
        assert ids(marker=ships.ids[PAGE - 1]) == list(ships.ids[PAGE:])
        assert ids(marker=ships.ids[-1]) == []
    with standalone(PROVIDERS) as service:
        desk = Desk(service, ships)
        found, spent = desk.listed()
        assert sorted(found) == list(ships.ids)
        assert len(lists(spent.calls)) <= 4
        seen: list[str] = []
        while page := desk.page(limit=400, marker=seen[-1] if seen else None):
            seen += page
        assert sorted(seen) == list(ships.ids)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_many(many: Fleet) -> None:
    with standalone(PROVIDERS) as service:
        desk = Desk(service, many)
        ids, listing = desk.listed()
        assert sorted(ids) == list(many.ids)
        assert len(lists(listing.calls)) <= 3
        assert lists(bounded(desk.planned(ids, desk.nowhere), PLAN).calls) == []
        check(desk.migrated([ids]))
        check(desk.migrated([[one] for one in ids]))
    assert many.left() == []


def bounded(spent: Spent, most: Mapping[Kind, float]) -> Spent:
    """Holds the calls of each instance below ``most``, and tells them."""
    print(spent)
    assert {kind: spent.each(kind) for kind in most if spent.each(kind) > most[kind]} == {}, spent
    return spent


def check(spent: Spent) -> None:
    """Every disk was read, and nothing listed."""
    bounded(spent, JOB)
    assert lists(spent.calls) == []
    assert [str(one) for one in spent.calls].count(FETCH) >= spent.instances  # more, if a copy was tried again
