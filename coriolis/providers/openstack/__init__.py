# SPDX-License-Identifier: Apache-2.0
"""The ``openstack`` provider: servers of an OpenStack cloud; source and destination."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Capability, Connection, Context, Provider
from coriolis.providers.openstack.schemas import CONNECTION, DESTINATION, MINIONS, SOURCE


def _connect(connection_info: dict[str, Any], context: Context) -> Connection:
    from coriolis.providers.openstack.provider import connect  # loads openstacksdk

    return connect(connection_info, context)


PROVIDER = Provider(
    name="openstack",
    title="OpenStack",
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
    preload=("openstack", "coriolis.providers.openstack.provider"),
)
