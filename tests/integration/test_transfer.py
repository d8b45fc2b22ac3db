# SPDX-License-Identifier: Apache-2.0
"""A transfer from one libvirt to another: the second execution moves what changed, deployments on clones and in place,
and nothing is left behind."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from coriolis.client import Proxy
from tests.integration import tiny_guest
from tests.integration.libvirt_host import LibvirtHost, running
from tests.integration.libvirt_lab import Lab
from tests.service import standalone_process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

MIB = 1 << 20
SIZE = 4 << 30
CHANGED = 41  # extents of a MiB: one in a hundred of the disk
ENDED = ("COMPLETED", "CANCELED", "ERROR")


@dataclasses.dataclass(kw_only=True)
class Site:
    """A source whose domain ``g`` runs, an empty target, the service, and a transfer of ``g``."""

    client: Proxy
    state: Path
    old: Lab
    new: Lab
    transfer: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.request(path, method, json=body, raise_exc=False)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def execute(self, **more: Any) -> dict[str, Any]:
        made = self.ask("POST", f"/transfers/{self.transfer}/executions", {"execution": more})["execution"]
        return self.wait(f"/transfers/{self.transfer}/executions/{made['id']}", "execution", "status")

    def deploy(self, **more: Any) -> dict[str, Any]:
        made = self.ask("POST", "/deployments", {"deployment": {"transfer_id": self.transfer, **more}})["deployment"]
        return self.wait(f"/deployments/{made['id']}", "deployment", "last_execution_status")

    def wait(self, path: str, key: str, field: str) -> dict[str, Any]:
        end = time.monotonic() + 300
        while True:
            found: dict[str, Any] = self.ask("GET", path)[key]
            if found[field] in ENDED:
                break
            assert time.monotonic() < end, found
            time.sleep(0.2)
        why = [task["exception_details"] for task in found["tasks"] if task["exception_details"]]
        assert found[field] == "COMPLETED", (found[field], why)
        return found

    def copied(self) -> dict[str, Any]:
        """What the copy of the replica's only disk reported."""
        with sqlite3.connect(f"file:{self.state}/coriolis.sqlite?mode=ro", uri=True) as database:
            ((digest, complete),) = database.execute("SELECT digest, complete FROM replica").fetchall()
        assert complete
        return dict(json.loads(digest)["vda"])

    def journals(self) -> int:
        """How many the service keeps, beside the files of the worker."""
        with sqlite3.connect(f"file:{self.state}/coriolis.sqlite?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM journal").fetchone()[0])

    def write(self, offset: int, length: int, pattern: int) -> None:
        """Into the disk of the running source, as its guest would."""
        command = f'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "write -P {pattern} {offset} {length}"'
        done = subprocess.run(
            ["virsh", "-c", self.old.host.uri, "qemu-monitor-command", "--hmp", "g", command],
            capture_output=True, text=True,
        )  # fmt: skip
        assert "error" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr


@pytest.fixture
def target(tmp_path: Path) -> Iterator[LibvirtHost]:
    directory = Path(tempfile.mkdtemp(prefix="lv3-"))
    try:
        with running(directory, name="target") as host:
            host.define_pool()
            yield host
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_disk(path: Path) -> Path:
    """A sparse disk of 4 GiB that boots the tiny guest, with 192 MiB of data in it."""
    numbers = random.Random(7)
    raw = path.with_suffix(".tmp")
    with raw.open("wb") as disk:
        disk.truncate(SIZE)
        disk.write(tiny_guest.boot_sector())
        for place in range(192):
            disk.seek((64 + 20 * place) * MIB)
            disk.write(numbers.randbytes(MIB))
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
    return path


@pytest.fixture
def site(libvirt_host: LibvirtHost, target: LibvirtHost) -> Iterator[Site]:
    scratch = Path(tempfile.mkdtemp(prefix="cor-transfer-"))
    old, new = Lab(host=libvirt_host, scratch=scratch), Lab(host=target, scratch=scratch)
    old.define("g", {"vda": ("qcow2", make_disk(libvirt_host.pool / "g.qcow2"))})
    old.start("g")
    try:
        with standalone_process.running(scratch / "state") as standalone:
            ids = [
                standalone.client.create_endpoint(
                    name=name,
                    type="libvirt",
                    connection_info={**lab.host.connection_info, "shutdown_grace_seconds": 1},
                ).id
                for name, lab in (("old", old), ("new", new))
            ]
            made = Site(client=standalone.client, state=standalone.state, old=old, new=new, transfer="")
            order = {
                "origin_endpoint_id": ids[0],
                "destination_endpoint_id": ids[1],
                "instances": ["g"],
                "network_map": {"user": "user"},
                "storage_mappings": {"default": "default"},
            }
            made.transfer = made.ask("POST", "/transfers", {"transfer": order})["transfer"]["id"]
            yield made
    finally:
        for lab in (old, new):
            lab.clear()
            lab.close()
        shutil.rmtree(scratch)


def test_increments_clones_in_place_and_nothing_left(site: Site) -> None:
    begun = time.monotonic()
    site.execute()
    first = site.copied()
    first_seconds = time.monotonic() - begun
    assert first["mode"] == "full"
    assert not site.old.domain("g").jobInfo()[0], "between executions no backup job runs"

    for place in range(CHANGED):
        site.write((100 + 90 * place) * MIB, MIB, 1 + place)
    begun = time.monotonic()
    site.execute()
    second = site.copied()
    print(f"first {first_seconds:.1f} s {first}; second {time.monotonic() - begun:.1f} s {second}")
    assert second["mode"] == "dirty"
    assert CHANGED * MIB <= second["bytes_read"] <= 1.2 * CHANGED * MIB
    assert second["bytes_written"] <= 1.2 * CHANGED * MIB
    assert len(site.old.domain("g").listAllCheckpoints()) == 1

    volumes = {path.name for path in site.new.host.pool.iterdir() if not path.name.startswith(".")}
    names = [site.deploy(clone_disks=True)["transfer_result"]["g"]["name"] for _ in range(2)]
    assert names == ["g", "g-2"]
    for name in names:
        site.new.wait_for_greeting(name)
    site.execute()
    assert site.copied()["mode"] == "dirty"
    for name in names:
        site.new.domain(name).destroy()
        site.new.domain(name).undefine()
    site.deploy(clone_disks=False)
    site.new.wait_for_greeting("g")
    own = site.new.instance("g").devices.disks[0]
    assert own.path is not None
    assert Path(own.path).name in volumes

    assert "no disks" not in json.dumps(site.ask("GET", f"/transfers/{site.transfer}"))
    site.ask("DELETE", f"/transfers/{site.transfer}?delete_disks=true")
    gone = time.monotonic() + 60
    while site.old.left_over():
        assert time.monotonic() < gone, site.old.left_over()
        time.sleep(0.2)
    assert Path(own.path).exists(), "the machine keeps its disk"


def test_without_its_bitmap_and_after_delete_disks(site: Site) -> None:
    site.execute()
    for checkpoint in site.old.domain("g").listAllCheckpoints():
        checkpoint.delete()
    site.write(100 * MIB, 4 * MIB, 1)
    site.execute()
    second = site.copied()
    assert second["mode"] == "compare"
    assert second["bytes_written"] <= 8 * MIB
    assert site.journals() == 1
    run = site.ask("POST", f"/transfers/{site.transfer}/actions", {"delete-disks": None})["execution"]
    site.wait(f"/transfers/{site.transfer}/executions/{run['id']}", "execution", "status")
    assert site.old.left_over() == []
    assert list(site.new.host.pool.iterdir()) == []
    assert site.journals() == 0
    site.execute(shutdown_instances=True)
    assert not site.old.domain("g").isActive()
    assert site.copied()["mode"] in ("dirty", "done")
    site.deploy(clone_disks=False)
    site.new.wait_for_greeting("g")


def test_a_disk_that_grew_gets_a_new_volume(site: Site) -> None:
    """No platform of ours can make a volume larger, and a journal says nothing of another volume."""
    site.execute()
    volumes = set(site.new.host.pool.glob("[!.]*"))
    site.old.domain("g").blockResize("vda", SIZE + 64 * MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    site.write(SIZE + 16 * MIB, MIB, 7)
    site.execute()
    grown = site.copied()
    assert (grown["mode"], grown["size"]) == ("full", SIZE + 64 * MIB)
    after = set(site.new.host.pool.glob("[!.]*"))
    assert len(after) == 1, "the volume that was too small is deleted"
    assert not after & volumes
    assert site.journals() == 1
    site.write(SIZE + 20 * MIB, MIB, 8)
    site.execute()
    assert site.copied()["mode"] in ("dirty", "compare")
    assert set(site.new.host.pool.glob("[!.]*")) == after
    site.deploy(clone_disks=True)
    site.new.wait_for_greeting("g")
