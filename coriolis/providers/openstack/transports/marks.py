# SPDX-License-Identifier: Apache-2.0
"""What attempts that were killed have left of a volume at servers: the marks in its metadata tell."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Context
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.transports import minion, worker

_MARKED = (minion, worker)


def forget_marked(cloud: Cloud, volume: Any, context: Context) -> bool:
    """Whether there was something to let go of. ``volume``: of the SDK, as it was read."""
    marked = [transport for transport in _MARKED if transport.MARK in (volume.metadata or {})]
    for transport in marked:
        transport.forget(cloud, str(volume.id), context)
    return bool(marked)
