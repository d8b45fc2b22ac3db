# SPDX-License-Identifier: Apache-2.0
"""OpenStack as a destination under the contract suite: a plain member of a project, whose workers may open the cloud's
NFS shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coriolis.providers.contract import DestinationContract
from coriolis.providers.contract.subject import Options
from coriolis.providers.openstack.nfs_access import SHARES
from tests.contract import openstack_project
from tests.contract.openstack_project import Project
from tests.lab import content
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]


@pytest.fixture(scope="module")
def old_project(old_cloud: LabCloud) -> Iterator[Project]:
    with openstack_project.project(old_cloud, servers=False) as made:
        yield made


@pytest.fixture(scope="module")
def new_project(new_cloud: LabCloud) -> Iterator[Project]:
    with openstack_project.project(new_cloud, servers=False) as made:
        yield made


class OpenStackDestination(DestinationContract):
    provider = "openstack"

    @pytest.fixture
    def project(self) -> Project:
        raise NotImplementedError

    @pytest.fixture
    def cloud(self) -> LabCloud:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _shares(self, cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the operator allows."""
        path = cloud.cloud.home.var / "cinder/fast"
        file = tmp_path / "shares.ini"
        file.write_text(f"[fast]\nauth_url = {cloud.auth()['auth_url']}\nexport = 127.0.0.1:{path}\npath = {path}\n")
        monkeypatch.setenv(SHARES, str(file))

    @pytest.fixture
    def options(self, project: Project) -> Options:
        return project.info

    @pytest.fixture
    def destination_environment(self) -> Options:
        return {"replica_import_mechanism": "direct", "flavor_name": "lab.nano"}

    @pytest.fixture
    def network_map(self) -> Options:
        return {"VM Network": content.NETWORK}

    @pytest.fixture
    def storage_mappings(self) -> Options:
        return {"default": "fast"}

    @pytest.fixture
    def leftovers(self, project: Project) -> Callable[[], list[str]]:
        return lambda: openstack_project.everything(project.sdk)


class TestOldCloud(OpenStackDestination):
    @pytest.fixture
    def cloud(self, old_cloud: LabCloud) -> LabCloud:
        return old_cloud

    @pytest.fixture
    def project(self, old_project: Project) -> Project:
        return old_project


class TestNewCloud(OpenStackDestination):
    @pytest.fixture
    def cloud(self, new_cloud: LabCloud) -> LabCloud:
        return new_cloud

    @pytest.fixture
    def project(self, new_project: Project) -> Project:
        return new_project
