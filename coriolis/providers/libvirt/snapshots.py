# SPDX-License-Identifier: Apache-2.0
"""Consistent points in time of a domain's disks.

Of a running domain: a checkpoint and a pull backup that begin at the same moment. The backup job (QEMU's NBD server,
and the old content of overwritten blocks) lives from ``create`` to ``delete``, or to the next round's ``create``; the
checkpoint (a dirty bitmap per qcow2 disk) lives until ``delete``. A snapshot that is the base of a next round must be
deleted only after that round was read. Of a stopped domain: its image files as they are; bytes cannot change unnoticed,
for QEMU's image locks keep the domain from starting while they are read, and their times tell afterwards.
"""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

import libvirt

from coriolis.providers.api import Context, DiskSnapshot, Environment, Instance, Invalid, Snapshot, Unavailable
from coriolis.providers.api.hosts import run
from coriolis.providers.libvirt.backup_job import (
    end_backup,
    frozen,
    refuse_other_jobs,
    running_backup,
    socket_directory,
)
from coriolis.providers.libvirt.backup_xml import (
    BackupDisk,
    RunningBackup,
    backup_xml,
    bitmap_name,
    checkpoint_xml,
)
from coriolis.providers.libvirt.connection import Link, short_tag, tag
from coriolis.providers.libvirt.domain_xml import DiskSource, disk_sources
from coriolis.providers.libvirt.errors import is_code
from coriolis.providers.libvirt.images import fingerprint, look_at, remove_bitmap
from coriolis.providers.libvirt.inventory import disk_path, existing_xml

_OF_BLOCK_DEVICES = "/var/tmp"
_LOST_BITMAPS = (libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT, libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT)


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What one ``create`` works on. ``name``: of the checkpoint, unique to this point in time."""

    domain: libvirt.virDomain
    xml: ET.Element
    instance_id: str
    key: str
    name: str
    base: Snapshot | None
    environment: Environment

    @property
    def ref(self) -> str:
        return f"{self.instance_id}/{self.name}"

    def socket_name(self) -> str:
        return f"coriolis-{short_tag(self.key)}-{self.name.rpartition('.')[2]}.sock"


class LibvirtSnapshots:
    def __init__(self, link: Link) -> None:
        self._link = link

    def create(
        self, instance: Instance, base: Snapshot | None, key: str, environment: Environment, context: Context
    ) -> Snapshot:
        domain = self._link.existing_domain(instance.id)
        xml = existing_xml(self._link, domain)
        this = _Round(
            domain=domain,
            xml=xml,
            instance_id=instance.id,
            key=key,
            name=f"{tag(key)}.{secrets.token_hex(4)}",
            base=base,
            environment=environment,
        )
        with self._link.translated(f"asking for domain {instance.name}"):
            running = bool(domain.isActive())
        return self._of_running(this, context) if running else self._of_stopped(this, context)

    def _of_running(self, this: _Round, context: Context) -> Snapshot:
        job = running_backup(self._link, this.domain)
        if job is not None and f"/coriolis-{short_tag(this.key)}-" in job.socket:
            return self._describe(this, job)
        if job is not None and this.base is not None and job.socket == this.base.properties.get("socket"):
            end_backup(self._link, this.domain, job.socket)
        refuse_other_jobs(self._link, this.domain)
        self._delete_checkpoints(this.domain, this.key)
        context.check_cancelled()
        try:
            self._begin(this, context)
        except libvirt.libvirtError as error:
            with self._link.translated(f"asking for domain {this.domain.name()}"):
                if not this.domain.isActive():
                    raise Unavailable(f"domain {this.domain.name()} was switched off just now") from error
            with self._link.translated(f"beginning a backup of domain {this.domain.name()}"):
                raise
        job = running_backup(self._link, this.domain)
        if job is None:
            raise Unavailable(f"the backup job of domain {this.domain.name()} ended at once; was it switched off?")
        return self._describe(this, job)

    def _begin(self, this: _Round, context: Context) -> None:
        socket = f"{socket_directory(self._link, this.domain)}/{this.socket_name()}"
        disks = self._backup_disks(this)
        names = {disk.target for disk in disks}
        left_out = [
            target.get("dev", "")
            for target in this.xml.iterfind("./devices/disk/target")
            if target.get("dev") not in names
        ]
        wanted = bool(this.environment.get("freeze_filesystems", True))
        checkpoint = checkpoint_xml(this.name, disks, left_out)
        with frozen(self._link, this.domain, this.xml, context, wanted=wanted):
            try:
                this.domain.backupBegin(backup_xml(socket, disks, left_out), checkpoint)
            except libvirt.libvirtError as error:
                if not any(disk.since for disk in disks) or not is_code(error, *_LOST_BITMAPS):
                    raise
                context.event("WARNING", f"what changed since the last round is not known: {error}")
                whole = [BackupDisk(target=d.target, scratch=d.scratch, mark=d.mark) for d in disks]
                this.domain.backupBegin(backup_xml(socket, whole, left_out), checkpoint)

    def _backup_disks(self, this: _Round) -> list[BackupDisk]:
        with self._link.translated(f"reading the checkpoints of domain {this.domain.name()}"):
            keeps_marks = bool(this.domain.isPersistent()) and this.domain.snapshotNum() == 0
            known = {checkpoint.getName() for checkpoint in this.domain.listAllCheckpoints()}
        disks = []
        for source in disk_sources(this.xml):
            if source.read_only or source.transient:
                continue
            since = _marked_in(this.base, source.target)
            since = since if since in known and keeps_marks else None
            disks.append(
                BackupDisk(
                    target=source.target,
                    scratch=self._scratch(this, source),
                    since=since,
                    bitmap=bitmap_name(source.target) if since else None,
                    mark=keeps_marks and source.format == "qcow2",
                )
            )
        if not disks:
            raise Invalid(f"domain {this.domain.name()} has no disk that can be read while it runs")
        return disks

    def _scratch(self, this: _Round, source: DiskSource) -> str:
        folder = this.environment.get("scratch_directory")
        path = disk_path(self._link, source)
        if not folder and source.type in ("file", "volume") and path and not path.startswith("/dev/"):
            return f"{path}.{this.name}"
        return f"{folder or _OF_BLOCK_DEVICES}/{this.instance_id}-{source.target}.{this.name}"

    def _describe(self, this: _Round, job: RunningBackup) -> Snapshot:
        """The snapshot behind a running job of ours: the same for each call."""
        nonce = job.socket.rpartition("-")[2].removesuffix(".sock")
        name = f"{tag(this.key)}.{nonce}"
        formats = {source.target: source.format for source in disk_sources(this.xml)}
        disks = []
        with self._link.translated(f"reading the backup job of domain {this.domain.name()}"):
            marked = name in {checkpoint.getName() for checkpoint in this.domain.listAllCheckpoints()}
            sizes = {target: int(this.domain.blockInfo(target)[0]) for target in job.disks}
        for target, bitmap in job.disks.items():
            properties: dict[str, Any] = {"mode": "backup", "socket": job.socket, "export": target}
            if bitmap:
                properties["bitmap"] = bitmap
            if marked and formats.get(target) == "qcow2":
                properties["checkpoint"] = name
            disks.append(
                DiskSnapshot(
                    disk_id=target,
                    size_bytes=sizes[target],
                    identity=f"{this.instance_id}/{name}/{target}",
                    changes_since=_identity_in(this.base, target) if bitmap else None,
                    properties=properties,
                )
            )
        return Snapshot(
            ref=f"{this.instance_id}/{name}",
            instance_id=this.instance_id,
            disks=tuple(disks),
            properties={"mode": "backup", "socket": job.socket},
        )

    def _of_stopped(self, this: _Round, context: Context) -> Snapshot:
        disks = []
        for source in disk_sources(this.xml):
            context.check_cancelled()
            path = disk_path(self._link, source)
            if path is None:
                raise Invalid(
                    f"disk {source.target} of domain {this.domain.name()} is of type {source.type}: it can be read "
                    "while the domain runs only; start the domain"
                )
            image = look_at(self._link.host, path, source.format)
            since = _marked_in(this.base, source.target)
            bitmap = since if since in image.complete_bitmaps else None
            properties = {"mode": "image", "path": path, "format": source.format, "files": list(image.files)}
            if bitmap is not None:
                properties["bitmap"] = bitmap
            disks.append(
                DiskSnapshot(
                    disk_id=source.target,
                    size_bytes=image.size_bytes,
                    identity=image_identity(self._link, this.instance_id, source.target, list(image.files)),
                    changes_since=_identity_in(this.base, source.target) if bitmap else None,
                    properties=properties,
                )
            )
        return Snapshot(
            ref=f"{this.instance_id}/{tag(this.key)}.stopped",
            instance_id=this.instance_id,
            disks=tuple(disks),
            properties={"mode": "image"},
        )

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        if isinstance(ref, str) and ref:
            domain = self._link.domain(ref.partition("/")[0])
            domains = [] if domain is None else [domain]
        else:
            with self._link.translated("listing domains"):
                domains = self._link.connection.listAllDomains()
        for domain in domains:
            context.check_cancelled()
            try:
                self._delete_in(domain, key, named=bool(ref))
            except libvirt.libvirtError as error:
                if not is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                    with self._link.translated(f"deleting a snapshot of {domain.UUIDString()}"):
                        raise
        if self._link.socket_directory:
            prefix = f"{self._link.socket_directory}/coriolis-{short_tag(key)}-"
            run(self._link.host, ["sh", "-c", 'rm -f -- "$1"*.sock', "coriolis", prefix])

    def release(self, ref: Any, key: str, context: Context) -> None:
        """Ends the backup job; the checkpoint stays, and its bitmaps go on noting what is written."""
        domain = self._link.domain(str(ref).partition("/")[0])
        if domain is None:
            return
        job = running_backup(self._link, domain)
        if job is not None and f"/coriolis-{short_tag(key)}-" in job.socket:
            end_backup(self._link, domain, job.socket)

    def _delete_in(self, domain: libvirt.virDomain, key: str, *, named: bool) -> None:
        job = running_backup(self._link, domain)
        if job is not None and f"/coriolis-{short_tag(key)}-" in job.socket:
            end_backup(self._link, domain, job.socket)
        # On a stopped domain libvirt only forgets checkpoints. Their bitmaps go first: should that fail, the
        # checkpoints still tell that there is something to delete.
        if not domain.isActive() and (named or self._checkpoints(domain, key)):
            self._delete_bitmaps(domain, key)
        self._delete_checkpoints(domain, key)
        if named and (job is None or not domain.isActive()):
            self._delete_scratch(domain, key)

    def _delete_scratch(self, domain: libvirt.virDomain, key: str) -> None:
        """Scratch files, which libvirt removes with the job: unless the host went down with it."""
        paths = [disk_path(self._link, source) for source in disk_sources(existing_xml(self._link, domain))]
        prefixes = [f"{path}.{tag(key)}." for path in paths if path and not path.startswith("/dev/")]
        if prefixes:
            script = 'for prefix in "$@"; do rm -f -- "$prefix"????????; done'
            run(self._link.host, ["sh", "-c", script, "coriolis", *prefixes])

    def _checkpoints(self, domain: libvirt.virDomain, key: str) -> list[libvirt.virDomainCheckpoint]:
        return [c for c in domain.listAllCheckpoints() if c.getName().startswith(f"{tag(key)}.")]

    def _delete_checkpoints(self, domain: libvirt.virDomain, key: str) -> None:
        for checkpoint in self._checkpoints(domain, key):
            with self._link.translated(f"deleting checkpoint {checkpoint.getName()}"):
                self._delete_checkpoint(domain, checkpoint)

    def _delete_checkpoint(self, domain: libvirt.virDomain, checkpoint: libvirt.virDomainCheckpoint) -> None:
        try:
            if domain.isActive():
                try:
                    checkpoint.delete()
                    return
                except libvirt.libvirtError as error:
                    if not is_code(error, *_LOST_BITMAPS, libvirt.VIR_ERR_INTERNAL_ERROR):
                        raise
            # Of a stopped domain, or after a crash of QEMU that cost the bitmap.
            checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        except libvirt.libvirtError as error:
            if not is_code(error, libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT):
                raise

    def _delete_bitmaps(self, domain: libvirt.virDomain, key: str) -> None:
        """What checkpoints of ``key`` left in the images of a stopped domain."""
        for source in disk_sources(existing_xml(self._link, domain)):
            path = disk_path(self._link, source)
            if path is None or source.format != "qcow2":
                continue
            for name in look_at(self._link.host, path, source.format).bitmaps:
                if name.startswith(f"{tag(key)}."):
                    remove_bitmap(self._link.host, path, name)


def image_identity(link: Link, instance_id: str, target: str, files: list[str]) -> str:
    """Changes whenever the images of a stopped domain's disk were written."""
    return f"{instance_id}/image/{fingerprint(link.host, files)}/{target}"


def _disk_in(base: Snapshot | None, target: str) -> DiskSnapshot | None:
    return next((disk for disk in base.disks if disk.disk_id == target), None) if base else None


def _marked_in(base: Snapshot | None, target: str) -> str | None:
    """The checkpoint whose bitmap tells what changed since ``base``."""
    disk = _disk_in(base, target)
    return disk.properties.get("checkpoint") if disk else None


def _identity_in(base: Snapshot | None, target: str) -> str | None:
    disk = _disk_in(base, target)
    return disk.identity if disk else None
