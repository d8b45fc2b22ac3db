# SPDX-License-Identifier: Apache-2.0
"""What reading needs for a while, and the ways that there are."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from coriolis.providers.api import Concern, Context, Devices, Disk, Instance
from coriolis.providers.openstack import minions
from coriolis.providers.openstack.flavors import Flavor
from coriolis.providers.openstack.minions import Recipe
from coriolis.providers.openstack.quotas import Needs
from coriolis.providers.openstack.read_checks import needs, reading_concerns

GIB = 1 << 30
IN_A_MINION = {"minion_image": "image", "minion_network": "network"}
A, B, ROOT = Disk(id="a", size_bytes=3 * GIB), Disk(id="b", size_bytes=GIB), Disk(id="root", size_bytes=GIB)
ENCRYPTED = {"volumes": {"a": {"encrypted": True}, "b": {}}}
FREE = {"limit": 100, "reserved": 0}


def answering(status: int, body: Mapping[str, Any]) -> Callable[..., requests.Response]:
    answer = requests.Response()
    answer.status_code, answer.url = status, "http://cloud"
    answer._content = json.dumps(body if answer.ok else REFUSED).encode()
    return lambda *_args, **_more: answer


REFUSED = {"forbidden": {"message": "Policy doesn't allow volume_extension:quotas:show to be performed."}}


def cloud(*, status: int = 200, used: int = 0, instances: int = 100, services: tuple[str, ...] = ("image",)) -> Any:
    volume = {name: {**FREE, "in_use": used} for name in ("snapshots", "volumes", "gigabytes", "gigabytes_fast")}
    limits = {f"maxTotal{name}": 10**6 for name in ("Cores", "RAMSize")} | {"maxTotalInstances": instances}
    uses = {f"total{name}Used": 0 for name in ("Cores", "RAM", "Instances")}
    return SimpleNamespace(
        name="cloud",
        auth_url="http://keystone",
        project_id="p",
        proven=False,
        roles=frozenset({"member"}),
        has_service=services.__contains__,
        cinder=SimpleNamespace(get=answering(status, {"quota_set": volume})),
        sdk=SimpleNamespace(
            compute=SimpleNamespace(get=answering(status, {"limits": {"absolute": {**limits, **uses}}})),
            network=SimpleNamespace(get=answering(status, {"quota": {"port": {**FREE, "used": 0}}})),
        ),
    )


@pytest.fixture
def minion_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    flavor = Flavor(id="f", name="f", vcpus=1, ram=512)
    recipe = Recipe(image="i", flavor=flavor, network="n", network_name="n", username="root")
    monkeypatch.setattr(minions, "kept_recipe", lambda *_args: recipe)


def told(
    where: Any, tmp_path: Path, *disks: Disk, environment: dict[str, Any] | None = None, **more: Any
) -> list[Concern]:
    server = Instance(id="i", name="web", num_cpu=1, memory_mb=1, devices=Devices(disks=disks), **more)
    return reading_concerns(where, server, environment or {}, Context(log=logging.getLogger(), scratch=tmp_path))


def codes(found: list[Concern]) -> list[tuple[str, bool]]:
    return [(one.code.removeprefix("openstack."), one.blocking) for one in found]


def test_what_two_volumes_need() -> None:
    disks = [A, Disk(id="b", size_bytes=GIB + 1, storage_backend_identifier="fast")]
    assert needs(disks) == Needs(
        volume={
            "snapshots": 2,
            "volumes": 2,
            "gigabytes": 2 * (3 + 2),
            "snapshots_fast": 1,
            "volumes_fast": 1,
            "gigabytes_fast": 2 * 2,
            "per_volume_gigabytes": 3,
        }
    )


def test_no_volume_needs_nothing() -> None:
    assert not any(needs([]).volume.values())


@pytest.mark.parametrize(
    ("used", "storage", "expected"),
    [
        (92, None, []),
        (95, None, [("source_quota", True)]),  # gigabytes
        (95, "fast", [("source_quota", True), ("source_quota", True)]),  # of all, and of the type
        (100, None, [("source_quota", True)] * 3),
    ],
)
def test_quotas_of_what_is_made_to_be_read(
    used: int, storage: str | None, expected: list[tuple[str, bool]], tmp_path: Path
) -> None:
    disk = Disk(id="a", size_bytes=3 * GIB, storage_backend_identifier=storage)
    assert codes(told(cloud(used=used), tmp_path, disk)) == expected


def test_quotas_that_nobody_tells(tmp_path: Path) -> None:
    """Not taken for one that is used up, though the refusal has the word."""
    assert codes(told(cloud(status=403), tmp_path, A)) == [("quota_unknown", False)]


@pytest.mark.usefixtures("minion_possible")
@pytest.mark.parametrize(
    ("instances", "wanted", "extra", "expected"),
    [
        (2, "minion", {}, []),
        (1, "minion", {}, [("source_quota", False)]),  # one after the other is possible
        (0, "minion", {}, [("source_quota", True)]),
        (0, "image", {}, []),
        (0, "auto", {}, [("source_quota", True)]),
        (1, "auto", ENCRYPTED, [("source_quota", False)]),  # all by minion
    ],
)
def test_quotas_of_minions(
    instances: int, wanted: str, extra: dict[str, Any], expected: list[tuple[str, bool]], tmp_path: Path
) -> None:
    environment = {"replica_export_mechanism": wanted, **IN_A_MINION}
    found = told(cloud(instances=instances), tmp_path, A, B, environment=environment, extra=extra)
    assert codes(found) == expected


@pytest.mark.parametrize(
    ("services", "wanted", "extra", "expected"),
    [
        (("image",), "auto", {}, []),
        ((), "auto", {}, ["direct: ", "worker: ", "minion: ", "image: "]),
        (("image",), "minion", {}, ["minion: minion_image and minion_network are not given"]),
        (("image",), "auto", ENCRYPTED, ["volumes a are encrypted", "worker: ", "minion: "]),
        (("image",), "image", ENCRYPTED, ["volumes a are encrypted", "another one is wanted"]),
    ],
)
def test_ways_that_there_are(
    services: tuple[str, ...], wanted: str, extra: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    environment = {"replica_export_mechanism": wanted}
    found = told(cloud(services=services), tmp_path, A, B, environment=environment, extra=extra)
    assert codes(found) == ([("no_transport", True)] if expected else [])
    assert all(words in found[0].message for words in expected)


@pytest.mark.usefixtures("minion_possible")
def test_only_what_is_encrypted_needs_a_minion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others are read directly."""
    monkeypatch.setattr("coriolis.providers.openstack.transports.direct.why_not", lambda *_args: None)
    found = told(cloud(instances=1), tmp_path, A, B, environment=IN_A_MINION, extra=ENCRYPTED)
    assert codes(found) == []


@pytest.mark.parametrize(
    ("disks", "running", "expected"),
    [
        ((A,), True, []),
        ((A, B), True, [("points_apart", False)]),
        ((ROOT, A), True, [("points_apart", False)]),
        ((ROOT, Disk(id="swap", size_bytes=GIB)), True, []),
        ((A, B), False, []),
    ],
)
def test_disks_of_different_times(
    disks: tuple[Disk, ...], running: bool, expected: list[tuple[str, bool]], tmp_path: Path
) -> None:
    assert codes(told(cloud(), tmp_path, *disks, running=running)) == expected
