# SPDX-License-Identifier: Apache-2.0
"""Room for what reading needs for a while."""

from __future__ import annotations

import pytest

from coriolis.providers.api import Disk
from coriolis.providers.openstack.read_checks import Room, of_room

GIB = 1 << 30
DISKS = [Disk(id="a", size_bytes=3 * GIB), Disk(id="b", size_bytes=GIB + 1)]


@pytest.mark.parametrize(
    ("things", "needed"),
    [("snapshots", 2), ("volumes", 2), ("GiB", 2 * (3 + 2))],
)
def test_what_two_volumes_need(things: str, needed: int) -> None:
    assert not list(of_room([Room(things=things, limit=10 + needed, used=10)], DISKS))
    (said,) = of_room([Room(things=things, limit=9 + needed, used=10)], DISKS)
    assert said.blocking
    assert f"{needed} more {things}" in said.message


def test_unlimited_quota_is_enough() -> None:
    assert not list(of_room([Room(things="GiB", limit=-1, used=10**6)], DISKS))
