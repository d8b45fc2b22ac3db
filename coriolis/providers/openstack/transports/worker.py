# SPDX-License-Identifier: Apache-2.0
"""Bytes through the worker's own server: a worker that is a server of the cloud has the volume attached, finds the disk
that its kernel shows, and serves it over NBD to itself. Nothing is made in the cloud.

One server at a time has a volume, and in it one attempt: each takes the volume away from older ones, in this server or
in another worker's, and attaches it anew. That is the fence: a disk that was taken away is lost to whoever has it open.
One that comes back later finds in the volume's metadata that a newer one wrote it (`volume_epochs`). A volume that a
worker may have carries ``MARK`` there; whoever deletes it, or gives it to a server, calls `forget` then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coriolis.dataplane import NbdSink, NbdSource, Sink, Source
from coriolis.providers.api import Conflict, Context, Environment, Gone, Invalid, Unavailable
from coriolis.providers.api.exports import Export, served
from coriolis.providers.api.hosts import LocalHost
from coriolis.providers.openstack import server_access
from coriolis.providers.openstack.attachments import servers_of
from coriolis.providers.openstack.block_devices import device_of
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated
from coriolis.providers.openstack.server_access import is_id, read_servers, server_of
from coriolis.providers.openstack.server_attachments import MOVING, SECONDS, ask_to_detach, attach, volume_of
from coriolis.providers.openstack.volume_epochs import epoch_of, note_writer, refuse_older
from coriolis.providers.openstack.waits import TimedOut, wait_until

MARK = "coriolis_worker"  # metadata item of a volume: `_Holder`
_NO_EPOCH = 0  # of one that reads for another worker, and cannot tell whether it is the newest
_NUMBER = re.compile("[0-9]{1,18}")
_DEVICE_SECONDS = 60.0
_REQUESTS = 3  # to let a volume go; Nova asks the server's kernel several times for each


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Holder:
    """Who has a volume, or is about to: the server of the worker, the attempt, and which of those without a number."""

    server: str
    epoch: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.server} {self.epoch} {self.nonce}"

    @classmethod
    def of(cls, volume: Any) -> _Holder | None:
        """Of a volume of the SDK. Users can write there: what no worker wrote is none."""
        words = str((volume.metadata or {}).get(MARK, "")).split(" ")
        if len(words) != 3 or not is_id(words[0]) or not _NUMBER.fullmatch(words[1]):
            return None
        return cls(server=words[0], epoch=int(words[1]), nonce=words[2])


def why_not(cloud: Cloud, environment: Environment, context: Context) -> str | None:
    try:
        _own_server(cloud)
    except Invalid as error:
        return error.message
    return None


@contextlib.contextmanager
def reading(cloud: Cloud, volume_id: str, environment: Environment, context: Context) -> Iterator[Source]:
    """:raises Gone: there is no such volume. :raises Conflict: a newer attempt has it"""
    with _attached(cloud, volume_id, context, writes=False) as device:
        with served(LocalHost(), Export(image=str(device), format="raw"), context) as uri:
            yield NbdSource(uri=uri)


@contextlib.contextmanager
def writing(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, zeroed: bool = False
) -> Iterator[Sink]:
    """:raises Gone: there is no such volume. :raises Conflict: a newer attempt has it, or a server"""
    with _attached(cloud, volume_id, context, writes=True) as device:
        with served(LocalHost(), Export(image=str(device), format="raw", alone=True), context) as uri:
            yield NbdSink(uri=uri, zeroed=zeroed)


def forget(cloud: Cloud, volume_id: str, context: Context) -> None:
    """Takes the volume away from the worker that has it, also from one that was killed. Content when none has.

    :raises Unavailable: its server does not let it go
    :raises Conflict: a newer attempt has come meanwhile
    """
    with contextlib.suppress(Gone):
        holder = _Holder.of(volume_of(cloud, volume_id))
        if holder is not None:
            _take_away(cloud, holder.server, volume_id, holder, context)
        volume = volume_of(cloud, volume_id)
        _check_holder(volume, holder)
        if MARK in (volume.metadata or {}):
            with translated(f"marking volume {volume_id}"):
                cloud.cinder.delete_volume_metadata(volume_id, [MARK])


def _own_server(cloud: Cloud) -> Any:
    """Of the SDK. :raises Invalid: this worker is none of the project's; says why"""
    if not cloud.proven:
        raise Invalid(
            "a worker attaches volumes to its own server in a cloud that proves who it is: a plain auth_url, and no "
            "allow_untrusted, cacert or endpoint_overrides in the connection info"
        )
    ident = server_of(read_servers(os.environ.get(server_access.SERVERS)), cloud.auth_url)
    if ident is None:
        raise Invalid(f"the operator of the workers has not said that they are servers of {cloud.auth_url}")
    try:
        with translated(f"asking for the worker's own server {ident}"):
            server = cloud.sdk.compute.get_server(ident)
    except Gone:
        server = None
    if server is None or server.project_id != cloud.project_id:
        raise Invalid(
            f"the worker's own server {ident} is not in the project, and Nova attaches volumes of one project"
        )
    return server


@contextlib.contextmanager
def _attached(cloud: Cloud, volume_id: str, context: Context, *, writes: bool) -> Iterator[Path]:
    """The disk of this machine that is the volume."""
    server = _own_server(cloud)
    this = _Holder(server=str(server.id), epoch=context.epoch, nonce=secrets.token_hex(4))
    _evict(cloud, volume_id, context, writes=writes)
    _mark(cloud, volume_id, this, context, writes=writes)
    known = True  # whether Nova has the volume attached to this server, or has not
    try:
        try:
            _attach(cloud, server, volume_id, this, context)
        except Unavailable:
            known = False
            raise
        yield _device(volume_id, this.server, context)
    finally:
        # A cancelled attempt cleans up, too. One that is killed leaves that to `forget`, by its mark, and so does one
        # whose request may still be on its way.
        with contextlib.suppress(Gone):
            if known and _Holder.of(volume_of(cloud, volume_id)) == this:
                forget(cloud, volume_id, dataclasses.replace(context, cancelled=threading.Event(), deadline=None))


def _evict(cloud: Cloud, volume_id: str, context: Context, *, writes: bool) -> None:
    """:raises Conflict: a newer attempt has the volume, or has written it"""
    volume = volume_of(cloud, volume_id)
    _refuse_older(volume, context, writes=writes)
    if MARK in (volume.metadata or {}):
        forget(cloud, volume_id, context)


def _refuse_older(volume: Any, context: Context, *, writes: bool) -> None:
    if writes:
        refuse_older(epoch_of(volume), str(volume.id), context)
    holder = _Holder.of(volume)
    if holder is not None and context.epoch != _NO_EPOCH and holder.epoch > context.epoch:
        raise Conflict(f"volume {volume.id}: a newer attempt has it at server {holder.server}")


def _mark(cloud: Cloud, volume_id: str, this: _Holder, context: Context, *, writes: bool) -> None:
    _refuse_older(volume_of(cloud, volume_id), context, writes=writes)  # time has passed
    if writes:
        note_writer(cloud, volume_id, context, **{MARK: str(this)})
        return
    with translated(f"marking volume {volume_id}"):
        cloud.cinder.set_volume_metadata(volume_id, **{MARK: str(this)})


def _attach(cloud: Cloud, server: Any, volume_id: str, this: _Holder, context: Context) -> None:
    """:raises Conflict: another server has it, or a newer attempt"""
    try:
        attach(cloud, server, volume_id, context)
    except (Conflict, Invalid):
        volume = volume_of(cloud, volume_id)
        if this.server not in servers_of(volume) or _Holder.of(volume) != this:
            raise
        # What an attempt had asked for that was killed came to be just now.
        _take_away(cloud, this.server, volume_id, this, context)
        attach(cloud, server, volume_id, context)
    if _Holder.of(volume_of(cloud, volume_id)) != this:  # this attempt slept while a newer one came, and perhaps went
        ask_to_detach(cloud, this.server, volume_id)
        raise Conflict(f"volume {volume_id}: a newer attempt has it")


def _check_holder(volume: Any, holder: _Holder | None) -> None:
    """:raises Conflict: it is another one by now"""
    if _Holder.of(volume) not in (holder, None):
        raise Conflict(f"volume {volume.id}: a newer attempt has it")


def _take_away(cloud: Cloud, server: str, volume_id: str, holder: _Holder, context: Context) -> None:
    """As long as ``holder`` has it.

    :raises Gone: there is no such volume. :raises Unavailable: the server does not let it go
    """
    left, refused = _REQUESTS, None

    def look() -> bool | None:
        nonlocal left, refused
        volume = volume_of(cloud, volume_id)
        _check_holder(volume, holder)
        if volume.status in MOVING:
            return None
        if server not in servers_of(volume):
            return True
        if left == 0:
            raise Unavailable(
                f"server {server}, which a worker runs in, does not let volume {volume_id} go: does something in "
                "it use the disk, such as LVM? See the log of its nova-compute"
            )
        refused = ask_to_detach(cloud, server, volume_id)
        left -= refused is None
        return None

    try:
        wait_until(look, what=f"volume {volume_id} was not detached", seconds=SECONDS, context=context)
    except TimedOut as error:
        raise Unavailable(f"{error.message}" + (f": {refused}" if refused else "")) from None


def _device(volume_id: str, server: str, context: Context) -> Path:
    try:
        return wait_until(lambda: device_of(volume_id), what="disk", seconds=_DEVICE_SECONDS, context=context)
    except TimedOut:
        raise Invalid(
            f"volume {volume_id} is attached to server {server}, and this worker has no disk with that serial number: "
            "is it really that server? See [openstack] own_servers_file"
        ) from None
