# SPDX-License-Identifier: Apache-2.0
"""Many servers of one cloud: what it is asked to list, plan and migrate them, by the word of its own services. They are
of Nova's fake driver, and their disks are real images; they go to the null provider."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from coriolis.providers.api import Context
from coriolis.providers.openstack.provider import connect
from tests.lab.fixtures import LabCloud
from tests.lab.fleet import Fleet, fleet
from tests.lab.watch import Call, Kind, Watch
from tests.perf.scale_bench import INTO_THE_CLOUD, PROVIDERS, Desk, Spent
from tests.perf.standalone_bench import standalone

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.usefixtures("loopback")]

FEW, SOME = 10, 5
MANY = int(os.environ.get("CORIOLIS_SCALE", "500"))
FETCH = "glance GET /images/{id}/file"


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
    assert lists(desk.planned(few.ids, desk.nowhere).calls) == []
    asked = lists(desk.planned(few.ids, desk.cloud, **INTO_THE_CLOUD).calls)
    kinds = Counter(one.split("?")[0] for one in asked)
    assert kinds.keys() == {"cinder GET /types", "nova GET /flavors/detail"}
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
    assert counted <= heard if lost else counted == heard, lost
    assert few.left() == []


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_many(many: Fleet) -> None:
    with standalone(PROVIDERS) as service:
        desk = Desk(service, many)
        ids, listing = desk.listed()
        assert sorted(ids) == list(many.ids)
        assert len(lists(listing.calls)) <= 3
        assert lists(desk.planned(ids, desk.nowhere).calls) == []
        check(desk.migrated([ids]))
        check(desk.migrated([[one] for one in ids]))
    assert many.left() == []


def check(spent: Spent) -> None:
    """Every disk was read, and nothing listed."""
    assert lists(spent.calls) == []
    assert [str(one) for one in spent.calls].count(FETCH) >= spent.instances  # more, if a copy was tried again
