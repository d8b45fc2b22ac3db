# SPDX-License-Identifier: Apache-2.0
"""An open connection with its capabilities."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Context
from coriolis.providers.openstack.connection import Cloud, check_cloud, close_cloud, open_cloud


class OpenStackConnection:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.inventory = None
        self.networks = None
        self.storage = None
        self.options = None
        self.planning = None
        self.snapshots = None
        self.read_blocks = None
        self.write_blocks = None
        self.volumes = None
        self.compute = None
        self.minions = None

    def check(self, context: Context) -> None:
        check_cloud(self.cloud)

    def close(self) -> None:
        close_cloud(self.cloud)


def connect(connection_info: dict[str, Any], context: Context) -> OpenStackConnection:
    """:raises ProviderError: the cloud does not answer, or refuses us"""
    return OpenStackConnection(open_cloud(connection_info, context))
