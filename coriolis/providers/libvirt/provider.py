# SPDX-License-Identifier: Apache-2.0
"""An open connection with its capabilities."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Context
from coriolis.providers.libvirt.blocks import LibvirtSources
from coriolis.providers.libvirt.compute import LibvirtCompute
from coriolis.providers.libvirt.connection import Link, check_link, close_link, open_link
from coriolis.providers.libvirt.inventory import LibvirtInventory
from coriolis.providers.libvirt.minions import LibvirtMinions
from coriolis.providers.libvirt.networks import LibvirtNetworks
from coriolis.providers.libvirt.options import LibvirtOptions
from coriolis.providers.libvirt.planning import LibvirtPlanning
from coriolis.providers.libvirt.snapshots import LibvirtSnapshots
from coriolis.providers.libvirt.storage import LibvirtStorage
from coriolis.providers.libvirt.volumes import LibvirtSinks, LibvirtVolumes


class LibvirtConnection:
    def __init__(self, link: Link) -> None:
        self.link = link
        self.inventory = LibvirtInventory(link)
        self.networks = LibvirtNetworks(link)
        self.storage = LibvirtStorage(link)
        self.options = LibvirtOptions(link)
        self.planning = LibvirtPlanning(link)
        self.snapshots = LibvirtSnapshots(link)
        self.read_blocks = LibvirtSources(link)
        self.write_blocks = LibvirtSinks(link)
        self.volumes = LibvirtVolumes(link)
        self.compute = LibvirtCompute(link)
        self.minions = LibvirtMinions(link)

    def check(self, context: Context) -> None:
        check_link(self.link)

    def close(self) -> None:
        close_link(self.link)


def connect(connection_info: dict[str, Any], context: Context) -> LibvirtConnection:
    """:raises ProviderError: the host or its libvirt does not answer, or refuses us"""
    return LibvirtConnection(open_link(connection_info, context))
