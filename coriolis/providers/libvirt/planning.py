# SPDX-License-Identifier: Apache-2.0
"""What the destination would make of an instance, and what stands in the way."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import libvirt

from coriolis.providers.api import (
    Concern,
    Conflict,
    Context,
    Disk,
    Environment,
    Firmware,
    Instance,
    Invalid,
    Layout,
    Need,
    Network,
    Nic,
    PlannedDisk,
    PlannedNic,
    Purpose,
    boot_disk,
    choose_network,
    choose_storage,
)
from coriolis.providers.api.hosts import run
from coriolis.providers.libvirt.connection import Link
from coriolis.providers.libvirt.define_xml import Hardware
from coriolis.providers.libvirt.domain_xml import disk_sources, parse
from coriolis.providers.libvirt.errors import is_code
from coriolis.providers.libvirt.inventory import existing_xml
from coriolis.providers.libvirt.networks import list_networks, resolve_network
from coriolis.providers.libvirt.storage import BLOCK_POOLS, Pool, default_pool, list_pools, resolve_pool

_SECTOR = 512
_MIB = 1 << 20
_FORBIDDEN_IN_NAMES = set("/\n\r\0")
_READABLE_DISKS = ("file", "block", "volume")


class LibvirtPlanning:
    def __init__(self, link: Link) -> None:
        self._link = link

    def check_source(self, instance: Instance, environment: Environment, context: Context) -> list[Concern]:
        domain = self._link.existing_domain(instance.id)
        xml = existing_xml(self._link, domain)
        with self._link.translated(f"reading domain {instance.name}"):
            has_snapshots = domain.snapshotNum() > 0
        concerns = []
        for disk in disk_sources(xml):
            if disk.type not in _READABLE_DISKS and not instance.running:
                message = f"disk {disk.target} is of type {disk.type}: it can be read while the domain runs only"
                concerns.append(Concern(code="libvirt.disk_not_readable", message=message, blocking=True))
            if disk.format != "qcow2":
                message = f"disk {disk.target} is {disk.format}: it keeps no dirty bitmap and is read whole each time"
                concerns.append(Concern(code="libvirt.no_increments", message=message))
        if not instance.devices.disks:
            concerns.append(Concern(code="libvirt.no_disks", message="the domain has no disks", blocking=True))
        if has_snapshots:
            message = "the domain has libvirt snapshots, which rule out checkpoints: disks are read whole each time"
            concerns.append(Concern(code="libvirt.no_increments", message=message))
        for device, what in (("hostdev", "devices of the host"), ("tpm", "a TPM, whose state does not move")):
            if xml.find(f"./devices/{device}") is not None:
                concerns.append(Concern(code=f"libvirt.{device}", message=f"the domain has {what}"))
        return concerns

    def plan(
        self,
        instance: Instance,
        environment: Environment,
        network_map: dict[str, Any],
        storage_mappings: dict[str, Any],
        context: Context,
    ) -> Layout:
        name = self._name(instance, environment, context)
        hardware, concerns = self._hardware(instance, environment)
        context.check_cancelled()
        networks = list_networks(self._link)
        nics = tuple(_plan_nic(nic, networks, network_map, environment) for nic in instance.devices.nics)
        pools = list_pools(self._link)
        boot = boot_disk(instance)
        disks = tuple(
            _plan_disk(disk, pools, storage_mappings, environment, boot=disk.id == boot)
            for disk in instance.devices.disks
        )
        made = tuple(disk for disk in disks if disk.disk_id not in context.present)
        overcommit = bool(environment.get("overcommit_storage", False))
        concerns += check_room(made, pools, overcommit=overcommit)
        concerns += self._check_size(instance)
        return Layout(
            name=name,
            disks=disks,
            nics=nics,
            properties={"hardware": dataclasses.asdict(hardware), "autostart": bool(environment.get("autostart"))},
            concerns=tuple(concerns),
            needs=() if overcommit else tuple(needs_of(made, pools)),
        )

    def _name(self, instance: Instance, environment: Environment, context: Context) -> str:
        name = (environment.get("domain_name") or instance.name) + environment.get("name_suffix", "")
        if not name.strip() or _FORBIDDEN_IN_NAMES & set(name) or len(name) > 200:
            raise Invalid(
                f"{name!r} cannot be the name of a domain; give another as domain_name in destination_environment"
            )
        if context.purpose is Purpose.REPLICATE or not self._is_taken(name):
            return name
        if context.purpose is Purpose.DEPLOY:
            return next(free for n in itertools.count(2) if not self._is_taken(free := f"{name}-{n}"))
        raise Conflict(
            f"the destination has a domain named {name} already; remove it, or give domain_name or name_suffix in "
            "destination_environment"
        )

    def _is_taken(self, name: str) -> bool:
        with self._link.translated(f"looking for domain {name}"):
            try:
                self._link.connection.lookupByName(name)
            except libvirt.libvirtError as error:
                if is_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                    return False
                raise
        return True

    def _hardware(self, instance: Instance, environment: Environment) -> tuple[Hardware, list[Concern]]:
        hardware = Hardware(
            machine=environment.get("machine", "q35"),
            disk_bus=environment.get("disk_bus", "virtio"),
            nic_model=environment.get("nic_model", "virtio"),
            graphics=environment.get("graphics", "none"),
            firmware=instance.firmware_type.value,
            secure_boot=instance.secure_boot and instance.firmware_type is Firmware.EFI,
            accel=resolve_accel(self._link, environment.get("accel", "auto")),
        )
        if hardware.machine == "q35" and hardware.disk_bus == "ide":
            raise Invalid("destination_environment: machine q35 has no IDE bus; use disk_bus sata, or machine pc")
        if hardware.machine != "q35" and hardware.secure_boot:
            raise Invalid("destination_environment: the instance uses secure boot, which needs machine q35")
        self._check_firmware(hardware)
        concerns = []
        if hardware.accel == "tcg":
            message = "the host offers no hardware virtualisation: the new domain is emulated and slow"
            concerns.append(Concern(code="libvirt.emulated", message=message))
        return hardware, concerns

    def _check_firmware(self, hardware: Hardware) -> None:
        if hardware.firmware != Firmware.EFI.value:
            return
        kind = "kvm" if hardware.accel == "kvm" else "qemu"
        with self._link.translated("asking what the host can run"):
            xml = parse(self._link.connection.getDomainCapabilities(None, "x86_64", hardware.machine, kind))
        offered = {value.text for value in xml.iterfind("./os/enum[@name='firmware']/value")}
        secure = {value.text for value in xml.iterfind("./os/loader/enum[@name='secure']/value")}
        if "efi" not in offered:
            raise Invalid("the instance boots by EFI and the host has no EFI firmware; install OVMF (package ovmf)")
        if hardware.secure_boot and "yes" not in secure:
            raise Invalid("the instance uses secure boot and the host's EFI firmware has none; install OVMF's")

    def _check_size(self, instance: Instance) -> list[Concern]:
        with self._link.translated("asking for the host's size"):
            info = self._link.connection.getInfo()
        memory_mib, cpus = int(info[1]), int(info[2])
        concerns = []
        if instance.memory_mb < 1 or instance.num_cpu < 1:
            raise Invalid(f"instance {instance.name} has {instance.num_cpu} CPUs and {instance.memory_mb} MiB")
        if instance.memory_mb > memory_mib:
            message = f"the instance has {instance.memory_mb} MiB of memory, the host {memory_mib} MiB"
            concerns.append(Concern(code="libvirt.memory", message=message, blocking=True))
        if instance.num_cpu > cpus:
            message = f"the instance has {instance.num_cpu} CPUs, the host {cpus}"
            concerns.append(Concern(code="libvirt.cpus", message=message))
        return concerns


def needs_of(disks: tuple[PlannedDisk, ...], pools: list[Pool]) -> list[Need]:
    """What the disks may grow to."""
    return [
        Need(name=f"storage pool {pool.name}", count=-(-size // _MIB), free=pool.available // _MIB, unit="MiB")
        for pool in pools
        if (size := sum(disk.size_bytes for disk in disks if disk.storage == pool.name))
    ]


def check_room(disks: tuple[PlannedDisk, ...], pools: list[Pool], *, overcommit: bool) -> list[Concern]:
    """:raises Invalid: a pool has less free space than the disks may grow to, and ``overcommit`` is not wanted"""
    concerns = []
    for need in needs_of(disks, pools):
        if need.count <= need.free:
            continue
        message = f"{need.name} has {need.free} MiB free and the disks may grow to {need.count} MiB"
        if not overcommit:
            raise Invalid(
                message + "; free some, map the disks to another pool, or set overcommit_storage in "
                "destination_environment"
            )
        concerns.append(Concern(code="libvirt.overcommit", message=message))
    return concerns


def _plan_nic(nic: Nic, networks: list[Network], network_map: dict[str, Any], environment: Environment) -> PlannedNic:
    network = resolve_network(networks, choose_network(nic, network_map, environment))
    keep = environment.get("keep_mac_addresses", True)
    return PlannedNic(nic_id=nic.id, network=network, mac_address=nic.mac_address if keep else None)


def _plan_disk(
    disk: Disk, pools: list[Pool], mappings: dict[str, Any], environment: Environment, *, boot: bool
) -> PlannedDisk:
    wanted = choose_storage(disk, mappings) or default_pool(pools, environment)
    if wanted is None:
        raise Invalid(
            f"storage_mappings: disk {disk.id} is not mapped and the destination has no default pool; give a default "
            "in storage_mappings, or storage_pool in destination_environment"
        )
    pool = resolve_pool(pools, wanted)
    volume_format = "raw" if pool.type in BLOCK_POOLS else environment.get("volume_format", "qcow2")
    return PlannedDisk(
        disk_id=disk.id,
        size_bytes=-(-disk.size_bytes // _SECTOR) * _SECTOR,
        storage=pool.name,
        boot=boot,
        properties={"volume_format": volume_format},
    )


def resolve_accel(link: Link, wanted: str) -> str:
    """kvm or tcg. KVM must be offered by QEMU and by the processor: /dev/kvm alone may be there and be useless.

    :raises Invalid: kvm is asked for and not there
    """
    if wanted == "tcg":
        return "tcg"
    with link.translated("asking what the host can run"):
        xml = parse(link.connection.getCapabilities())
    offered = xml.find("./guest/arch[@name='x86_64']/domain[@type='kvm']") is not None
    if offered and run(link.host, ["grep", "-qwE", "vmx|svm", "/proc/cpuinfo"]).returncode == 0:
        return "kvm"
    if wanted == "kvm":
        raise Invalid("destination_environment: accel is kvm, and the host has no usable KVM; use auto or tcg")
    return "tcg"
