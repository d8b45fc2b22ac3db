# SPDX-License-Identifier: Apache-2.0
"""What every cloud of the lab holds for the tests: images, flavors, a network, volume types. Made once, kept."""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path
from typing import Any

import openstack

from demo import guest
from tests.lab import ceph_clouds, minion_image, places
from tests.lab.cloud import Cloud
from tests.lab.images import as_qcow2
from tests.lab.places import LAB, PASSWORD, REGION
from tests.lab.processes import LabError
from tests.lab.spec import CloudSpec

GUEST_IMAGE = "lab-guest"
MINION_IMAGE = "lab-minion"
NETWORK = "lab-net"
EXTERNAL_NETWORK = "lab-external"
# name -> MiB of memory, GiB of disk
FLAVORS = {"lab.nano": (192, 1), "lab.small": (384, 2), "lab.medium": (768, 4)}
GUEST = guest.GuestSpec(name=GUEST_IMAGE, disk_mib=128, random_mib=8, text_mib=4)


def bring_up(spec: CloudSpec) -> Cloud:
    """A running cloud with its contents."""
    cloud = Cloud(spec.name)
    cloud.up(ceph_clouds.backed(spec))
    ceph_clouds.give_keys(cloud)
    fill(cloud)
    return cloud


def connect(cloud: Cloud, user: str = "admin", project: str = "admin") -> Any:
    """An openstacksdk connection that reads no file and no environment variable."""
    return openstack.connect(
        auth_url=cloud.spec.url("keystone", "/v3"),
        username=user,
        password=PASSWORD,
        project_name=project,
        user_domain_name="Default",
        project_domain_name="Default",
        region_name=REGION,
        load_yaml_config=False,
        load_envvars=False,
    )


def fill(cloud: Cloud) -> None:
    """Add what is missing."""
    with places.locked(f"{cloud.name}.content"):
        made = cloud.home.path / "content"
        more = cloud.spec.additions.cinder_backends
        wanted = _recipe(cloud.spec)
        if made.exists() and made.read_text() == wanted:
            return
        connection = connect(cloud)
        for name, path in guest_images().items():
            _image(connection, name, path)
        for name, (memory, disk) in FLAVORS.items():
            if not connection.compute.find_flavor(name):
                connection.compute.create_flavor(name=name, ram=memory, vcpus=1, disk=disk)
        _networks(connection, cloud.spec)
        for backend in (*cloud.spec.backends, *more):
            if not connection.block_storage.find_type(backend):
                connection.block_storage.create_type(name=backend, extra_specs={"volume_backend_name": backend})
        made.write_text(wanted)


def _recipe(spec: CloudSpec) -> str:
    """Changes with everything that `fill` is made of; a newer kernel of Debian alone is no reason to do it again."""
    recipe = hashlib.sha256(repr((FLAVORS, GUEST, spec.backends, sorted(spec.additions.cinder_backends))).encode())
    sources = [Path(__file__), Path(guest.__file__), Path(minion_image.__file__)]
    for path in sorted([*sources, *guest.FILES.iterdir(), *minion_image.FILES.iterdir()]):
        recipe.update(path.read_bytes())
    return recipe.hexdigest()


def guest_images() -> dict[str, Path]:
    """The images of every cloud, built when they are not in the cache."""
    with places.locked("images"):
        built = guest.build_guest(LAB / "images", GUEST)
        minion, key = minion_image.build_minion(LAB / "images")
        return {GUEST_IMAGE: as_qcow2(built.disk, built.key), MINION_IMAGE: as_qcow2(minion, key)}


def _image(connection: Any, name: str, path: Path) -> None:
    """Its file name holds the key of its content: an image of another one is replaced."""
    present = connection.image.find_image(name)
    if present and present.status == "active" and present.properties.get("lab_file") == path.name:
        return
    if present:
        connection.image.delete_image(present)
    connection.image.create_image(
        name=name,
        filename=str(path),
        disk_format="qcow2",
        container_format="bare",
        visibility="public",
        min_disk=1,
        allow_duplicates=True,
        wait=True,
        lab_file=path.name,
    )
    status = connection.image.find_image(name).status
    if status != "active":
        raise LabError(f"image {name} is {status}")


def _networks(connection: Any, spec: CloudSpec) -> None:
    network = connection.network
    if not network.find_network(NETWORK):
        made = network.create_network(name=NETWORK, is_shared=True)
        subnet = ipaddress.ip_network(spec.subnet)
        network.create_subnet(
            network_id=made.id, name=NETWORK, ip_version=4, cidr=str(subnet), gateway_ip=str(subnet[1])
        )
    if not network.find_network(EXTERNAL_NETWORK):
        made = network.create_network(
            name=EXTERNAL_NETWORK,
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network="external",
        )
        third = 100 + int(spec.subnet.split(".")[1])
        network.create_subnet(
            network_id=made.id, name=EXTERNAL_NETWORK, ip_version=4, cidr=f"198.51.{third}.0/24", is_dhcp_enabled=False
        )
