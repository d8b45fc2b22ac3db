# SPDX-License-Identifier: Apache-2.0
"""Writes destination volumes, by the transport that was chosen when they were made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from coriolis.dataplane import Sink
from coriolis.providers.api import Conflict, Context, Volume
from coriolis.providers.openstack.attachments import release, servers_of
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.server_attachments import volume_of
from coriolis.providers.openstack.transports import direct, minion, worker
from coriolis.providers.openstack.transports.choice import transport
from coriolis.providers.openstack.volume_epochs import check_newest, note_writer


class OpenStackSinks:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @contextlib.contextmanager
    def open_sink(self, volume: Volume, context: Context) -> Iterator[Sink]:
        """:raises Gone: there is no such volume. :raises Conflict: a newer attempt writes it, or a server has it"""
        way = transport(str(volume.properties["transport"]))
        environment = dict(volume.properties.get("environment", {}))
        with way.writing(self._cloud, volume.ref, environment, context, zeroed=volume.zeroed) as sink:
            yield sink


_LETS_GO = {"worker": worker.forget, "minion": minion.forget, "image": release}


def give_away(cloud: Cloud, volumes: Sequence[Volume], context: Context) -> None:
    """Ends all writing of ours, before the volumes become a server's. :raises Conflict: a server has one of them"""
    for volume in volumes:
        if volume.properties["transport"] == "direct":
            direct.lock_out(cloud, volume.ref, dict(volume.properties.get("environment", {})), context)
            continue
        check_newest(cloud, volume.ref, context)
        note_writer(cloud, volume.ref, context)  # whoever comes back later is refused
        _LETS_GO[volume.properties["transport"]](cloud, volume.ref, context)
        servers = servers_of(volume_of(cloud, volume.ref))
        if servers:
            raise Conflict(f"volume {volume.ref} belongs to server {', '.join(servers)}")
