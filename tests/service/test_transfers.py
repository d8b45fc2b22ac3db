# SPDX-License-Identifier: Apache-2.0
"""Transfers of a real ``coriolis-standalone`` between fake clouds: increments, deployments, a kill in the middle."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.contract.blocks import check_same
from coriolis.providers.fake.cloud import Cloud
from tests.service.standalone_process import Standalone, running, wait_for

pytestmark = pytest.mark.timeout(300)

DATA = b"bytes to be proven" * 40_000
ENDED = ("COMPLETED", "CANCELED", "ERROR")


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state) as made:
        yield made


@pytest.fixture
def clouds(tmp_path: Path) -> tuple[Cloud, Cloud]:
    source = Cloud.create(tmp_path / "source")
    web = source.add_instance("web-1", disk_sizes=(8 << 20, 2 << 20))
    source.write(web, "disk-0", 4096, DATA)
    return source, Cloud.create(tmp_path / "destination")


class Transfer:
    """A transfer of ``web-1``, and what its user does."""

    def __init__(self, standalone: Standalone, clouds: tuple[Cloud, Cloud], faults: str = "") -> None:
        self.standalone, self.clouds = standalone, clouds
        ends = [
            self.ask(
                "POST",
                "/endpoints",
                {"endpoint": {"name": "e", "type": "fake", "connection_info": {"path": str(cloud.path), **more}}},
            )["endpoint"]["id"]
            for cloud, more in zip(clouds, ({}, {"faults": faults} if faults else {}), strict=True)
        ]
        order = {
            "origin_endpoint_id": ends[0],
            "destination_endpoint_id": ends[1],
            "instances": ["web-1"],
            "network_map": {"net-a": "net-b"},
        }
        self.id = self.ask("POST", "/transfers", {"transfer": order})["transfer"]["id"]
        self.path = f"/transfers/{self.id}"
        (self.machine,) = clouds[0].read()["instances"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.standalone.client.request(path, method, json=body, raise_exc=False)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def begin(self, **more: Any) -> str:
        return str(self.ask("POST", f"{self.path}/executions", {"execution": more})["execution"]["id"])

    def end(self, execution_id: str) -> dict[str, Any]:
        return self.wait(f"{self.path}/executions/{execution_id}", "execution", "status")

    def deploy(self, *, state: str = "COMPLETED", **more: Any) -> dict[str, Any]:
        made = self.ask("POST", "/deployments", {"deployment": {"transfer_id": self.id, **more}})["deployment"]
        return self.wait(f"/deployments/{made['id']}", "deployment", "last_execution_status", state)

    def wait(self, path: str, key: str, field: str, state: str = "COMPLETED") -> dict[str, Any]:
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.ask("GET", path)[key])
            return found[field] in ENDED

        wait_for(over, 120)
        assert found[field] == state, [task["exception_details"] for task in found["tasks"]]
        return found

    def copied(self) -> dict[str, Any]:
        with sqlite3.connect(f"file:{self.standalone.state}/coriolis.sqlite?mode=ro", uri=True) as database:
            ((digest, complete),) = database.execute("SELECT digest, complete FROM replica").fetchall()
        assert complete
        return dict(json.loads(digest))

    def same_as_source(self, machine: str) -> None:
        for disk in ("disk-0", "disk-1"):
            check_same(self.clouds[1].disk_bytes(machine, disk), self.clouds[0].disk_bytes(self.machine, disk))

    def until(self, execution_id: str, there: Callable[[dict[str, Any]], bool]) -> None:
        path = f"{self.path}/executions/{execution_id}"
        wait_for(lambda: any(map(there, self.ask("GET", path)["execution"]["tasks"])), 60)


def write_over(cloud: Cloud) -> None:
    """Into its volumes, as a machine would, or a storage that fails."""
    for volume in cloud.read()["volumes"].values():
        with (cloud.path / volume["file"]).open("r+b") as file:
            file.write(b"something else")


def copies(task: dict[str, Any]) -> bool:
    return bool(task["task_type"] == "REPLICATE_DISKS")


def copying(task: dict[str, Any]) -> bool:
    return copies(task) and task["status"] == "RUNNING"


def test_what_changed_moves_and_deployments_have_the_sources_bytes(
    standalone: Standalone, clouds: tuple[Cloud, Cloud]
) -> None:
    transfer = Transfer(standalone, clouds)
    transfer.end(transfer.begin())
    assert transfer.copied()["disk-0"]["mode"] == "full"
    clouds[0].write(transfer.machine, "disk-0", 5 << 20, b"changed" * 1000)
    shown = transfer.end(transfer.begin())
    (task,) = [one for one in shown["tasks"] if copies(one) and one["item"] == "disk-0"]
    assert any("the next round would take" in line["message"] for line in task["progress_updates"])
    second = transfer.copied()
    assert second["disk-0"]["mode"] == "dirty"
    assert second["disk-0"]["bytes_read"] <= 1 << 20
    assert second["disk-1"]["bytes_read"] == 0

    transfer.deploy(clone_disks=True)
    (first,) = clouds[1].read()["instances"]
    transfer.same_as_source(first)
    clouds[0].write(transfer.machine, "disk-1", 100, b"once more")
    transfer.end(transfer.begin())
    assert transfer.copied()["disk-1"]["mode"] == "dirty", "a deployment on clones leaves the increments as they were"
    transfer.deploy(clone_disks=False)
    (new,) = clouds[1].read()["instances"].keys() - {first}
    transfer.same_as_source(new)

    transfer.end(transfer.begin())
    assert transfer.copied()["disk-0"]["mode"] == "full", "the old disks belong to the machine now"
    run = transfer.ask("POST", f"{transfer.path}/actions", {"delete-disks": None})["execution"]["id"]
    transfer.end(run)
    transfer.ask("DELETE", transfer.path)
    assert clouds[0].leftovers() == []
    transfer.same_as_source(new)


def test_an_execution_goes_on_after_a_kill(standalone: Standalone, clouds: tuple[Cloud, Cloud]) -> None:
    transfer = Transfer(standalone, clouds, faults="write_blocks.open_sink@1=slow(20)")
    run = transfer.begin(auto_deploy=True)
    transfer.until(run, copying)
    standalone.end(signal.SIGKILL)
    standalone.start()
    transfer.end(run)
    (waited,) = transfer.ask("GET", "/deployments")["deployments"]
    transfer.wait(f"/deployments/{waited['id']}", "deployment", "last_execution_status")
    (new,) = clouds[1].read()["instances"]
    transfer.same_as_source(new)


@pytest.mark.parametrize("mirrored", [True, False])
def test_what_a_machine_wrote_that_was_given_up_is_written_over(
    tmp_path: Path, clouds: tuple[Cloud, Cloud], mirrored: bool
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running(state, options={"worker": {"mirror_journals": mirrored}}) as standalone:
        transfer = Transfer(standalone, clouds, faults="compute.start@1:after=invalid")
        transfer.end(transfer.begin())
        transfer.deploy(clone_disks=False, state="ERROR")
        assert clouds[1].read()["instances"] == {}
        write_over(clouds[1])
        transfer.end(transfer.begin())
        transfer.deploy(clone_disks=False)
        (new,) = clouds[1].read()["instances"]
        transfer.same_as_source(new)


@pytest.mark.parametrize("cloning", [True, False])
def test_disks_that_do_not_hold_what_was_copied_are_copied_anew(
    standalone: Standalone, clouds: tuple[Cloud, Cloud], cloning: bool
) -> None:
    transfer = Transfer(standalone, clouds)
    transfer.end(transfer.begin())
    write_over(clouds[1])
    failed = transfer.deploy(clone_disks=cloning, state="ERROR")
    assert "data.mismatch" in {task["error_code"] for task in failed["tasks"]}
    path = f"/deployments/{failed['id']}/actions"
    refused = standalone.client.request(path, "POST", json={"retry": None}, raise_exc=False)
    assert refused.status_code == 400
    assert "execute the transfer again" in refused.text
    transfer.end(transfer.begin())
    assert transfer.copied()["disk-0"]["mode"] == "full"
    transfer.deploy(clone_disks=cloning)
    (new,) = clouds[1].read()["instances"]
    transfer.same_as_source(new)


def test_a_cancelled_execution_leaves_the_replica_to_the_next(
    standalone: Standalone, clouds: tuple[Cloud, Cloud]
) -> None:
    transfer = Transfer(standalone, clouds, faults="write_blocks.open_sink@1=hang")
    run = transfer.begin()
    transfer.until(run, copying)
    transfer.ask("POST", f"{transfer.path}/executions/{run}/actions", {"cancel": None})
    path = f"{transfer.path}/executions/{run}"
    wait_for(lambda: transfer.ask("GET", path)["execution"]["status"] == "CANCELED", 120)
    assert clouds[0].leftovers() == []
    transfer.end(transfer.begin())
    transfer.deploy(clone_disks=False)
    (new,) = clouds[1].read()["instances"]
    transfer.same_as_source(new)
