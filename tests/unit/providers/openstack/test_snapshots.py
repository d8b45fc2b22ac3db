# SPDX-License-Identifier: Apache-2.0
"""Points in time that do not come to be."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coriolis.providers.api import Conflict, Context, Devices, Disk, Instance
from coriolis.providers.openstack.snapshots import OpenStackSnapshots

KEY = "6c2f5a0e-58a5-4bd5-9a57-0b1a6f2f1c11"
SERVER = Instance(id="i", name="web", num_cpu=1, memory_mb=64, devices=Devices(disks=(Disk(id="v", size_bytes=1),)))


class _Cinder:
    """Its snapshots end in error. It says why, or nothing."""

    def __init__(self, *said: str) -> None:
        self._told = [{"user_message": one} for one in said]

    def create_snapshot(self, **given: Any) -> Any:
        return SimpleNamespace(id="s", volume_id=given["volume_id"], status="creating")

    def get_snapshot(self, ident: str) -> Any:
        return SimpleNamespace(id=ident, volume_id="v", status="error")

    def get(self, path: str, *, params: dict[str, str], microversion: str) -> Any:
        assert (path, params) == ("/messages", {"resource_uuid": "s"})
        return SimpleNamespace(ok=True, json=lambda: {"messages": self._told})


@pytest.mark.parametrize(
    ("said", "told"), [(("no room",), "ended in status error: no room"), ((), "ended in status error")]
)
def test_a_snapshot_that_fails_is_told_in_cinders_words(tmp_path: Path, said: tuple[str, ...], told: str) -> None:
    cloud: Any = SimpleNamespace(cinder=_Cinder(*said), name="cloud")
    context = Context(log=logging.getLogger(), scratch=tmp_path, new_keys=frozenset({KEY}))
    with pytest.raises(Conflict, match=f"^snapshot s of volume v {told}$"):
        OpenStackSnapshots(cloud).create(SERVER, None, KEY, {}, context)
