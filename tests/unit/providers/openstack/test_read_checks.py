# SPDX-License-Identifier: Apache-2.0
"""Room for what reading needs for a while."""

from __future__ import annotations

from coriolis.providers.api import Disk
from coriolis.providers.openstack.quotas import Needs
from coriolis.providers.openstack.read_checks import needs

GIB = 1 << 30


def test_what_two_volumes_need() -> None:
    disks = [Disk(id="a", size_bytes=3 * GIB), Disk(id="b", size_bytes=GIB + 1)]
    assert needs(disks) == Needs(volume={"snapshots": 2, "volumes": 2, "gigabytes": 2 * (3 + 2)})


def test_no_volume_needs_nothing() -> None:
    assert not any(needs([]).volume.values())
