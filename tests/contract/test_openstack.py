# SPDX-License-Identifier: Apache-2.0
"""The OpenStack provider under the contract suite, as a plain member of a project of real clouds, old and new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coriolis.providers.api import (
    Connection,
    Context,
    Instance,
    Invalid,
    Minions,
    ProviderError,
    Unauthorized,
    Unavailable,
)
from coriolis.providers.contract import InventoryContract, MinionContract, SchemaContract
from coriolis.providers.contract.subject import Options
from tests.contract import openstack_project
from tests.contract.openstack_project import DATABASE, IDLE, WEB, InNewCloud, InOldCloud, Project
from tests.lab import content

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]


class OpenStack(SchemaContract, InventoryContract):
    provider = "openstack"
    servers = True

    @pytest.fixture
    def options(self, project: Project) -> Options:
        return project.info

    @pytest.fixture
    def instance_name(self) -> str:
        return WEB

    @pytest.fixture
    def leftovers(self, project: Project) -> Callable[[], list[str]]:
        return lambda: openstack_project.everything(project.sdk)

    @pytest.fixture
    def failing_options(self, options: Options) -> list[tuple[Options, type[ProviderError]]]:
        return [
            ({**options, "password": "wrong-password-4711"}, Unauthorized),
            ({**options, "auth_url": "http://127.0.0.1:1/v3"}, Unavailable),
            ({"auth_url": options["auth_url"]}, Invalid),
        ]

    def test_volume_beside_an_image_backed_root_disk(self, instance: Instance) -> None:
        root, data = instance.devices.disks
        assert (root.id, root.size_bytes, root.storage_backend_identifier) == ("root", 1 << 30, "local")
        assert (data.name, data.size_bytes, data.storage_backend_identifier) == (WEB, 1 << 30, "slow")
        assert instance.boot_order == ({"type": "disk", "id": "root"},)

    def test_what_belongs_to_a_server(self, instance: Instance) -> None:
        assert instance.running
        assert (instance.flavor_name, instance.memory_mb, instance.num_cpu) == ("lab.nano", 192, 1)
        assert instance.hostname == WEB
        extra = instance.extra
        assert extra["metadata"] == {"tier": "front"}
        assert extra["tags"] == ["contract", "lab"]
        assert extra["keypair_name"] == WEB
        assert extra["config_drive"] is True
        assert extra["availability_zone"] == "nova"
        assert extra["security_groups"] == ["default"]
        assert extra["has_user_data"] is None  # a member may not see it
        assert len(extra["server_groups"]) == 1
        (nic,) = instance.devices.nics
        assert nic.network_name == "lab-net"
        assert nic.mac_address
        assert len(nic.ip_addresses) == 1
        assert len(extra["nics"][nic.id]["security_group_ids"]) == 1

    def test_server_that_boots_from_a_volume(self, connection: Connection, context: Context) -> None:
        assert connection.inventory is not None
        found = connection.inventory.get_instance({}, DATABASE, context)
        (root,) = found.devices.disks
        assert (root.name, root.storage_backend_identifier) == (DATABASE, "fast")
        assert found.extra["image"]["id"] is None

    def test_stopped_server_with_an_odd_name(self, connection: Connection, context: Context) -> None:
        assert connection.inventory is not None
        found = connection.inventory.get_instance({}, IDLE, context)
        assert not found.running
        (line,) = connection.inventory.list_instances({}, marker=None, limit=5, name="[3] (I", context=context)
        assert line.id == found.id

    def test_listing_costs_calls_for_pages_not_for_servers(self, connection: Any, context: Context) -> None:
        connection.check(context)
        before = connection.cloud.calls.count
        assert len(connection.inventory.list_instances({}, marker=None, limit=3, name=None, context=context)) == 3
        assert connection.cloud.calls.count - before <= 4  # servers, images; the versions of two services


class TestOldCloud(OpenStack, InOldCloud):
    pass


class TestNewCloud(OpenStack, InNewCloud):
    pass


class OpenStackMinions(MinionContract):
    """Of pools."""

    provider = "openstack"

    @pytest.fixture
    def options(self, project: Project) -> Options:
        return project.info

    @pytest.fixture
    def minion_environment(self) -> Options:
        return {"minion_image": content.MINION_IMAGE, "minion_network": content.NETWORK, "minion_flavor": "lab.small"}

    @pytest.fixture
    def leftovers(self, project: Project) -> Callable[[], list[str]]:
        return lambda: openstack_project.everything(project.sdk)

    def test_minion_names_what_is_missing(
        self, minions: Minions, minion_environment: Options, context: Context
    ) -> None:
        for field in ("minion_image", "minion_network", "minion_flavor", "minion_security_group"):
            with pytest.raises(Invalid, match=f"{field}: .*no-such-thing"):
                minions.create("minion", "contract-minion", {**minion_environment, field: "no-such-thing"}, context)


class TestMinions(OpenStackMinions, InOldCloud):
    pass


class TestMinionsOfNewCloud(OpenStackMinions, InNewCloud):
    pass
