# SPDX-License-Identifier: Apache-2.0
"""OpenStack as a destination under the contract suite: a plain member of a project, whose workers may open the cloud's
NFS shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coriolis.providers.contract import DestinationContract
from coriolis.providers.contract.subject import Options
from coriolis.providers.openstack.nfs_access import SHARES
from tests.contract import openstack_project
from tests.contract.openstack_project import InNewCloud, InOldCloud, Project
from tests.integration.openstack_site import scratch_file, shares
from tests.lab import content
from tests.lab.fixtures import LabCloud

pytestmark = [pytest.mark.integration, pytest.mark.openstack, pytest.mark.slow]


class OpenStackDestination(DestinationContract):
    provider = "openstack"

    @pytest.fixture(autouse=True)
    def _shares(self, lab_cloud: LabCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the operator allows."""
        monkeypatch.setenv(SHARES, str(scratch_file(tmp_path, shares([lab_cloud]))))

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


class TestOldCloud(OpenStackDestination, InOldCloud):
    pass


class TestNewCloud(OpenStackDestination, InNewCloud):
    pass
