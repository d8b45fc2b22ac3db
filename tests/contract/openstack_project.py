# SPDX-License-Identifier: Apache-2.0
"""A project with a plain member in a cloud of the lab: its servers have all that a server can have. And for classes of
tests, which cloud that is."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import secrets
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import openstack
import pytest

from tests.lab import content
from tests.lab.fixtures import LabCloud

WEB = "contract-web"  # an image-backed root disk, a volume, metadata, tags ...
DATABASE = "contract-db"  # boots from a volume
IDLE = "Contract [3] (idle)"  # never started after its first boot
_SECONDS = 600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Project:
    """``info``: the connection info of its only user, a plain member. ``sdk``: a connection as that user."""

    info: dict[str, Any]
    sdk: Any


@contextlib.contextmanager
def project(cloud: LabCloud, *, servers: bool = True) -> Iterator[Project]:
    """A project of its own with the three servers, or nothing in it; all of it is removed at the end."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    with cloud.connect() as admin:
        made = admin.identity.create_project(name=name, domain_id="default")
        password = secrets.token_urlsafe(24)
        user = admin.identity.create_user(name=name, password=password, domain_id="default", default_project_id=made.id)
        role = admin.identity.find_role("member")
        admin.identity.assign_project_role_to_user(made, user, role)
        try:
            info: dict[str, Any] = {**cloud.auth(), "username": name, "password": password, "project_name": name}
            with openstack.connect(**info, region_name=cloud.region, load_yaml_config=False, load_envvars=False) as sdk:
                try:
                    if servers:
                        _make(sdk)
                    yield Project(info={**info, "region_name": cloud.region}, sdk=sdk)
                finally:
                    _clear(sdk)
        finally:
            for group in admin.network.security_groups(project_id=made.id):
                admin.network.delete_security_group(group)
            admin.identity.delete_user(user)
            admin.identity.delete_project(made)


def _make(sdk: Any) -> None:
    group = sdk.compute.create_server_group(name=WEB, policy="soft-anti-affinity")
    sdk.compute.create_keypair(name=WEB)
    image = sdk.image.find_image(content.GUEST_IMAGE)
    root = sdk.block_storage.create_volume(name=DATABASE, size=1, image_id=image.id, volume_type="fast")
    data = sdk.block_storage.create_volume(name=WEB, size=1, volume_type="slow")
    shape = {
        "flavor_id": sdk.compute.find_flavor("lab.nano").id,
        "networks": [{"uuid": sdk.network.find_network(content.NETWORK).id}],
    }
    made = [
        sdk.compute.create_server(
            name=WEB,
            image_id=image.id,
            metadata={"tier": "front"},
            tags=["contract", "lab"],
            key_name=WEB,
            config_drive=True,
            user_data=base64.b64encode(b"#!/bin/sh\ntrue\n").decode(),
            scheduler_hints={"group": group.id},
            **shape,
        ),
        sdk.compute.create_server(name=IDLE, image_id=image.id, **shape),
    ]
    for volume in (root, data):
        sdk.block_storage.wait_for_status(volume, "available", wait=_SECONDS)
    mapping = {"boot_index": 0, "uuid": root.id, "source_type": "volume", "destination_type": "volume"}
    made.append(sdk.compute.create_server(name=DATABASE, block_device_mapping=[mapping], **shape))
    for server in made:
        sdk.compute.wait_for_server(server, wait=_SECONDS)
    sdk.compute.create_volume_attachment(made[0], volume_id=data.id)
    sdk.block_storage.wait_for_status(data, "in-use", wait=_SECONDS)
    sdk.compute.stop_server(made[1])
    sdk.compute.wait_for_server(made[1], status="SHUTOFF", wait=_SECONDS)


def _clear(sdk: Any) -> None:
    servers = list(sdk.compute.servers(details=False))
    for server in servers:
        sdk.compute.delete_server(server)
    for server in servers:
        sdk.compute.wait_for_delete(server, wait=_SECONDS)
    volumes = list(sdk.block_storage.volumes(details=False))
    for volume in volumes:
        sdk.block_storage.delete_volume(volume)
    for volume in volumes:
        sdk.block_storage.wait_for_delete(volume, wait=_SECONDS)
    for group in list(sdk.compute.server_groups()):
        sdk.compute.delete_server_group(group)
    for pair in list(sdk.compute.keypairs()):
        sdk.compute.delete_keypair(pair)


def everything(sdk: Any) -> list[str]:
    """What is in the project: kind and id. Public images and the default security group are not the project's."""
    kinds = {
        "server": sdk.compute.servers(details=False),
        "keypair": sdk.compute.keypairs(),
        "volume": sdk.block_storage.volumes(details=False),
        "volume snapshot": sdk.block_storage.snapshots(details=False),
        "image": sdk.image.images(owner=sdk.current_project_id),
        "port": sdk.network.ports(project_id=sdk.current_project_id),
        "floating address": sdk.network.ips(project_id=sdk.current_project_id),
        "security group": sdk.network.security_groups(project_id=sdk.current_project_id),
    }
    return sorted(f"{kind} {thing.id}" for kind, things in kinds.items() for thing in things)


class _InACloud:
    """Of a class of tests. ``servers``: whether its project has the three."""

    servers: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def project(cls, lab_cloud: LabCloud) -> Iterator[Project]:
        with project(lab_cloud, servers=cls.servers) as made:
            yield made


class InOldCloud(_InACloud):
    @pytest.fixture(scope="class")
    @classmethod
    def lab_cloud(cls, old_cloud: LabCloud) -> LabCloud:
        return old_cloud


class InNewCloud(_InACloud):
    @pytest.fixture(scope="class")
    @classmethod
    def lab_cloud(cls, new_cloud: LabCloud) -> LabCloud:
        return new_cloud
