# SPDX-License-Identifier: Apache-2.0
"""An open connection with its capabilities."""

from __future__ import annotations

import logging
from typing import Any

from coriolis.providers.api import Context
from coriolis.providers.openstack.compute import OpenStackCompute
from coriolis.providers.openstack.connection import Cloud, check_cloud, close_cloud, open_cloud
from coriolis.providers.openstack.inventory import OpenStackInventory
from coriolis.providers.openstack.minions import OpenStackMinions
from coriolis.providers.openstack.networks import OpenStackNetworks
from coriolis.providers.openstack.options import OpenStackOptions
from coriolis.providers.openstack.planning import OpenStackPlanning
from coriolis.providers.openstack.reading import OpenStackSources
from coriolis.providers.openstack.snapshots import OpenStackSnapshots
from coriolis.providers.openstack.storage import OpenStackStorage
from coriolis.providers.openstack.volumes import OpenStackVolumes
from coriolis.providers.openstack.writing import OpenStackSinks


class OpenStackConnection:
    def __init__(self, cloud: Cloud, log: logging.Logger) -> None:
        self.cloud = cloud
        self._log = log
        self.inventory = OpenStackInventory(cloud)
        self.networks = OpenStackNetworks(cloud)
        self.storage = OpenStackStorage(cloud)
        self.options = OpenStackOptions(cloud)
        self.planning = OpenStackPlanning(cloud)
        self.snapshots = OpenStackSnapshots(cloud)
        self.read_blocks = OpenStackSources(cloud)
        self.write_blocks = OpenStackSinks(cloud)
        self.volumes = OpenStackVolumes(cloud)
        self.compute = OpenStackCompute(cloud)
        self.minions = OpenStackMinions(cloud)

    def check(self, context: Context) -> None:
        check_cloud(self.cloud)

    def close(self) -> None:
        self._log.debug("cloud %s was asked requests=%d", self.cloud.name, self.cloud.calls.count)
        close_cloud(self.cloud)


def connect(connection_info: dict[str, Any], context: Context) -> OpenStackConnection:
    """:raises ProviderError: the cloud does not answer, or refuses us"""
    return OpenStackConnection(open_cloud(connection_info, context), context.log)
