# SPDX-License-Identifier: Apache-2.0
"""What ``network_map``, ``storage_mappings`` and the boot order of an instance mean, alike for every destination."""

from __future__ import annotations

from typing import Any

from coriolis.providers.api.errors import Invalid
from coriolis.providers.api.model import Disk, Instance, Nic


def boot_disk(instance: Instance) -> str | None:
    """The first disk of the boot order, otherwise the first disk."""
    ids = [disk.id for disk in instance.devices.disks]
    for entry in instance.boot_order:
        if entry.get("type") == "disk" and entry.get("id") in ids:
            return str(entry["id"])
    return ids[0] if ids else None


def choose_storage(disk: Disk, mappings: dict[str, Any]) -> str | None:
    """The mapped destination: of the disk itself, of its storage backend, the default; None when there is none."""
    for mapping in mappings.get("disk_mappings") or ():
        if str(mapping.get("disk_id")) == disk.id:
            return str(mapping["destination"])
    for mapping in mappings.get("backend_mappings") or ():
        if disk.storage_backend_identifier and mapping.get("source") == disk.storage_backend_identifier:
            return str(mapping["destination"])
    return str(mappings["default"]) if mappings.get("default") else None


def network_entry(nic: Nic, network_map: dict[str, Any]) -> Any | None:
    """What ``network_map`` has for the NIC, by the source network's name or id."""
    for source in (nic.network_name, nic.network_id):
        if source is not None and source in network_map:
            return network_map[source]
    return None


def choose_network(nic: Nic, network_map: dict[str, Any], environment: dict[str, Any]) -> str:
    """The mapped destination network: an id or a name. :raises Invalid: it is not mapped"""
    target = network_entry(nic, network_map)
    if target is None:
        if environment.get("network"):
            return str(environment["network"])
        raise Invalid(
            f"network_map: network {nic.network_name} of the instance is not mapped; map it, or give network in "
            "destination_environment"
        )
    if isinstance(target, dict):
        target = target.get("id") or target.get("name")
    if isinstance(target, str) and target:
        return target
    raise Invalid(f"network_map: {nic.network_name} must be mapped to the id or name of a network")
