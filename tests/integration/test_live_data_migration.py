# SPDX-License-Identifier: Apache-2.0
"""Only live data moves from a real libvirt to a real libvirt, and the guest boots from what arrived.

The guest is a Debian kernel on an ext4 whose free space is full of old bytes. It counts its boots on its disk, and
compares its files with their digests at each of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.dataplane.filesystem import find_free
from demo.guest import Guest, GuestSpec, build_guest
from tests.integration.libvirt_lab import Lab
from tests.service import standalone_process
from tests.service.standalone_process import Standalone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

MIB = 1 << 20
READY = b"coriolis-guest: ready"
LIVE = {"copy_live_data_only": True}
ENDED = ("COMPLETED", "CANCELED", "ERROR")


@dataclasses.dataclass(kw_only=True)
class Used:
    """The guest, its disk as one that has been in use for long, and where that is free."""

    guest: Guest
    disk: Path
    free: list[tuple[int, int]]

    @property
    def free_bytes(self) -> int:
        return sum(length for _, length in self.free)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Used:
    folder = tmp_path_factory.mktemp("guest")
    guest = build_guest(folder, GuestSpec(disk_mib=128, random_mib=4, text_mib=4))
    disk = folder / "used.raw"
    disk.write_bytes(guest.disk.read_bytes())
    with open(disk, "r+b") as file:
        free = list(find_free(lambda offset, length: os.pread(file.fileno(), length, offset), disk.stat().st_size))
        for offset, length in free:
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))
    return Used(guest=guest, disk=disk, free=free)


@dataclasses.dataclass(kw_only=True)
class Site:
    """The service, and a libvirt that it reads and writes, with the domain ``g``."""

    standalone: Standalone
    lab: Lab
    order: dict[str, Any]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.standalone.client.request(path, method, json=body, raise_exc=False)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def make(self, what: str, **more: Any) -> dict[str, Any]:
        """A migration, deployment or the like, once it is over and has gone well."""
        made = self.ask("POST", f"/{what}s", {what: more})[what]
        return self.wait(f"/{what}s/{made['id']}", what, "last_execution_status")

    def wait(self, path: str, key: str, field: str) -> dict[str, Any]:
        end = time.monotonic() + 400
        while (found := self.ask("GET", path)[key])[field] not in ENDED:
            assert time.monotonic() < end, found
            time.sleep(0.2)
        why = [task["exception_details"] for task in found["tasks"] if task["exception_details"]]
        assert found[field] == "COMPLETED", (found[field], why)
        return dict(found)

    def certified(self, path: str) -> dict[str, Any]:
        """What the certificate says of the only disk."""
        ((disk,),) = [one["disks"] for one in self.ask("GET", f"{path}/certificate")["certificate"]["instances"]]
        return dict(disk)

    def said(self, path: str) -> list[str]:
        return [event["message"] for event in self.ask("GET", f"{path}/events?limit=1000")["events"]]

    def allocated(self, name: str) -> int:
        """Bytes that the image of a domain's disk takes."""
        for line in self.lab.domain(name).XMLDesc().splitlines():
            if "<source file=" in line:
                return os.stat(line.split("'")[1]).st_blocks * 512
        raise AssertionError(f"{name} has no disk")

    def boots(self, name: str, used: Used, number: int) -> None:
        self.lab.wait_for_words(name, READY, 240)
        said = self.lab.console(name).decode(errors="replace")
        assert f"coriolis-guest: data ok {used.guest.data_digest}" in said
        assert f"coriolis-guest: boot {number}" in said


@pytest.fixture
def site(lab: Lab, used: Used, tmp_path: Path) -> Iterator[Site]:
    image = lab.host.pool / "g.qcow2"
    command = ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(used.disk), str(image)]
    subprocess.run(command, check=True)
    lab.define("g", {"vda": ("qcow2", image)}, memory_mib=192)
    with standalone_process.running(tmp_path / "state") as standalone:
        ends = [
            standalone.client.create_endpoint(
                name=name,
                type="libvirt",
                connection_info={**lab.host.connection_info, "shutdown_grace_seconds": grace},
            ).id
            for name, grace in (("old", 120), ("new", 60))  # the ends of a transfer must differ
        ]
        order = {
            "origin_endpoint_id": ends[0],
            "destination_endpoint_id": ends[1],
            "instances": ["g"],
            "network_map": {"user": "user"},
            "storage_mappings": {"default": "default"},
            "destination_environment": {"name_suffix": "-new"},
        }
        yield Site(standalone=standalone, lab=lab, order=order)


def test_a_machine_boots_from_its_live_data(site: Site, used: Used) -> None:
    made = site.make("migration", **site.order, source_environment=LIVE)
    path = f"/migrations/{made['id']}"
    disk = site.certified(path)
    assert disk["verification"]["mode"] == "full"
    assert 0.9 * used.free_bytes <= disk["bytes_left_out"] <= used.free_bytes
    assert any("ext4" in words and "bytes are free" in words for words in site.said(path))
    assert site.allocated("g-new") < site.allocated("g") - 0.9 * used.free_bytes
    site.boots("g-new", used, 1)


@pytest.mark.slow
def test_what_is_left_out_of_an_increment(site: Site, used: Used) -> None:
    """The first copy is of a running guest, whose file system cannot be believed; then its user shuts it down."""
    site.lab.domain("g").create()
    site.boots("g", used, 1)
    transfer = site.ask("POST", "/transfers", {"transfer": {**site.order, "source_environment": LIVE}})["transfer"]
    path = f"/transfers/{transfer['id']}"
    first = execute(site, path)
    disk = site.certified(first)
    assert disk["bytes_left_out"] == 0
    assert any("holds changes" in words for words in site.said(first))
    offset, length = max(used.free, key=lambda free: free[1])
    write(site.lab, offset + length - 12 * MIB, 8 * MIB)  # as a file that was written and deleted again
    shut_down(site.lab, "g")
    disk = site.certified(execute(site, path))
    assert [one["mode"] for one in disk["rounds"]] == ["full", "dirty"]
    assert disk["bytes_left_out"] >= 7 * MIB
    assert disk["rounds"][1]["bytes_written"] < 8 * MIB
    site.make("deployment", transfer_id=transfer["id"])
    site.boots("g-new", used, 2)
    assert copied(site.standalone.state)["bytes_left_out"] == disk["bytes_left_out"]


def shut_down(lab: Lab, name: str) -> None:
    """By its power button, which the guest obeys."""
    lab.domain(name).shutdown()
    end = time.monotonic() + 240
    while lab.domain(name).isActive():
        assert time.monotonic() < end, lab.console(name)
        time.sleep(0.2)


def execute(site: Site, path: str) -> str:
    made = site.ask("POST", f"{path}/executions", {"execution": {}})["execution"]
    site.wait(f"{path}/executions/{made['id']}", "execution", "status")
    return f"{path}/executions/{made['id']}"


def write(lab: Lab, offset: int, length: int) -> None:
    """Into the disk of the running domain, as its guest would."""
    command = f'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "write -P 119 {offset} {length}"'
    arguments = ["virsh", "-c", lab.host.uri, "qemu-monitor-command", "--hmp", "g", command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "error" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr


def copied(state: Path) -> dict[str, Any]:
    """What the last copy of the replica's only disk reported."""
    with sqlite3.connect(f"file:{state}/coriolis.sqlite?mode=ro", uri=True) as database:
        ((digest,),) = database.execute("SELECT digest FROM replica").fetchall()
    return dict(json.loads(digest)["vda"])
