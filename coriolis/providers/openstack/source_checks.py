# SPDX-License-Identifier: Apache-2.0
"""What may stand in the way of reading a server, and what of it stays behind. From what the inventory has read:
nothing is asked of the cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coriolis.providers.api import Concern, Instance

_MEMORY = ("PAUSED", "SUSPENDED")
#: Nova keeps no disk of these on a host, or is changing it.
_UNREADABLE = {
    "SHELVED": "unshelve it first",
    "SHELVED_OFFLOADED": "unshelve it first",
    "ERROR": "mend it first",
    "BUILD": "wait until it is built",
    "REBUILD": "wait until it is rebuilt",
    "RESIZE": "wait until it is resized",
    "VERIFY_RESIZE": "confirm or revert the resize first",
    "MIGRATING": "wait until it has moved",
    "RESCUE": "end the rescue first",
    "DELETED": "it is deleted",
    "SOFT_DELETED": "restore it first",
}
_EMPTY = ("ephemeral", "swap")
_VIRTIO = ("normal", None)
#: Every project has it, and a port gets it unless others are named.
_USUAL_GROUPS = frozenset({"default"})


def source_concerns(instance: Instance, *, is_admin: bool) -> list[Concern]:
    """``is_admin``: whether our credentials may do more than the owner of a server."""
    return [
        *_of_status(instance, is_admin=is_admin),
        *_of_disks(instance),
        *_of_nics(instance),
        *_left_behind(instance),
    ]


def _concern(code: str, message: str, *, blocking: bool = False) -> Concern:
    return Concern(code=f"openstack.{code}", message=message, blocking=blocking)


def _of_status(instance: Instance, *, is_admin: bool) -> Iterator[Concern]:
    status = str(instance.extra.get("status") or "").upper()
    if status in _UNREADABLE:
        message = f"server {instance.name} is in status {status}: {_UNREADABLE[status]}"
        yield _concern("server_status", message, blocking=True)
    if status in _MEMORY:
        message = f"server {instance.name} is in status {status}: what is in its memory does not move"
        yield _concern("memory_lost", message)
    if instance.extra.get("locked") and not is_admin:
        message = f"server {instance.name} is locked: unlock it, or it cannot be shut down for the last round"
        yield _concern("locked", message)


def _of_disks(instance: Instance) -> Iterator[Concern]:
    if not instance.devices.disks:
        yield _concern("no_disks", f"server {instance.name} has no disks", blocking=True)
    volumes: dict[str, Any] = instance.extra.get("volumes") or {}
    for disk in instance.devices.disks:
        if disk.id.startswith(_EMPTY):
            yield _concern("disk_empty", f"disk {disk.id} is in no snapshot: an empty one is made in its place")
        about = volumes.get(disk.id) or {}
        if about.get("encrypted"):
            message = (
                f"volume {disk.id} is encrypted: its content is read in clear, and encrypted anew if the type says so"
            )
            yield _concern("encrypted", message)
        if about.get("multiattach"):
            message = f"volume {disk.id} may be attached to several servers, which may write to it while it is read"
            yield _concern("multiattach", message)


def _of_nics(instance: Instance) -> Iterator[Concern]:
    for port, about in (instance.extra.get("nics") or {}).items():
        if about.get("vnic_type") not in _VIRTIO:
            yield _concern("vnic_type", f"NIC {port} is of type {about['vnic_type']}; an ordinary one is made instead")
        if about.get("floating_addresses"):
            addresses = ", ".join(about["floating_addresses"])
            yield _concern("floating_address", f"NIC {port} has floating address {addresses}, which does not move")


def _left_behind(instance: Instance) -> Iterator[Concern]:
    """What a user has to name in destination_environment to have it again."""
    extra = instance.extra
    fields = {
        "keypair_name": extra.get("keypair_name"),
        "user_data": extra.get("has_user_data"),
        "metadata": extra.get("metadata"),
        "tags": extra.get("tags"),
        "server_group": extra.get("server_groups"),
        "security_groups": set(extra.get("security_groups") or ()) - _USUAL_GROUPS,
        "config_drive": extra.get("config_drive"),
    }
    named = [name for name, value in fields.items() if value]
    if named:
        message = f"server {instance.name} has {', '.join(named)}; give them in destination_environment if they matter"
        yield _concern("not_carried", message)
