# SPDX-License-Identifier: Apache-2.0
"""The one backup job that a running domain can have: look at it, begin it, end it."""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import libvirt

from coriolis.providers.api import Conflict, Context, Invalid, Unavailable
from coriolis.providers.libvirt.backup_xml import RunningBackup, read_backup
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.errors import is_code

_END_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LIB = "/var/lib/libvirt/qemu"
_AGENT = "org.qemu.guest_agent.0"
_NOT_RUNNING = (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN)


def running_backup(link: Link, domain: libvirt.virDomain) -> RunningBackup | None:
    """The domain's backup job, whoever began it."""
    with link.translated("asking for a backup job"):
        try:
            return read_backup(domain.backupGetXMLDesc())
        except libvirt.libvirtError as error:
            if is_code(error, *_NOT_RUNNING):
                return None
            raise


def refuse_other_jobs(link: Link, domain: libvirt.virDomain) -> None:
    """:raises Conflict: the domain has a job already, of a backup or otherwise; says whose"""
    backup = running_backup(link, domain)
    name = domain.name()
    if backup is not None:
        whose = "of another Coriolis execution" if "/coriolis-" in backup.socket else "of another program"
        raise Conflict(
            f"domain {name} has a backup job {whose} already (its socket is {backup.socket or 'a TCP port'}); wait "
            f"until it ends, or end it: virsh -c '{link.uri}' domjobabort {name}"
        )
    with link.translated(f"asking for the jobs of domain {name}"):
        kind = domain.jobInfo()[0]
    if kind != libvirt.VIR_DOMAIN_JOB_NONE:
        raise Conflict(f"domain {name} has another job running (a migration, save or dump); try when it has ended")


def end_backup(link: Link, domain: libvirt.virDomain, socket: str) -> None:
    """Ends the backup job that listens on ``socket``; content when there is none."""
    end = time.monotonic() + _END_SECONDS
    asked = False
    while True:
        backup = running_backup(link, domain)
        if backup is None or backup.socket != socket:
            return
        if not asked:
            with link.translated(f"ending the backup job of domain {domain.name()}"):
                try:
                    domain.abortJob()
                except libvirt.libvirtError:
                    if running_backup(link, domain) is not None:
                        raise
            asked = True
        if time.monotonic() > end:
            raise Unavailable(f"the backup job of domain {domain.name()} does not end")
        time.sleep(_POLL_SECONDS)


def socket_directory(link: Link, domain: libvirt.virDomain) -> str:
    """A folder on the host in which QEMU may open a socket. The default is the domain's own one, which security
    drivers let it use; its name is libvirt's: number and first 20 characters of the name."""
    if link.socket_directory:
        return link.socket_directory.rstrip("/")
    if link.address.path != "/system":
        raise Invalid("connection info: socket_directory is needed with qemu:///session")
    return f"{_LIB}/domain-{domain.ID()}-{domain.name()[:20]}"


@contextlib.contextmanager
def frozen(link: Link, domain: libvirt.virDomain, xml: ET.Element, context: Context, *, wanted: bool) -> Iterator[None]:
    """The guest's file systems are at rest within the block, when its agent runs; otherwise nothing is done."""
    channel = xml.find(f"./devices/channel/target[@name='{_AGENT}']")
    if not wanted or channel is None or channel.get("state") != "connected":
        yield
        return
    try:
        domain.fsFreeze()
        is_frozen = True
    except libvirt.libvirtError as error:
        context.event("WARNING", f"the guest agent did not freeze the file systems: {error}")
        is_frozen = False
    try:
        yield
    finally:
        if is_frozen:
            with link.translated("thawing the guest's file systems"):
                domain.fsThaw()
