# SPDX-License-Identifier: Apache-2.0
"""Domains: defined from an instance and its volumes on a destination, started and stopped on both sides."""

from __future__ import annotations

import time
import uuid
from typing import Any

import libvirt

from coriolis.providers.api import Conflict, Context, Deployed, Environment, Gone, Instance, Layout, Unavailable, Volume
from coriolis.providers.api.exports import forget_writers
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.define_xml import Definition, Hardware, VolumeFile, define_xml, serial_log
from coriolis.providers.libvirt.domain_xml import disk_sources, our_key
from coriolis.providers.libvirt.errors import is_code
from coriolis.providers.libvirt.inventory import domain_xml, existing_xml, read_instance
from coriolis.providers.libvirt.storage import find_volume
from coriolis.providers.libvirt.volumes import record_path

_KEYS = uuid.UUID("5bb1a4f0-6c0f-4f0a-9d5e-6f1d3f0f5c11")  # namespace of our domains' UUIDs
_POLL_SECONDS = 0.25
_ASK_AGAIN_SECONDS = 10.0  # a guest that was booting misses the first ACPI event
_OFF_SECONDS = 30.0
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


def domain_uuid(key: str) -> str:
    """The UUID of the domain that is made with ``key``."""
    return str(uuid.uuid5(_KEYS, key))


class LibvirtCompute:
    def __init__(self, link: Link) -> None:
        self._link = link

    def create(
        self,
        instance: Instance,
        layout: Layout,
        volumes: list[Volume],
        key: str,
        environment: Environment,
        context: Context,
    ) -> Deployed:
        domain = self._ours(domain_uuid(key), key)
        if domain is None:
            self._refuse_taken_name(layout.name)
            definition = Definition(
                uuid=domain_uuid(key),
                key=key,
                instance=instance,
                layout=layout,
                hardware=Hardware(**layout.properties["hardware"]),
                log=serial_log(layout.name) if self._link.address.path == "/system" else None,
                files={volume.disk_id: self._file(volume) for volume in volumes},
            )
            missing = [disk.disk_id for disk in layout.disks if disk.disk_id not in definition.files]
            if missing:
                raise Gone(f"no volume was made for disk {missing[0]}")
            context.check_cancelled()
            with self._link.translated(f"defining domain {layout.name}"):
                domain = self._link.connection.defineXMLFlags(
                    define_xml(definition), libvirt.VIR_DOMAIN_DEFINE_VALIDATE
                )
        if layout.properties.get("autostart"):
            with self._link.translated(f"setting autostart of domain {layout.name}"):
                domain.setAutostart(1)
        return self._deployed(domain, with_instance=True)

    def delete(self, ref: Any | None, key: str, context: Context) -> None:
        domain = self._ours(str(ref) if ref else domain_uuid(key), key)
        if domain is None:
            return
        with self._link.translated(f"removing domain {domain.name()}"):
            try:
                if domain.isActive():
                    self._switch_off(domain)
                domain.undefineFlags(_UNDEFINE)
            except libvirt.libvirtError as error:
                if not is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                    raise

    def is_running(self, ref: str, context: Context) -> bool:
        with self._link.translated(f"asking for domain {ref}"):
            return bool(self._link.existing_domain(ref).isActive())

    def start(self, ref: str, context: Context) -> Deployed:
        domain = self._link.existing_domain(ref)
        with self._link.translated(f"starting domain {domain.name()}"):
            try:
                if not domain.isActive():
                    domain.create()
            except libvirt.libvirtError:
                if not domain.isActive():  # otherwise somebody else was faster
                    raise
        xml = existing_xml(self._link, domain)
        if our_key(xml) is not None:
            paths = [source.path for source in disk_sources(xml) if source.path]
            forget_writers(self._link.host, [record_path(path) for path in paths])
        return self._deployed(domain)

    def stop(self, ref: str, context: Context) -> None:
        domain = self._link.existing_domain(ref)
        end = time.monotonic() + self._link.grace_seconds
        if context.deadline is not None:
            end = min(end, context.deadline - _OFF_SECONDS)
        ask_at = 0.0
        with self._link.translated(f"stopping domain {domain.name()}"):
            while domain.isActive():
                now = time.monotonic()
                if now >= end:
                    context.event("WARNING", f"domain {domain.name()} did not shut down in time and is switched off")
                    self._switch_off(domain)
                    return
                if now >= ask_at:
                    self._ask(domain)
                    ask_at = now + _ASK_AGAIN_SECONDS
                if context.cancelled.wait(_POLL_SECONDS):
                    context.check_cancelled()

    def _ask(self, domain: libvirt.virDomain) -> None:
        try:
            domain.shutdown()
        except libvirt.libvirtError:
            if domain.isActive():
                raise

    def _switch_off(self, domain: libvirt.virDomain) -> None:
        """Gently for QEMU first: it then saves dirty bitmaps."""
        for flags in (libvirt.VIR_DOMAIN_DESTROY_GRACEFUL, libvirt.VIR_DOMAIN_DESTROY_DEFAULT):
            try:
                domain.destroyFlags(flags)
            except libvirt.libvirtError as error:
                if domain.isActive() and flags == libvirt.VIR_DOMAIN_DESTROY_DEFAULT:
                    raise Unavailable(f"domain {domain.name()} does not end: {error}") from error
            if not domain.isActive():
                return

    def _ours(self, ref: str, key: str) -> libvirt.virDomain | None:
        """The domain, when it is there and was made with ``key``. :raises Conflict: it is somebody else's"""
        domain = self._link.domain(ref)
        xml = None if domain is None else domain_xml(self._link, domain)
        if xml is None:
            return None
        if our_key(xml) != key:
            raise Conflict(f"domain {xml.findtext('name')} ({ref}) was not made by this migration")
        return domain

    def _refuse_taken_name(self, name: str) -> None:
        with self._link.translated(f"looking for domain {name}"):
            try:
                self._link.connection.lookupByName(name)
            except libvirt.libvirtError as error:
                if is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                    return
                raise
        raise Conflict(
            f"the destination has a domain named {name} already, which is not ours; remove it, or give domain_name or "
            "name_suffix in destination_environment"
        )

    def _file(self, volume: Volume) -> VolumeFile:
        pool, _, name = volume.ref.partition("/")
        found = find_volume(self._link, pool, name)
        if found is None:
            raise Gone(f"there is no volume {volume.ref} on {self._link.uri}")
        return VolumeFile(path=str(found.path()), format=volume.properties["format"], type=volume.properties["type"])

    def _deployed(self, domain: libvirt.virDomain, *, with_instance: bool = False) -> Deployed:
        xml = existing_xml(self._link, domain)
        name = xml.findtext("name", "")
        log = xml.find("./devices/serial/log")
        console = f"virsh -c '{self._link.uri}' console {name}"
        if log is not None:
            console += f" (what it printed: {log.get('file')})"
        with self._link.translated(f"asking for domain {name}"):
            running = bool(domain.isActive())
        return Deployed(
            ref=domain.UUIDString(),
            name=name,
            running=running,
            console=console,
            instance=read_instance(self._link, domain) if with_instance else None,
        )
