# SPDX-License-Identifier: Apache-2.0
"""A pool of real minions: domains of a libvirt host, made, used by a migration, checked, replaced, removed.

By the command line, as an operator does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import tiny_guest
from tests.integration.libvirt_lab import Lab
from tests.ovf_packages import ova
from tests.service import standalone_process
from tests.service.standalone_process import Standalone, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    with standalone_process.running(tmp_path / "state") as made:
        yield made


@pytest.fixture
def ends(standalone: Standalone, lab: Lab, tmp_path: Path) -> tuple[str, str]:
    """A package with one machine, and the libvirt host of the minions."""
    tiny_guest.qcow2_disk(lab.host.pool / "minion.qcow2")
    lab.raw.storagePoolLookupByName("default").refresh()
    package = ova(tmp_path / "vm.ova", tiny_guest.boot_sector() * 2048)
    libvirt = {**lab.host.connection_info, "shutdown_grace_seconds": 1}
    made = [
        standalone.client.create_endpoint(name=kind, type=kind, connection_info=info).id
        for kind, info in (("ova", {"path": str(package)}), ("libvirt", libvirt))
    ]
    return made[0], made[1]


def minions(lab: Lab) -> dict[str, bool]:
    """Name of each domain of the pool: whether it runs."""
    return {each.name(): bool(each.isActive()) for each in lab.raw.listAllDomains() if each.name().startswith("spare")}


def show(standalone: Standalone) -> dict[str, Any]:
    shown: dict[str, Any] = standalone.cli("minion", "pool", "show", "spare", "-f", "json")
    return shown


def test_a_pool_lives(standalone: Standalone, ends: tuple[str, str], lab: Lab, tmp_path: Path) -> None:
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"image": "minion.qcow2", "memory_mb": 64}))
    made = standalone.cli(
        "minion", "pool", "create", "--name", "spare", "--endpoint", "libvirt", "--platform", "destination",
        "--os-type", "linux", "--environment", str(options), "--minimum-minions", "1", "--maximum-minions", "2",
        "--minion-max-idle-time", "1", "--wait", "-f", "json",
    )  # fmt: skip
    assert made["status"] == "ALLOCATED"
    assert list(minions(lab).values()) == [True]
    (machine,) = made["minion_machines"]
    assert (machine["allocation_status"], machine["power_status"]) == ("AVAILABLE", "POWERED_ON")
    pool = show(standalone)
    (step,) = pool["progress_updates"]
    assert (step["current_step"], step["total_steps"], step["message"]) == (2, 2, f"{step['item']} is ready")
    assert any(event["message"].startswith("Made the minion") for event in pool["events"])

    # A minion that died is replaced when the pool is refreshed; one that was switched off is started.
    (name,) = minions(lab)
    lab.domain(name).destroy()
    standalone.cli("minion", "pool", "refresh", "spare", "--wait")
    assert minions(lab) == {name: True}
    lab.domain(name).destroy()
    lab.domain(name).undefine()
    standalone.cli("minion", "pool", "refresh", "spare", "--wait")
    assert minions(lab) == {name: True}

    migration = standalone.client.create_migration(
        origin_endpoint_id=ends[0],
        destination_endpoint_id=ends[1],
        instances=[standalone.cli("endpoint", "instance", "list", "ova", "-f", "json")[0]["Name"]],
        network_map={"VM Network": "user"},
        storage_mappings={"default": "default"},
        destination_environment={"name_suffix": "-moved"},
        destination_minion_pool_id=made["id"],
        skip_os_morphing=True,
    )
    assert migration.status == "AWAITING_MINION_ALLOCATIONS"
    done = standalone.client.wait_for_migration(migration.id, timeout=180)
    assert done.status == "COMPLETED", [event.message for event in standalone.client.migration_events(migration.id)]
    wait_for(lambda: [m["allocation_status"] for m in show(standalone)["minion_machines"]] == ["AVAILABLE"], 60)

    assert "used by minion pool" in standalone.cli("endpoint", "delete", "libvirt", fails=True)
    standalone.cli("minion", "pool", "deallocate", "spare", "--wait")
    assert show(standalone)["status"] == "DEALLOCATED"
    assert minions(lab) == {}
    assert not [path.name for path in lab.host.pool.iterdir() if path.name.startswith("spare")]
    standalone.cli("minion", "pool", "delete", "spare")
    assert standalone.cli("minion", "pool", "list", "-f", "json") == []


def test_an_image_that_is_not_there(standalone: Standalone, ends: tuple[str, str], lab: Lab, tmp_path: Path) -> None:
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"image": "no-such-image"}))
    why = standalone.cli(
        "minion", "pool", "create", "--name", "spare", "--endpoint", "libvirt", "--platform", "destination",
        "--os-type", "linux", "--environment", str(options), "--wait", fails=True,
    )  # fmt: skip
    assert "no-such-image" in why
    assert minions(lab) == {}
    standalone.cli("minion", "pool", "deallocate", "spare", "--wait")
    standalone.cli("minion", "pool", "delete", "spare")
