# SPDX-License-Identifier: Apache-2.0
"""The fake cloud under the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coriolis.providers.api import Instance, ProviderError, Unauthorized, Unavailable
from coriolis.providers.contract import ProviderContract
from coriolis.providers.contract.subject import Mutate, Options
from coriolis.providers.fake.cloud import Cloud

TOKEN = "sesame-open-4711"


class TestFake(ProviderContract):
    provider = "fake"

    @pytest.fixture
    def cloud(self, tmp_path: Path) -> Cloud:
        cloud = Cloud.create(tmp_path / "cloud", token=TOKEN)
        web = cloud.add_instance("web-1", disk_sizes=(3 << 20, 1 << 20))
        cloud.write(web, "disk-0", 1, b"data of the guest" * 1000)
        for number in range(2, 6):
            cloud.add_instance(f"db-{number}", disk_sizes=())
        return cloud

    @pytest.fixture
    def options(self, cloud: Cloud) -> Options:
        return {"path": str(cloud.path), "token": TOKEN}

    @pytest.fixture
    def instance_name(self) -> str:
        return "web-1"

    @pytest.fixture
    def network_map(self) -> Options:
        return {"VM Network": "net-b"}

    @pytest.fixture
    def minion_environment(self) -> Options:
        return {"image": "minion"}

    @pytest.fixture
    def mutate(self, cloud: Cloud) -> Mutate:
        def write(instance: Instance, disk_id: str, offset: int, data: bytes) -> None:
            cloud.write(instance.id, disk_id, offset, data)

        return write

    @pytest.fixture
    def leftovers(self, cloud: Cloud) -> Callable[[], list[str]]:
        return cloud.leftovers

    @pytest.fixture
    def failing_options(self, options: Options, tmp_path: Path) -> list[tuple[Options, type[ProviderError]]]:
        return [
            ({**options, "token": "wrong-token-0815"}, Unauthorized),
            ({**options, "path": str(tmp_path / "nowhere")}, Unavailable),
            ({**options, "faults": "check=unavailable"}, Unavailable),
        ]

    @pytest.fixture
    def hanging_options(self, options: Options) -> Options:
        return {**options, "faults": "inventory.list_instances=hang"}


class TestEventualFake(TestFake):
    """The same, with a platform that takes its time."""

    @pytest.fixture
    def options(self, cloud: Cloud) -> Options:
        return {"path": str(cloud.path), "token": TOKEN, "eventual_polls": 3}
