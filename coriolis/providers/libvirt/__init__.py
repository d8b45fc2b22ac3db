# SPDX-License-Identifier: Apache-2.0
"""The ``libvirt`` provider: QEMU domains of a libvirt host, local or behind SSH; source and destination."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Capability, Connection, Context, Provider
from coriolis.providers.libvirt.schemas import CONNECTION, DESTINATION, MINIONS, SOURCE


def _connect(connection_info: dict[str, Any], context: Context) -> Connection:
    from coriolis.providers.libvirt.provider import connect  # loads libvirt's library

    return connect(connection_info, context)


PROVIDER = Provider(
    name="libvirt",
    title="libvirt / QEMU",
    capabilities=frozenset(
        {
            Capability.INVENTORY,
            Capability.NETWORKS,
            Capability.STORAGE,
            Capability.OPTIONS,
            Capability.PLANNING,
            Capability.SNAPSHOTS,
            Capability.INCREMENTS,
            Capability.READ_BLOCKS,
            Capability.WRITE_BLOCKS,
            Capability.VOLUMES,
            Capability.COMPUTE,
            Capability.MINIONS,
        }
    ),
    connection_schema=CONNECTION,
    source_schema=SOURCE,
    destination_schema=DESTINATION,
    source_minion_schema=MINIONS,
    destination_minion_schema=MINIONS,
    connect=_connect,
    preload=("libvirt", "coriolis.providers.libvirt.provider"),
)
