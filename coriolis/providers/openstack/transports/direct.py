# SPDX-License-Identifier: Apache-2.0
"""Bytes straight from and to the volume's own storage, without a server: a file on NFS, an image in Ceph, or, for
reading, a logical unit by iSCSI.

The volume is attached to the worker in Cinder's books. The operator of the workers says what they may open: see
``nfs_access``, ``ceph_access`` and ``iscsi_access``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coriolis.dataplane import DataplaneError, DiskFormat, FileSink, ImageSource, Sink, Source, inspect_image
from coriolis.providers.api import Conflict, Context, Environment, Invalid, Unauthorized
from coriolis.providers.openstack import ceph_access, iscsi, iscsi_access, nfs_access, rbd
from coriolis.providers.openstack.attachments import attached, describe
from coriolis.providers.openstack.ceph_access import Cluster, read_clusters
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.iscsi_access import portals_of, read_storages
from coriolis.providers.openstack.keystones import same_keystone
from coriolis.providers.openstack.nfs_access import Share, file_of, read_shares, shares_of
from coriolis.providers.openstack.nfs_fence import only_writer

_FORMATS = {"raw": DiskFormat.RAW, "qcow2": DiskFormat.QCOW2}


@dataclass(frozen=True, kw_only=True)
class _Allowed:
    """What the operator lets the worker open, of this cloud."""

    shares: tuple[Share, ...]
    clusters: tuple[Cluster, ...]
    portals: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.shares or self.clusters or self.portals)


def why_not(cloud: Cloud, environment: Environment, context: Context | None) -> str | None:
    """Why no volume of this cloud can be reached directly; None: some can."""
    if not cloud.proven:
        return (
            "the operator's direct access needs a cloud that proves who it is: a plain auth_url, and no "
            "allow_untrusted, cacert or endpoint_overrides in the connection info"
        )
    if not _allowed(cloud):
        return f"the operator of the workers has not allowed direct access to the storage of {cloud.auth_url}"
    return None


def why_not_volume(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, to_write: bool
) -> str | None:
    """Why this volume of ours cannot be reached directly; None: it can. Attaches it for a moment.

    :raises ProviderError: Cinder cannot say: it does not answer, the volume is a server's
    """
    said = why_not(cloud, environment, context)
    if said is not None:
        return said
    try:
        with attached(cloud, volume_id, context) as info:
            (_open_to_write if to_write else _open)(cloud, volume_id, info)
    except (Invalid, Unauthorized) as error:
        return error.message
    return None


@contextlib.contextmanager
def reading(cloud: Cloud, volume_id: str, environment: Environment, context: Context) -> Iterator[Source]:
    """A volume of ours that nobody writes. :raises ProviderError: it cannot be reached"""
    with attached(cloud, volume_id, context) as info:
        found = _open(cloud, volume_id, info)
        if isinstance(found, _File):
            yield ImageSource(path=found.path, format=found.format, folder=found.share.path)
            return
        export = rbd.reading(found, context) if isinstance(found, rbd.RbdImage) else iscsi.reading(found, context)
        with export as source:
            yield source


@contextlib.contextmanager
def writing(
    cloud: Cloud, volume_id: str, environment: Environment, context: Context, *, zeroed: bool = False
) -> Iterator[Sink]:
    """A volume of ours, for writing and reading back; older attempts are locked out. Where nothing was ever written to
    it, the sink is known to read as zeros: that is seen, and ``zeroed`` not needed.

    :raises Conflict: a newer attempt writes it, or a server has it
    """
    with attached(cloud, volume_id, context) as info:
        found = _open_to_write(cloud, volume_id, info)
        if isinstance(found, rbd.RbdImage):
            with rbd.writing(found, context, zeroed=rbd.never_written(found, context)) as sink:
                yield sink
            return
        found.check_writable(volume_id)
        with only_writer(cloud, volume_id, found.path, context):
            yield FileSink(path=found.path, format=found.format, create=False, zeroed=found.is_empty())


def lock_out(cloud: Cloud, volume_id: str, environment: Environment, context: Context) -> None:
    """Nobody of us can write the volume afterwards, also not an attempt that sleeps now: before it is a server's.

    :raises Conflict: a server has it already, or a newer attempt writes it
    """
    with attached(cloud, volume_id, context) as info:
        found = _open_to_write(cloud, volume_id, info)
        if isinstance(found, rbd.RbdImage):
            rbd.stop_writer(found, context)
        else:
            with only_writer(cloud, volume_id, found.path, context):
                pass


def ceph_image(cloud: Cloud, volume_id: str, info: Mapping[str, Any]) -> rbd.RbdImage:
    """What the connection info of a volume of ours leads to. :raises Invalid: not to Ceph"""
    found = _open(cloud, volume_id, info)
    if not isinstance(found, rbd.RbdImage):
        raise Invalid(f"volume {volume_id} is not in Ceph")
    return found


@dataclass(frozen=True, kw_only=True)
class _File:
    share: Share
    path: Path
    format: DiskFormat

    def is_empty(self) -> bool:
        """Whether the file is one hole: it reads as zeros."""
        if self.format is not DiskFormat.RAW:
            return False
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.lseek(fd, 0, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
        finally:
            os.close(fd)
        return False

    def check_writable(self, volume_id: str) -> None:
        """:raises Conflict: it shows what other files hold"""
        if self.format is DiskFormat.RAW:
            return
        try:
            files = inspect_image(self.path, format=self.format, folder=self.share.path).files
        except DataplaneError as error:
            raise Invalid(f"volume {volume_id}: {error}") from None
        if len(files) > 1:
            raise Conflict(f"volume {volume_id} has snapshots: its file is a layer over others; delete them first")


_Writable = _File | rbd.RbdImage
_Found = _Writable | iscsi.IscsiUnit


def _allowed(cloud: Cloud) -> _Allowed:
    """Read anew each time: an operator may change it."""
    clusters = read_clusters(os.environ.get(ceph_access.CLUSTERS))
    return _Allowed(
        shares=shares_of(read_shares(os.environ.get(nfs_access.SHARES)), cloud.auth_url),
        clusters=tuple(one for one in clusters if same_keystone(one.auth_url, cloud.auth_url)),
        portals=portals_of(read_storages(os.environ.get(iscsi_access.PORTALS)), cloud.auth_url),
    )


def _open(cloud: Cloud, volume_id: str, info: Mapping[str, Any]) -> _Found:
    """What the connection info leads to. :raises ProviderError: to nothing that the worker may open"""
    said = why_not(cloud, {}, None)
    if said is not None:
        raise Invalid(said)
    protocol = describe(info)
    opener = _OPENERS.get(protocol)
    if opener is None:
        raise Invalid(
            f"volume {volume_id} is reached by {protocol}; workers open volumes of NFS, Ceph and iSCSI themselves"
        )
    if info.get("encrypted"):
        raise Invalid(f"volume {volume_id} is encrypted: its bytes are of no use without its key")
    return opener(cloud, volume_id, info)


def _open_to_write(cloud: Cloud, volume_id: str, info: Mapping[str, Any]) -> _Writable:
    """The same. :raises Invalid: it is only read that way"""
    found = _open(cloud, volume_id, info)
    if isinstance(found, iscsi.IscsiUnit):
        raise Invalid(f"volume {volume_id} is reached by iSCSI, by which workers read and do not write")
    return found


def _nfs(cloud: Cloud, volume_id: str, info: Mapping[str, Any]) -> _Found:
    share, path = file_of(_allowed(cloud).shares, info)
    kind = _FORMATS.get(str(info.get("format") or "raw"))
    if kind is None:
        raise Invalid(f"volume {volume_id} has the format {info.get('format')!r}; raw and qcow2 are known")
    return _File(share=share, path=path, format=kind)


def _ceph(cloud: Cloud, volume_id: str, info: Mapping[str, Any]) -> _Found:
    cluster = ceph_access.find(_allowed(cloud).clusters, cloud.auth_url, info, proven=cloud.proven)
    if cluster is None:
        raise Invalid(f"the operator has told the worker of no Ceph cluster that holds volume {volume_id}")
    return rbd.rbd_of(info, cluster)


def _iscsi(cloud: Cloud, volume_id: str, info: Mapping[str, Any]) -> _Found:
    return iscsi.unit_of(info, _allowed(cloud).portals)


_OPENERS: dict[str, Callable[[Cloud, str, Mapping[str, Any]], _Found]] = {"nfs": _nfs, "rbd": _ceph, "iscsi": _iscsi}
