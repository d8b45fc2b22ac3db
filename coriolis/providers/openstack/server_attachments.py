# SPDX-License-Identifier: Apache-2.0
"""Volumes of ours at servers of the cloud: a minion's, or the worker's own."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Conflict, Context, Gone, Invalid, Unauthorized, Unavailable
from coriolis.providers.openstack.attachments import release
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.waits import TimedOut, wait_until

SECONDS = 600.0
#: Statuses of a volume that is on its way to a server, or from it.
MOVING = ("attaching", "detaching", "reserved")
_TOO_MANY = "disk devices"  # Nova's TooManyDiskDevices comes as 403, and has nothing to do with rights


def volume_of(cloud: Cloud, volume_id: str) -> Any:
    """:raises Gone: there is no such volume"""
    with translated(f"reading volume {volume_id}"):
        return cloud.cinder.get_volume(volume_id)


def attach(cloud: Cloud, server: Any, volume_id: str, context: Context) -> None:
    """``server``: of the SDK. Waits for what Nova does with it at the moment.

    :raises Conflict: a server has the volume already
    :raises Unavailable: this server cannot have it now
    """
    refused = [""]

    def ask() -> bool | None:
        if volume_of(cloud, volume_id).status != "available":
            release(cloud, volume_id, context)  # a worker that was killed had it for a moment, by `attachments`
        try:
            with translated(f"attaching volume {volume_id} to server {server.name}"):
                cloud.sdk.compute.create_volume_attachment(server, volume_id=volume_id)
        except Conflict as error:
            refused[0] = error.message
            return None
        except Unauthorized as error:
            if _TOO_MANY in error.message:
                raise Unavailable(error.message) from None
            raise
        return True

    try:
        wait_until(ask, what=f"volume {volume_id} was not attached", seconds=SECONDS, context=context)
    except TimedOut as error:
        raise Unavailable(f"{error.message}: {refused[0]}") from None
    _attached(cloud, server, volume_id, context)


def _attached(cloud: Cloud, server: Any, volume_id: str, context: Context) -> None:
    def look() -> bool | None:
        status = volume_of(cloud, volume_id).status
        if status in MOVING:
            return None
        if status == "in-use":
            return True
        raise Unavailable(  # Nova had reserved it, and gave it back
            f"volume {volume_id} was not attached to server {server.name}: it is {status} again. Its nova-compute says "
            "why in its log: perhaps the server has no free slot ([libvirt] num_pcie_ports)"
        )

    wait_until(look, what=f"volume {volume_id} was not attached", seconds=SECONDS, context=context)


def ask_to_detach(cloud: Cloud, server_id: str, volume_id: str) -> str | None:
    """Why Nova does not do it now, in its words; None: it does, or the server has it not."""
    try:
        with translated(f"detaching volume {volume_id} from server {server_id}"):
            cloud.sdk.compute.delete_volume_attachment(server_id, volume_id, ignore_missing=True)
    except Gone:
        return None
    except (Conflict, Invalid) as error:
        return error.message
    return None
