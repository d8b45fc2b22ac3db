# SPDX-License-Identifier: Apache-2.0
"""Bytes through a minion: a small server has the volume attached, and serves it over NBD through SSH.

Each attempt makes a minion of its own and removes it. That is the fence: an attempt first removes the minions of older
ones, and what these still have in hand cannot reach the volume, which one server at a time has attached. One that comes
back later finds in the volume's metadata that a newer one wrote it (`volume_epochs`). A volume that a minion may have
carries ``MARK`` there; whoever deletes it, or gives it to a server, calls `forget` then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

from coriolis.dataplane import NbdSink, NbdSource, Sink, Source
from coriolis.providers.api import Conflict, Context, Environment, Gone, Invalid, Unavailable
from coriolis.providers.api.exports import Export, served
from coriolis.providers.api.hosts import Host, run
from coriolis.providers.openstack import minions
from coriolis.providers.openstack.attachments import servers_of
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.minion_login import Place, logged_in, new_keypair
from coriolis.providers.openstack.minions import EPOCH
from coriolis.providers.openstack.quotas import Needs
from coriolis.providers.openstack.server_attachments import MOVING, SECONDS, ask_to_detach, attach, volume_of
from coriolis.providers.openstack.volume_epochs import check_newest, epoch_of, note_writer, refuse_older
from coriolis.providers.openstack.waits import wait_until

MARK = "coriolis_minion"  # metadata item of a volume
_NO_EPOCH = 0  # of one that reads for another worker, and cannot tell whether it is the newest
_FINDING = 3  # looks into the minion, of half a minute each
#: Prints the device of the volume $1. QEMU tells the guest the volume's id as the disk's serial number, of which
#: virtio-blk shows 20 letters.
_FIND = """\
for i in $(seq 60); do
    for disk in /dev/disk/by-id/virtio-$(echo "$1" | cut -c1-20) /dev/disk/by-id/scsi-*"$1" /dev/disk/by-id/*"$1"; do
        if [ -b "$disk" ]; then echo "$disk"; exit 0; fi
    done
    sleep 0.5
done
exit 1
"""


def why_not(cloud: Cloud, environment: Environment, context: Context) -> str | None:
    if not environment.get("minion_image") or not environment.get("minion_network"):
        return "minion_image and minion_network are not given"
    try:
        minions.kept_recipe(cloud, environment, context)
    except Invalid as error:
        return error.message
    return None


def takes(cloud: Cloud, environment: Environment, context: Context) -> Needs:
    """What each disk takes from the quotas while it is moved. :raises Invalid: it is not possible"""
    return minions.kept_recipe(cloud, environment, context).needs


@contextlib.contextmanager
def reading(cloud: Cloud, volume_id: str, environment: Environment, context: Context) -> Iterator[Source]:
    """:raises Gone: there is no such volume. :raises Conflict: a newer attempt has it"""
    with _in_minion(cloud, volume_id, environment, context, writes=False) as (host, device):
        with served(host, Export(image=device, format="raw"), context) as uri:
            yield NbdSource(uri=uri)


@contextlib.contextmanager
def writing(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, zeroed: bool = False
) -> Iterator[Sink]:
    """:raises Gone: there is no such volume. :raises Conflict: a newer attempt has it, or a server"""
    with _in_minion(cloud, volume_id, environment, context, writes=True) as (host, device):
        with served(host, Export(image=device, format="raw", alone=True), context) as uri:
            yield NbdSink(uri=uri, zeroed=zeroed)


def forget(cloud: Cloud, volume_id: str, context: Context) -> None:
    """Removes what attempts that were killed left of their minions. Content when there is nothing."""
    key = _key(volume_id)
    for server in minions.find(cloud, key):
        ask_to_detach(cloud, server.id, volume_id)  # the server is removed after that, whatever becomes of it
    minions.remove(cloud, key, context)
    with contextlib.suppress(Gone):
        _wait_free(cloud, volume_id, context)
        with translated(f"marking volume {volume_id}"):
            cloud.cinder.delete_volume_metadata(volume_id, [MARK])


@contextlib.contextmanager
def _in_minion(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, writes: bool
) -> Iterator[tuple[Host, str]]:
    """A minion that has the volume, and its device there."""
    _evict(cloud, volume_id, context, writes=writes)
    recipe, key, login = minions.read_recipe(cloud, environment), _key(volume_id), new_keypair()
    server = None
    try:
        _mark(cloud, volume_id, context, writes=writes)
        context.event("INFO", f"Making a minion for volume {volume_id}.")
        server = minions.boot(cloud, f"coriolis-minion-{volume_id[:8]}", key, recipe, context, public_key=login.public)
        place = Place(host=minions.address_of(server, recipe), user=recipe.username)
        with logged_in(cloud, server, place, login, recipe.seconds, context) as host:
            if writes:
                check_newest(cloud, volume_id, context)  # time has passed
            attach(cloud, server, volume_id, context)
            yield host, _device(host, volume_id, context)
    finally:
        # A cancelled attempt cleans up, too; one that is killed leaves it to `forget`.
        if not _has_other(cloud, volume_id, server, context):
            forget(cloud, volume_id, dataclasses.replace(context, cancelled=threading.Event(), deadline=None))


def _key(volume_id: str) -> str:
    return f"m-{volume_id}"


def _evict(cloud: Cloud, volume_id: str, context: Context, *, writes: bool) -> None:
    """:raises Conflict: a newer attempt has a minion for the volume, or has written it"""
    volume = volume_of(cloud, volume_id)
    if writes:
        refuse_older(epoch_of(volume), volume_id, context)
    if MARK not in (volume.metadata or {}):
        return
    if context.epoch != _NO_EPOCH and _newest_epoch(cloud, volume_id) > context.epoch:
        raise Conflict(f"volume {volume_id}: a newer attempt has it in a minion")
    forget(cloud, volume_id, context)


def _mark(cloud: Cloud, volume_id: str, context: Context, *, writes: bool) -> None:
    if writes:
        check_newest(cloud, volume_id, context)  # removing an older one's minion takes time
        note_writer(cloud, volume_id, context, **{MARK: "1"})
        return
    with translated(f"marking volume {volume_id}"):
        cloud.cinder.set_volume_metadata(volume_id, **{MARK: "1"})


def _has_other(cloud: Cloud, volume_id: str, ours: Any | None, context: Context) -> bool:
    """Whether a newer attempt has a minion for the volume, or another one without a number."""
    others = [one for one in minions.find(cloud, _key(volume_id)) if ours is None or one.id != ours.id]
    least = context.epoch + (ours is None or context.epoch != _NO_EPOCH)
    return any(int((one.metadata or {}).get(EPOCH, 0)) >= least for one in others)


def _newest_epoch(cloud: Cloud, volume_id: str) -> int:
    """Of the attempts that have a minion for the volume; 0 when there is none."""
    servers = minions.find(cloud, _key(volume_id))
    return max((int((server.metadata or {}).get(EPOCH, 0)) for server in servers), default=0)


def _wait_free(cloud: Cloud, volume_id: str, context: Context) -> None:
    """:raises Gone: there is no such volume. :raises Conflict: a server that is no minion has it"""

    def look() -> bool | None:
        volume = volume_of(cloud, volume_id)
        if volume.status in MOVING:
            return None
        holders = [holder for holder in servers_of(volume) if _exists(cloud, holder)]
        if holders:
            raise Conflict(f"volume {volume_id} belongs to server {', '.join(holders)}")
        return None if servers_of(volume) else True

    wait_until(look, what=f"volume {volume_id} was not detached", seconds=SECONDS, context=context)


def _exists(cloud: Cloud, server_id: str) -> bool:
    try:
        with translated(f"reading server {server_id}"):
            return cloud.sdk.compute.get_server(server_id).status not in ("DELETED", "SOFT_DELETED")
    except Gone:
        return False


def _device(host: Host, volume_id: str, context: Context) -> str:
    for _look in range(_FINDING):
        context.check_cancelled()
        done = run(host, ["sh", "-c", _FIND, "find", volume_id])
        if done.returncode == 0:
            return done.stdout.strip()
    raise Unavailable(
        f"the minion does not show volume {volume_id} below /dev/disk/by-id; its image has to name disks by their "
        "serial numbers, as udev does"
    )
