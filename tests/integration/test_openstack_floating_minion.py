# SPDX-License-Identifier: Apache-2.0
"""A minion in a network that workers do not reach: it gets a floating address, and bytes go by that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.providers.openstack.connection import close_cloud, open_cloud
from coriolis.providers.openstack.minion_login import new_keypair
from coriolis.providers.openstack.transports import minion
from tests.integration.openstack_site import Member, member_of
from tests.integration.test_openstack_kept import surroundings
from tests.integration.test_openstack_minion import attempt, of_ours, qemu_io
from tests.lab import content
from tests.lab.fixtures import LabCloud
from tests.lab.floating import Carrier, carried

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.slow,
    pytest.mark.timeout(1800, func_only=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RANGES = {"old": "10.88.93.0/24", "new": "10.88.94.0/24"}


@pytest.fixture(params=["old", "new"])
def member(request: pytest.FixtureRequest, old_cloud: LabCloud, new_cloud: LabCloud) -> Iterator[Member]:
    cloud = {"old": old_cloud, "new": new_cloud}[request.param]
    with member_of(cloud, RANGES[request.param], called="floating") as made, surroundings(made, new_keypair()):
        yield made


@pytest.fixture
def carrier(member: Member) -> Iterator[Carrier]:
    with carried(member.cloud) as made:
        yield made


def test_bytes_go_by_a_floating_address(member: Member, carrier: Carrier, tmp_path: Path) -> None:
    context = attempt(tmp_path, 1)
    environment = {
        "minion_image": content.MINION_IMAGE,
        "minion_network": member.network.id,
        "minion_floating_network": content.EXTERNAL_NETWORK,
        "minion_flavor": "lab.small",
    }
    cloud = open_cloud(member.info, context)
    try:
        volume = cloud.cinder.create_volume(name="floating-minion", size=1)
        cloud.cinder.wait_for_status(volume, "available", wait=600)
        assert minion.why_not(cloud, environment, context) is None
        with minion.writing(cloud, volume.id, environment, context) as sink:
            (address,) = member.sdk.network.ips(project_id=member.sdk.current_project_id)
            assert carrier.packets(address.floating_ip_address) > 0
            qemu_io(sink.uri, "write -P 0x5a 1M 64k", "flush", "read -P 0x5a 1M 64k")  # type: ignore[union-attr]
        assert of_ours(cloud, volume.id) == []
        assert list(member.sdk.network.ips(project_id=member.sdk.current_project_id)) == []
    finally:
        close_cloud(cloud)
