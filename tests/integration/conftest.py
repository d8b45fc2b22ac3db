# SPDX-License-Identifier: Apache-2.0
"""Servers that several integration tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import equipment
from tests.integration.libvirt_host import LibvirtHost, running
from tests.integration.libvirt_lab import Lab
from tests.integration.openstack_moments import Crossing, between
from tests.lab import fixtures as clouds
from tests.lab.fixtures import LabCloud, lab_clouds, new_cloud, new_fake_cloud, old_cloud, old_fake_cloud

__all__ = ["lab_clouds", "new_cloud", "new_fake_cloud", "old_cloud", "old_fake_cloud"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    clouds.mark(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return equipment.unskipped((yield))


@pytest.fixture(scope="session")
def libvirt_host() -> Iterator[LibvirtHost]:
    """A private libvirtd with a storage pool."""
    if os.geteuid() != 0 or not shutil.which("libvirtd"):
        pytest.skip("needs root and libvirtd")
    directory = Path(tempfile.mkdtemp(prefix="lv-"))
    try:
        with running(directory) as host:
            host.define_pool()
            yield host
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def lab(libvirt_host: LibvirtHost, tmp_path: Path) -> Iterator[Lab]:
    """The private libvirtd, empty before and after."""
    lab = Lab(host=libvirt_host, scratch=tmp_path)
    yield lab
    lab.clear()
    lab.close()


@pytest.fixture(scope="session")
def crossing(old_cloud: LabCloud, new_cloud: LabCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    """A running server of the old cloud, and a service that can move it to the new one."""
    with between(old_cloud, new_cloud, tmp_path_factory.mktemp("crossing")) as made:
        yield made
