# SPDX-License-Identifier: Apache-2.0
"""The clouds of the lab are what the tests of the OpenStack provider take them for."""

from __future__ import annotations

import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import content
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]
PATIENCE = 300.0


@pytest.fixture(params=["old", "new"])
def cloud(request: pytest.FixtureRequest, old_cloud: LabCloud, new_cloud: LabCloud) -> LabCloud:
    return {"old": old_cloud, "new": new_cloud}[request.param]


@pytest.fixture
def admin(cloud: LabCloud) -> Iterator[Any]:
    with cloud.connect() as connection:
        yield connection


def boot(connection: Any, image: str, **more: Any) -> Any:
    """A running server with a name of its own on the network of the lab."""
    server = connection.compute.create_server(
        name=f"lab-test-{uuid.uuid4().hex[:8]}",
        image_id=connection.image.find_image(image).id,
        flavor_id=connection.compute.find_flavor("lab.small").id,
        networks=[{"uuid": connection.network.find_network(content.NETWORK).id}],
        **more,
    )
    return connection.compute.wait_for_server(server, wait=PATIENCE)


def address_of(server: Any) -> str:
    return next(entry["addr"] for entries in server.addresses.values() for entry in entries)


def until_said(connection: Any, server: Any, words: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while words not in (text := connection.compute.get_server_console_output(server)["output"] or ""):
        assert time.monotonic() < deadline, text[-3000:]
        time.sleep(1)
    return str(text)


def test_a_guest_boots_and_is_reached_at_its_address(admin: Any) -> None:
    server = boot(admin, content.GUEST_IMAGE)
    try:
        address = address_of(server)
        said = until_said(admin, server, f"coriolis-guest: address {address}")
        assert "coriolis-guest: boot 1" in said
        with urllib.request.urlopen(f"http://{address}/SHA256SUMS", timeout=60) as answer:
            assert b"random-000.bin" in answer.read()
    finally:
        admin.compute.delete_server(server, force=True)


def test_the_member_is_no_admin(cloud: LabCloud) -> None:
    with cloud.connect(member=True) as connection:
        assert connection.compute.find_flavor("lab.nano")
        assert connection.image.find_image(content.GUEST_IMAGE)
        assert {
            role["name"] for role in connection.session.auth.get_access(connection.session)._data["token"]["roles"]
        } <= {"member", "reader"}
