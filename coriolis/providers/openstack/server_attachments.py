# SPDX-License-Identifier: Apache-2.0
"""Volumes of ours at servers of the cloud: a minion's, or the worker's own."""

from __future__ import annotations

import contextlib
from typing import Any

from coriolis.providers.api import Conflict, Context, Gone, Invalid
from coriolis.providers.openstack.attachments import release
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.waits import wait_for_status

SECONDS = 600.0
#: Statuses of a volume that is on its way to a server, or from it.
MOVING = ("attaching", "detaching", "reserved")


def volume_of(cloud: Cloud, volume_id: str) -> Any:
    """:raises Gone: there is no such volume"""
    with translated(f"reading volume {volume_id}"):
        return cloud.cinder.get_volume(volume_id)


def attach(cloud: Cloud, server: Any, volume_id: str, context: Context) -> None:
    """``server``: of the SDK. :raises Conflict: a server has the volume already"""
    if volume_of(cloud, volume_id).status != "available":
        release(cloud, volume_id, context)  # a worker that was killed had it for a moment, by `attachments`
    with translated(f"attaching volume {volume_id} to server {server.name}"):
        cloud.sdk.compute.create_volume_attachment(server, volume_id=volume_id)
    wait_for_status(
        lambda: volume_of(cloud, volume_id),
        ("in-use",),
        what=f"attaching volume {volume_id}",
        seconds=SECONDS,
        context=context,
    )


def ask_to_detach(cloud: Cloud, server_id: str, volume_id: str) -> None:
    """Content when the server has it not, or Nova is at it already."""
    with contextlib.suppress(Gone, Conflict, Invalid):
        with translated(f"detaching volume {volume_id} from server {server_id}"):
            cloud.sdk.compute.delete_volume_attachment(server_id, volume_id, ignore_missing=True)
