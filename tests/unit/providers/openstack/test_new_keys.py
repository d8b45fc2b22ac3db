# SPDX-License-Identifier: Apache-2.0
"""With a key that nobody used before, the cloud is asked for nothing that could be there already."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from coriolis.providers.api import Context, Layout, PlannedDisk, PlannedNic
from coriolis.providers.openstack.ports import ensure_floating_address, ensure_ports
from coriolis.providers.openstack.temporaries import Temporaries
from coriolis.providers.openstack.volumes import OpenStackVolumes

KEY = "6c2f5a0e-58a5-4bd5-9a57-0b1a6f2f1c11"
_MADE = {
    "size": 1,
    "status": "available",
    "source_volume_id": None,
    "is_encrypted": False,
    "volume_type": None,
    "max_microversion": (3, 70),
    "floating_ip_address": "192.0.2.1",
}


class _Service:
    """Makes things, and notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **given: Any) -> Any:
            self.asked.append(name)
            if name == "create_ports":
                return [SimpleNamespace(id=f"id of {body['name']}", name=body["name"]) for body in args[0]]
            if name.startswith(("create_", "get_")):
                return SimpleNamespace(id="made", **_MADE)
            return []

        return call


def _cloud(service: _Service) -> Any:
    sdk = SimpleNamespace(network=service, image=service)
    return SimpleNamespace(
        sdk=sdk, cinder=service, name="cloud", project_id="p", proven=False, has_service=lambda _type: True
    )


def _context(folder: Path, *new: str) -> Context:
    return Context(log=logging.getLogger(), scratch=folder, new_keys=frozenset(new))


def test_ports_and_addresses() -> None:
    layout = Layout(
        name="web", disks=(), nics=(PlannedNic(nic_id="a", network="n"), PlannedNic(nic_id="b", network="n"))
    )
    for new, lookups in ((True, []), (False, ["ports", "ips"])):
        service = _Service()
        assert ensure_ports(_cloud(service), layout, KEY, new=new) == ["id of web-0", "id of web-1"]
        assert ensure_floating_address(_cloud(service), "ext", "p", KEY, new=new) == "192.0.2.1"
        assert [name for name in service.asked if name in ("ports", "ips")] == lookups


def test_points_in_time(tmp_path: Path) -> None:
    for new, lookups in ((True, []), (False, ["snapshots", "volumes", "images"])):
        service = _Service()
        mine = Temporaries(cloud=_cloud(service), mark="m", context=_context(tmp_path), new=new)
        assert (mine.snapshots(), mine.volumes(), mine.images()) == ([], [], [])
        assert service.asked == lookups


def test_volumes(tmp_path: Path) -> None:
    disk = PlannedDisk(disk_id="a", size_bytes=1 << 30)
    layout = Layout(name="web", disks=(disk,))
    for new, lookups in (((KEY,), []), ((), ["volumes"])):
        service = _Service()
        environment = {"replica_import_mechanism": "image"}
        context = _context(tmp_path, *new)
        volume = OpenStackVolumes(_cloud(service)).create(disk, layout, KEY, environment, context)
        assert volume.properties["transport"] == "image"
        assert [name for name in service.asked if name == "volumes"] == lookups
        assert "create_volume" in service.asked
