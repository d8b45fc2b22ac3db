# SPDX-License-Identifier: Apache-2.0
"""The attempt that wrote a volume last: noted in its metadata in Cinder, where every worker sees it.

Cinder has no way to change metadata only if nobody else did. So a note keeps out an attempt that is older and comes, or
comes back, later; what keeps two apart that come at the same moment is the transport's own.
"""

from __future__ import annotations

from typing import Any

from coriolis.providers.api import Conflict, Context
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated

EPOCH = "coriolis_epoch"  # metadata item
_NONE = -1


def epoch_of(volume: Any) -> int:
    """Of a volume of the SDK; -1 when nobody wrote it."""
    value = str((volume.metadata or {}).get(EPOCH, ""))
    return int(value) if value.isdecimal() and len(value) < 19 else _NONE


def refuse_older(recorded: int, volume_id: str, context: Context) -> None:
    """:raises Conflict: a newer attempt has written the volume"""
    if recorded > context.epoch:
        raise Conflict(f"volume {volume_id}: a newer attempt writes it (epoch {recorded}, this one is {context.epoch})")


def check_newest(cloud: Cloud, volume_id: str, context: Context) -> None:
    """:raises Conflict: a newer attempt has written the volume"""
    with translated(f"reading volume {volume_id}"):
        volume = cloud.cinder.get_volume(volume_id)
    refuse_older(epoch_of(volume), volume_id, context)


def note_writer(cloud: Cloud, volume_id: str, context: Context, **more: str) -> None:
    """With ``more`` metadata items, in the same request."""
    with translated(f"noting the writer of volume {volume_id}"):
        cloud.cinder.set_volume_metadata(volume_id, **{EPOCH: str(context.epoch), **more})
