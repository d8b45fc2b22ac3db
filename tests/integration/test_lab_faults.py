# SPDX-License-Identifier: Apache-2.0
"""The fault tools of the lab do to a real cloud what they say, and the checker of leftovers finds what is left."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import openstack
import pytest
from keystoneauth1 import exceptions

from tests.lab import content
from tests.lab.faults import broken_type, faulty_region, proxied, volumes_hang
from tests.lab.fixtures import LabCloud
from tests.lab.leftovers import census, leftovers

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]
PATIENCE = 300.0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def in_faulty_region(cloud: LabCloud) -> Any:
    return openstack.connect(
        **cloud.auth(),
        region_name=faulty_region(cloud),
        load_yaml_config=False,
        load_envvars=False,
        image_status_code_retries=0,
    )


def test_a_service_fails_so_often_and_then_works(new_cloud: LabCloud) -> None:
    with proxied(new_cloud, "cinder") as proxies, in_faulty_region(new_cloud) as connection:
        fault = proxies["cinder"].add("GET", "/volumes/detail", times=2, status=500)
        for _ in range(2):
            with pytest.raises(openstack.exceptions.HttpException, match="500"):
                list(connection.block_storage.volumes())
        list(connection.block_storage.volumes())
        assert fault.met == 2
        with new_cloud.connect() as other:
            list(other.block_storage.volumes())


def test_an_upload_is_cut(new_cloud: LabCloud) -> None:
    name = f"lab-test-{uuid.uuid4().hex[:8]}"
    with proxied(new_cloud, "glance") as proxies, in_faulty_region(new_cloud) as connection:
        before = census(new_cloud)
        fault = proxies["glance"].add("PUT", "/file$", cut_after=1 << 20)
        octets = {"Content-Type": "application/octet-stream"}
        image = connection.image.create_image(name=name, disk_format="raw", container_format="bare")
        with pytest.raises((exceptions.ClientException, openstack.exceptions.SDKException)):
            connection.image.put(f"/images/{image.id}/file", data=bytes(4 << 20), headers=octets)
        assert fault.met == 1
        assert [(thing.kind, thing.name) for thing in leftovers(new_cloud, name, before)] == [("image", name)]
        connection.image.delete_image(image.id)
        assert leftovers(new_cloud, name, before) == []


def test_volumes_hang_and_end_in_error(new_cloud: LabCloud) -> None:
    name = f"lab-test-{uuid.uuid4().hex[:8]}"
    with new_cloud.connect() as connection:
        storage = connection.block_storage
        with volumes_hang(new_cloud):
            hanging = storage.create_volume(name=name, size=1)
            until(lambda: bool(storage.get_volume(hanging.id).host))
            assert storage.get_volume(hanging.id).status == "creating"
        until(lambda: storage.get_volume(hanging.id).status == "available")
        storage.delete_volume(hanging)
        with broken_type(new_cloud) as kind:
            broken = storage.create_volume(name=name, size=1, volume_type=kind)
            until(lambda: storage.get_volume(broken.id).status == "error")
            storage.delete_volume(broken)
            storage.wait_for_delete(broken, wait=PATIENCE)
        storage.wait_for_delete(hanging, wait=PATIENCE)
    assert leftovers(new_cloud, name) == []


def test_a_token_ends(new_cloud: LabCloud) -> None:
    with new_cloud.cloud.tokens_live_for(5), new_cloud.connect() as connection:
        token = connection.auth_token
        headers = {"X-Auth-Token": token}
        listed = new_cloud.url("nova", "/v2.1/flavors")
        until(
            lambda: (
                connection.session.get(listed, headers=headers, authenticated=False, raise_exc=False).status_code == 401
            )
        )
        assert content.NETWORK in {network.name for network in connection.network.networks()}


def test_a_secret_and_a_trust_are_found(new_cloud: LabCloud) -> None:
    tag = f"lab-test-{uuid.uuid4().hex[:8]}"
    before = census(new_cloud)
    with new_cloud.connect() as connection:
        secret = connection.key_manager.create_secret(name=tag, payload="x", payload_content_type="text/plain")
        identity = connection.identity
        user = connection.current_user_id
        trust = identity.create_trust(
            trustor_user_id=user,
            trustee_user_id=identity.find_user("nova").id,
            project_id=connection.current_project_id,
            impersonation=True,
            roles=[{"name": "member"}],
        )
        assert {thing.kind for thing in leftovers(new_cloud, tag, before)} == {"secret", "trust"}
        identity.delete_trust(trust)
        connection.key_manager.delete_secret(secret.secret_id)
    assert leftovers(new_cloud, tag, before) == []
