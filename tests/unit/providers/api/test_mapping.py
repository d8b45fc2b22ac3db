# SPDX-License-Identifier: Apache-2.0
"""Maps of networks and storage, and which disk boots."""

from __future__ import annotations

from typing import Any

import pytest

from coriolis.providers.api import (
    Devices,
    Disk,
    Instance,
    Invalid,
    Nic,
    boot_disk,
    choose_network,
    choose_storage,
    network_entry,
)


@pytest.mark.parametrize(
    ("mappings", "expected"),
    [
        ({}, None),
        ({"default": "d"}, "d"),
        ({"default": "d", "backend_mappings": [{"source": "slow", "destination": "b"}]}, "b"),
        ({"default": "d", "backend_mappings": [{"source": "other", "destination": "b"}]}, "d"),
        (
            {
                "default": "d",
                "backend_mappings": [{"source": "slow", "destination": "b"}],
                "disk_mappings": [{"disk_id": "vda", "destination": "x"}],
            },
            "x",
        ),
    ],
)
def test_a_disk_mapping_wins_over_a_backend_over_the_default(mappings: dict[str, Any], expected: str | None) -> None:
    disk = Disk(id="vda", size_bytes=1, storage_backend_identifier="slow")
    assert choose_storage(disk, mappings) == expected


def test_networks_are_mapped_by_name_or_id() -> None:
    nic = Nic(id="1", network_name="VM Network", network_id="network-7")
    assert choose_network(nic, {"VM Network": "a"}, {}) == "a"
    assert choose_network(nic, {"network-7": {"id": "b"}}, {}) == "b"
    assert choose_network(nic, {}, {"network": "c"}) == "c"
    with pytest.raises(Invalid, match="VM Network of the instance is not mapped"):
        choose_network(nic, {"other": "a"}, {})
    with pytest.raises(Invalid, match="must be mapped"):
        choose_network(nic, {"VM Network": 5}, {})


def test_an_entry_of_the_network_map_may_say_more() -> None:
    nic = Nic(id="1", network_name="VM Network", network_id="network-7")
    entry = {"name": "b", "security_groups": ["web"]}
    assert network_entry(nic, {"network-7": entry}) == entry
    assert network_entry(nic, {"VM Network": "a", "network-7": entry}) == "a"
    assert network_entry(nic, {}) is None


def test_the_boot_disk_is_the_first_of_the_boot_order() -> None:
    disks = Devices(disks=(Disk(id="a", size_bytes=1), Disk(id="b", size_bytes=1)))
    instance = Instance(id="1", name="n", num_cpu=1, memory_mb=1, devices=disks)
    assert boot_disk(instance) == "a"
    order = ({"type": "nic", "id": "b"}, {"type": "disk", "id": "b"})
    assert boot_disk(Instance(**{**vars(instance), "boot_order": order})) == "b"
    assert boot_disk(Instance(id="1", name="n", num_cpu=1, memory_mb=1)) is None
