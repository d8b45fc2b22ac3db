# SPDX-License-Identifier: Apache-2.0
"""What may stand in the way of reading a server."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Concern, Instance
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated

_ADMIN = "admin"
_KEPT_IN_MEMORY = ("PAUSED", "SUSPENDED")
#: Neither has a disk on a host that could be read.
_STOWED = ("SHELVED", "SHELVED_OFFLOADED")
_BROKEN = ("ERROR", "DELETED", "SOFT_DELETED", "BUILD", "REBUILD")
_LOCAL_DISKS = ("root", "ephemeral", "swap")


def source_concerns(cloud: Cloud, instance: Instance) -> list[Concern]:
    with translated(f"reading server {instance.id}"):
        server = cloud.sdk.compute.get_server(instance.id)
    concerns = of_server(server, instance, is_admin=_ADMIN in cloud.roles)
    local = {disk.id for disk in instance.devices.disks if disk.id.startswith(_LOCAL_DISKS)}
    for disk in instance.devices.disks:
        if disk.id in local:
            continue
        with translated(f"reading volume {disk.id}"):
            concerns += of_volume(cloud.cinder.get_volume(disk.id))
    return concerns


def of_server(server: Any, instance: Instance, *, is_admin: bool) -> list[Concern]:
    """Of an openstacksdk server."""
    status, concerns = str(server.status).upper(), []

    def tell(code: str, said: str, *, blocking: bool = False) -> None:
        message = f"server {instance.name}: {said}"
        concerns.append(Concern(code=f"openstack.{code}", message=message, blocking=blocking))

    if status in _BROKEN:
        tell("server_status", f"its status is {status}", blocking=True)
    if status in _STOWED:
        tell("server_status", f"its status is {status}; unshelve it first", blocking=True)
    if status in _KEPT_IN_MEMORY:
        tell("memory_lost", f"it is {status.lower()}, and what is in its memory does not move")
    if server.is_locked:
        what = "the migration stops it all the same" if is_admin else "it cannot be stopped; unlock it"
        tell("locked", f"it is locked: {what}")
    if not instance.devices.disks:
        tell("no_disks", "it has no disks", blocking=True)
    return concerns


def of_volume(volume: Any) -> list[Concern]:
    """Of an openstacksdk volume."""
    name, concerns = volume.name or volume.id, []
    if volume.is_encrypted:
        message = f"volume {name} is encrypted: it is read decrypted, by an attachment, and arrives as the type says"
        concerns.append(Concern(code="openstack.encrypted", message=message))
    if volume.is_multiattach and len(volume.attachments or ()) > 1:
        message = f"volume {name} is attached to several servers, which may write to it while it is read"
        concerns.append(Concern(code="openstack.multiattach", message=message))
    return concerns
