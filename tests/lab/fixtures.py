# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests against the clouds of the lab; import them in a conftest.

The first test that wants a cloud brings up all that the chosen tests want, at the same time. They are shared by the
whole session and by other sessions on this machine. At the end, what this session started is stopped, unless
``CORIOLIS_LAB_KEEP`` is set or another session uses it; the data stay, for a quick start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.equipment import missing
from tests.lab import ceph_clouds, content, identity, install, places
from tests.lab.cloud import Cloud
from tests.lab.places import LAB, PASSWORD, REGION
from tests.lab.spec import KNOWN

# Fixture -> cloud.
CLOUDS = {
    "old_cloud": "old",
    "new_cloud": "new",
    "old_fake_cloud": "old-fake",
    "new_fake_cloud": "new-fake",
}
# Seconds for a test that wants a cloud: the first one waits for its start, and on a fresh machine for its installation.
PATIENCE = 1800
_KEEP = bool(os.environ.get("CORIOLIS_LAB_KEEP"))


@dataclasses.dataclass(frozen=True)
class LabCloud:
    """A running cloud. ``cloud`` stops and starts its services."""

    cloud: Cloud

    @property
    def name(self) -> str:
        return self.cloud.name

    @property
    def release(self) -> str:
        return self.cloud.spec.release

    @property
    def region(self) -> str:
        return REGION

    @property
    def clouds_yaml(self) -> Path:
        """Has this cloud under its name (admin) and under NAME-member."""
        return LAB / "clouds.yaml"

    @property
    def base_port(self) -> int:
        return self.cloud.spec.base

    def url(self, service: str, path: str = "") -> str:
        """Of a service by its project's name: keystone, nova, cinder ..."""
        return self.cloud.spec.url(service, path)

    def auth(self, *, member: bool = False) -> Mapping[str, str]:
        """keystoneauth's password options: of the admin, or of somebody who is a member of a project and no more."""
        return {
            "auth_url": self.url("keystone", "/v3"),
            "username": identity.MEMBER_USER if member else "admin",
            "password": PASSWORD,
            "project_name": identity.MEMBER_PROJECT if member else "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }

    def connect(self, *, member: bool = False) -> Any:
        """A fresh openstacksdk connection."""
        auth = self.auth(member=member)
        return content.connect(self.cloud, auth["username"], auth["project_name"])


def possible() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


@contextlib.contextmanager
def running(names: Collection[str]) -> Iterator[Mapping[str, LabCloud]]:
    """These clouds. Those that did not run are brought up at the same time, and stopped at the end; see above."""
    install.packages()
    before = {name: Cloud(name) for name in names}
    ours = [name for name, cloud in before.items() if not cloud.running]
    specs = [cloud.spec if cloud.exists else KNOWN[name] for name, cloud in before.items()]
    try:
        with contextlib.ExitStack() as uses:
            for name in names:
                uses.enter_context(places.used(name))
            with ThreadPoolExecutor(max(1, len(specs))) as pool:
                clouds = list(pool.map(content.bring_up, specs))
            yield {cloud.name: LabCloud(cloud) for cloud in clouds}
    finally:
        for name in ours:
            if not _KEEP and places.unused(name):
                Cloud(name).down()
        if ours:
            ceph_clouds.rest()


@pytest.fixture(scope="session")
def lab_clouds(request: pytest.FixtureRequest) -> Iterator[Mapping[str, LabCloud]]:
    """Every cloud that the chosen tests want, by its name."""
    if not possible():
        missing("the OpenStack lab needs root on Debian")
    wanted = {CLOUDS[name] for item in request.session.items for name in fixtures_of(item) if name in CLOUDS}
    with running(wanted) as clouds:
        yield clouds


@pytest.fixture(scope="session")
def old_cloud(lab_clouds: Mapping[str, LabCloud]) -> LabCloud:
    """OpenStack Zed with real guests (libvirt, QEMU)."""
    return lab_clouds["old"]


@pytest.fixture(scope="session")
def new_cloud(lab_clouds: Mapping[str, LabCloud]) -> LabCloud:
    """The newest OpenStack with real guests (libvirt, QEMU)."""
    return lab_clouds["new"]


@pytest.fixture(scope="session")
def old_fake_cloud(lab_clouds: Mapping[str, LabCloud]) -> LabCloud:
    """OpenStack Zed with many hosts that only pretend to run servers; volumes and images are real."""
    return lab_clouds["old-fake"]


@pytest.fixture(scope="session")
def new_fake_cloud(lab_clouds: Mapping[str, LabCloud]) -> LabCloud:
    """The newest OpenStack with many hosts that only pretend to run servers; volumes and images are real."""
    return lab_clouds["new-fake"]


def fixtures_of(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))


def mark(items: list[pytest.Item]) -> None:
    """Mark the tests that want a cloud; call it from ``pytest_collection_modifyitems``."""
    for item in items:
        if set(fixtures_of(item)) & {"lab_clouds", *CLOUDS}:
            item.add_marker(pytest.mark.openstack)
            item.add_marker(pytest.mark.integration)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(PATIENCE))
