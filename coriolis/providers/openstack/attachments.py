# SPDX-License-Identifier: Apache-2.0
"""Cinder attachments of the worker itself: no server is involved. A stock cloud lets every member of a project do this.

https://docs.openstack.org/api-ref/block-storage/v3/#attachments-attachments; 3.27 brought them, 3.44 ``os-complete``.
Who may read and write the bytes is not Cinder's to enforce: it tells where they are, and marks the volume as in use.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from coriolis.providers.api import Conflict, Context, Gone, ProviderError
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated


def initiator() -> str:
    """The worker's iSCSI name. Storage that speaks iSCSI lets it in while a volume is attached to the worker."""
    return f"iqn.2026-01.org.coriolis:{socket.gethostname()}"


def connector() -> dict[str, Any]:
    """What a back end may want to know of the machine that opens the volume. Without an iSCSI name, such back ends
    fail, and do not even say that they are such."""
    return {
        "host": socket.gethostname(),
        "initiator": initiator(),
        "ip": _own_address(),
        "multipath": False,
        "platform": "x86_64",
        "os_type": "linux",
    }


@contextlib.contextmanager
def attached(cloud: Cloud, volume_id: str, context: Context) -> Iterator[dict[str, Any]]:
    """The connection info of a volume of ours, which is in use while the block lasts. What earlier attempts left
    attached is let go first.

    :raises Conflict: a server has it, or its status forbids it
    :raises Gone: there is no such volume
    """
    release(cloud, volume_id, context)
    with translated(f"attaching volume {volume_id} to the worker"):
        made = cloud.cinder.create_attachment(volume_id, connector=connector())
    try:
        with translated(f"attaching volume {volume_id} to the worker"):
            cloud.cinder.complete_attachment(made.id)
        yield dict(made.connection_info or {})
    finally:
        _let_go(cloud, str(made.id), volume_id, context)


def release(cloud: Cloud, volume_id: str, context: Context) -> None:
    """Lets go of all that workers have of a volume of ours. :raises Conflict: a server has it, or shall have it"""
    with translated(f"reading volume {volume_id}"):
        volume = cloud.cinder.get_volume(volume_id)  # the list of attachments of one that is gone is empty
    there = records(cloud, volume)
    servers = [str(one.instance) for one in there if one.instance]
    if servers:
        raise Conflict(f"volume {volume_id} is attached to server {', '.join(servers)}; detach it, then start again")
    for one in there:
        with translated(f"detaching volume {volume_id}"):
            cloud.cinder.delete_attachment(one.id)


def records(cloud: Cloud, volume: Any) -> list[Any]:
    """Cinder's records of who has a volume (of the SDK), or shall have it."""
    if volume.status == "available":
        return []
    with translated(f"listing the attachments of volume {volume.id}"):
        return list(cloud.cinder.attachments(volume_id=volume.id))


def servers_of(volume: Any) -> list[str]:
    """Ids of the servers that have a volume (of the SDK) attached."""
    return [str(one["server_id"]) for one in volume.attachments or () if one.get("server_id")]


def describe(info: Mapping[str, Any]) -> str:
    """The protocol that a connection info is of, for people."""
    return str(info.get("driver_volume_type") or "an unknown protocol")


def _let_go(cloud: Cloud, attachment: str, volume_id: str, context: Context) -> None:
    try:
        with translated(f"detaching volume {volume_id}"):
            cloud.cinder.delete_attachment(attachment)
    except Gone:
        pass
    except ProviderError as error:  # what was done with the volume counts more; the next use lets go of it
        context.event("WARNING", f"volume {volume_id} stays attached to the worker: {error.message}")


def _own_address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
