# SPDX-License-Identifier: Apache-2.0
"""Hundreds of servers of a cloud with Nova's fake driver, in a project of their own: what tests at scale read.

They are made in bulk, and stay with the cloud's data for the next time. Each has a port on the lab's network, and the
bytes of an image of 1 MiB as its disk, which a server snapshot gives back (`plugins/labvirt.py`).
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.lab import content, places
from tests.lab.fixtures import LabCloud
from tests.lab.places import PASSWORD
from tests.lab.processes import LabError

IMAGE = "lab-fleet"
IMAGE_BYTES = 1 << 20
FLAVOR = "lab.nano"
_AT_ONCE = 100  # servers of one request
_PATIENCE = 1800.0
_POLL_SECONDS = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fleet:
    """``info``: connection info of a plain member of the project; ``ids``: of the servers."""

    cloud: LabCloud
    project: str
    info: Mapping[str, Any]
    ids: Sequence[str]

    def left(self) -> list[str]:
        """What of ours is in the project: images, and ports that no server has."""
        with content.connect(self.cloud.cloud, self.project, self.project) as sdk:
            images = [f"image {one.name}" for one in sdk.image.images(owner=sdk.current_project_id)]
            return images + [f"port {one.id}" for one in sdk.network.ports() if not one.device_id]


def fleet(cloud: LabCloud, size: int, *, wired: bool = True) -> Fleet:
    """Exactly so many running servers; made when they are not there. Not ``wired``: they have no ports, and are made
    in half the time."""
    name = f"lab-fleet-{size}" if wired else f"lab-fleet-{size}-bare"
    with places.locked(f"{cloud.name}.{name}"):
        with cloud.connect() as admin:
            _project(admin, name)
            _image(admin)
        with content.connect(cloud.cloud, name, name) as sdk:
            ids = _servers(sdk, size, wired)
    info = {**cloud.auth(), "username": name, "project_name": name, "region_name": cloud.region}
    return Fleet(cloud=cloud, project=name, info=info, ids=ids)


def _project(admin: Any, name: str) -> None:
    project = admin.identity.find_project(name) or admin.identity.create_project(name=name, domain_id="default")
    user = admin.identity.find_user(name) or admin.identity.create_user(
        name=name, password=PASSWORD, domain_id="default"
    )
    admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("member"))


def _image(admin: Any) -> None:
    if admin.image.find_image(IMAGE):
        return
    admin.image.create_image(
        name=IMAGE,
        data=random.Random(IMAGE).randbytes(IMAGE_BYTES),
        disk_format="raw",
        container_format="bare",
        visibility="public",
        min_disk=1,
        allow_duplicates=True,
        wait=True,
    )


def _servers(sdk: Any, size: int, wired: bool) -> Sequence[str]:
    end = time.monotonic() + _PATIENCE
    while True:
        # In this order: one that has been built meanwhile is in two of them, and not in none.
        building, running, failed = (_ids(sdk, status) for status in ("BUILD", "ACTIVE", "ERROR"))
        for ident in failed:
            sdk.compute.delete_server(ident, ignore_missing=True)
        count = len(failed | building | running)
        if len(running) == count == size:
            return sorted(running)
        if count < size and not failed and not building:  # while there are such, one may be on no page
            _make(sdk, size - count, wired)
        elif count > size:
            raise LabError(f"{count} servers in place of {size}: wipe the cloud")
        if time.monotonic() > end:
            raise LabError(f"of {size} servers, {len(running)} run after {_PATIENCE:.0f} s")
        time.sleep(_POLL_SECONDS)


def _ids(sdk: Any, status: str) -> set[str]:
    """Without details, which Nova asks Neutron for. Pages are only for what stays: the SDK takes it for an endless loop
    when servers are built between two of them."""
    query = {"details": False, "limit": 1000, "sort_key": "uuid", "sort_dir": "asc", "status": status}
    return {one.id for one in sdk.compute.servers(paginated=status == "ACTIVE", **query)}


def _make(sdk: Any, count: int, wired: bool) -> None:
    networks = [{"uuid": sdk.network.find_network(content.NETWORK).id}] if wired else "none"
    image, flavor = sdk.image.find_image(IMAGE), sdk.compute.find_flavor(FLAVOR)
    for first in range(0, count, _AT_ONCE):
        some = min(_AT_ONCE, count - first)
        sdk.compute.create_server(
            name=f"fleet-{first // _AT_ONCE}",
            image_id=image.id,
            flavor_id=flavor.id,
            networks=networks,
            min_count=some,
            max_count=some,
        )
