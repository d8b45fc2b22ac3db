# SPDX-License-Identifier: Apache-2.0
"""Room in the storage and on the hosts, for who may ask."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from openstack import exceptions

from coriolis.providers.api import Context, PlannedDisk
from coriolis.providers.openstack.capacity import Pool, capacity_concerns, read_pools, resources, too_full
from coriolis.providers.openstack.flavors import Flavor

GIB = 1 << 30
FLAVOR = Flavor(id="f", name="f", vcpus=2, ram=1024)
DISK = PlannedDisk(disk_id="a", size_bytes=10 * GIB, storage="fast")


@pytest.mark.parametrize(
    ("volumes", "pools", "short"),
    [
        ([("fast", 10)], [("ssd", 10)], False),
        ([("fast", 10)], [("ssd", 9.5)], True),
        ([("fast", 10)], [("ssd", 9), ("disk", 99)], True),  # of another back end
        ([(None, 10)], [("ssd", 9), ("disk", 99)], False),  # any may be the default
        ([("plain", 10)], [("ssd", 9), ("disk", 99)], False),  # a type that names none
        ([("fast", 6), ("fast", 6)], [("ssd", 6), ("ssd", 6)], False),
        ([("fast", 12)], [("ssd", 6), ("ssd", 6)], True),  # no pool has it whole
        ([("fast", 6), ("quick", 6)], [("ssd", 10)], True),  # two types of one back end
        ([("fast", 10)], [("ssd", None)], False),
        ([("fast", 10)], [("ssd", 1), ("ssd", None)], False),
        ([("fast", 10)], [], False),
    ],
)
def test_volumes_that_no_pool_has_room_for(
    volumes: list[tuple[str | None, int]], pools: list[tuple[str, float | None]], short: bool
) -> None:
    backends = {"fast": "ssd", "quick": "ssd"}
    found = list(too_full(volumes, backends, [Pool(backend=name, free=free) for name, free in pools]))
    assert bool(found) is short


@pytest.mark.parametrize(
    ("told", "free"),
    [(12, 12.0), ("12.5", 12.5), (0, 0.0), ("infinite", None), ("unknown", None), ("inf", None), (None, None)],
)
def test_free_room_may_be_no_number(told: Any, free: float | None) -> None:
    entry = {"name": "h@ssd#p", "capabilities": {"volume_backend_name": "ssd", "free_capacity_gb": told}}
    assert read_pools([entry]) == [Pool(backend="ssd", free=free)]


def test_a_pool_may_tell_nothing() -> None:
    assert [one.free for one in read_pools([{"name": "h@ssd#p"}])] == [None]


@pytest.mark.parametrize(
    ("more", "expected"),
    [({}, "VCPU:2,MEMORY_MB:1024"), ({"ephemeral": 3, "swap": 512, "disk": 20}, "VCPU:2,MEMORY_MB:1024,DISK_GB:4")],
)
def test_what_a_server_takes_of_a_host(more: dict[str, int], expected: str) -> None:
    assert resources(Flavor(id="f", name="f", vcpus=2, ram=1024, **more)) == expected


class _Cloud:
    """Pools of one back end with so many GiB, and so many candidates; counts what it is asked."""

    name, auth_url, project_id, proven = "cloud", "http://a", "p", True

    def __init__(self, *, role: str = "admin", status: int = 200, free: int = 100, candidates: int = 1) -> None:
        self.roles, self.asked, self._status = frozenset({role}), [], status  # type: ignore[var-annotated]
        pool = {"name": "h@ssd#p", "capabilities": {"volume_backend_name": "ssd", "free_capacity_gb": free}}
        fast = SimpleNamespace(id="1", name="fast", extra_specs={"volume_backend_name": "ssd"})
        self.cinder = SimpleNamespace(types=lambda: [fast], get=self._answering({"pools": [pool]}))
        self.sdk = SimpleNamespace(
            block_storage=SimpleNamespace(get_endpoint=lambda: "http://cinder"),
            compute=SimpleNamespace(get_endpoint=lambda: "http://nova"),
            placement=SimpleNamespace(get=self._answering({"allocation_requests": [{}] * candidates})),
        )

    def _answering(self, body: dict[str, Any]) -> Any:
        def get(path: str, **_more: Any) -> requests.Response:
            self.asked.append(path.partition("?")[0])
            answer = requests.Response()
            answer.status_code, answer.url, answer._content = self._status, "http://cloud", json.dumps(body).encode()
            return answer

        return get


@pytest.mark.parametrize(
    ("cloud", "codes"),
    [
        (_Cloud(), []),
        (_Cloud(free=9), ["openstack.capacity"]),
        (_Cloud(candidates=0), ["openstack.capacity"]),
        (_Cloud(status=403), ["openstack.capacity_unknown"] * 2),
        (_Cloud(status=503), ["openstack.capacity_unknown"] * 2),
        (_Cloud(role="member", free=0, candidates=0), []),
    ],
)
def test_an_administrator_is_warned(cloud: Any, codes: list[str], tmp_path: Path) -> None:
    """And the cloud is asked once for all instances."""
    for _instance in range(3):
        context = Context(log=logging.getLogger(), scratch=tmp_path)
        found = list(capacity_concerns(cloud, [DISK], FLAVOR, context))
        assert [one.code for one in found] == codes
        assert not any(one.blocking for one in found)
    once = [] if "member" in cloud.roles else ["/scheduler-stats/get_pools", "/allocation_candidates"]
    assert cloud.asked == once


class _NoPlacement:
    block_storage = compute = SimpleNamespace(get_endpoint=lambda: "http://cinder")

    @property
    def placement(self) -> Any:
        raise exceptions.NotSupported("The placement service exists but does not have any supported versions.")


def test_a_placement_that_cannot_be_reached_stops_no_plan(tmp_path: Path) -> None:
    cloud: Any = _Cloud()
    cloud.sdk = _NoPlacement()
    (found,) = capacity_concerns(cloud, [DISK], FLAVOR, Context(log=logging.getLogger(), scratch=tmp_path))
    assert (found.code, found.blocking) == ("openstack.capacity_unknown", False)
    assert "hosts" in found.message


def test_nothing_is_asked_for_nothing(tmp_path: Path) -> None:
    cloud: Any = _Cloud()
    special = Flavor(id="f", name="f", vcpus=2, ram=1024, special=True)
    for flavor in (None, special):
        assert list(capacity_concerns(cloud, [], flavor, Context(log=logging.getLogger(), scratch=tmp_path))) == []
    assert cloud.asked == []
