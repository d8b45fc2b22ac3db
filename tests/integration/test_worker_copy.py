# SPDX-License-Identifier: Apache-2.0
"""The kinds of the recipe, one after the other, over two fake clouds with real bytes and real servers of them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.domain.codec import to_json
from coriolis.providers.fake.cloud import Cloud
from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import WORKER, Cancel, Endpoint, Result
from coriolis.runtime.secrets import Vault, create_keys
from coriolis.worker import journals
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import Bench, FakeConductor, Shelf, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="needs qemu-utils"),
]

MIB = 1 << 20


class Line:
    """Feeds a worker with the tasks of one instance, as the conductor would."""

    def __init__(self, path: Path, *, beside: Line | None = None) -> None:
        """``beside``: another worker of the same installation."""
        self.path = path
        if beside is None:
            self.source, self.destination = Cloud.create(path / "source"), Cloud.create(path / "destination")
        else:
            self.source, self.destination = beside.source, beside.destination
        keys = path / "keys"
        vault = Vault(create_keys(keys))
        self._accounts = {
            side: Endpoint(type="fake", sealed=vault.seal({"path": str(path / side)}))
            for side in ("source", "destination")
        }
        self.settings = WorkerSettings(
            host="here",
            state_path=path / ("elsewhere" if beside else "state"),
            providers=("fake",),
            cancel_grace_seconds=0.5,
        )
        bus = LocalBus()
        self.conductor = FakeConductor(bus, shelf=beside.conductor.shelf if beside else Shelf()).serve()
        self.service = WorkerService(self.settings, bus, VaultSettings(key_file=str(keys)))
        self.bench = Bench(bus, self.conductor, self.service)
        self.outputs: dict[str, Any] = {}
        self.effects: dict[str, list[Any]] = {}
        self._number = 0

    def start(self, kind: str, inputs: dict[str, Any] | None = None, **changes: Any) -> str:
        self._number += 1
        self.conductor.effects.clear()
        values: dict[str, Any] = {
            "task_id": f"{kind}-{self._number}",
            "kind": kind,
            "name": kind,
            "order": self._number,
            "inputs": inputs or {},
            "source": self._accounts["source"],
            "destination": self._accounts["destination"],
        }
        return self.bench.assign("vm", **{**values, **changes})

    def run(self, kind: str, inputs: dict[str, Any] | None = None, **changes: Any) -> Result:
        result = self.conductor.result_of(self.start(kind, inputs, **changes), 60)
        self.effects[kind] = list(self.conductor.effects.values())
        return result

    def take(self, kind: str, output: str, *inputs: str, **changes: Any) -> Any:
        """Runs a task that must complete, on outputs of earlier ones, and keeps its output."""
        result = self.run(kind, {name: self.outputs[name] for name in inputs}, **changes)
        assert result.outcome == "completed", result.error
        self.outputs[output] = result.outputs.get(output)
        return self.outputs[output]

    def undo(self, kind: str, removal: str) -> None:
        result = self.run(removal, effects=tuple(self.effects[kind]), params={"maker": kind})
        assert result.outcome == "completed", result.error

    def prepare(self) -> None:
        self.take("inspect", "vm")
        self.take("check_source", "concerns", "vm")
        self.take("plan", "layout", "vm", network_map={"net-a": "net-b"})
        self.take("volumes", "volumes", "vm", "layout")

    def copy_inputs(self) -> dict[str, Any]:
        return {name: self.outputs[name] for name in ("vm", "snapshot", "volumes")}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    line.service.start()
    try:
        line.conductor.wait(lambda: line.conductor.syncs, 60)
        yield line
    finally:
        line.service.stop(drain=False)
        assert line.bench.tree() == []


def fill(line: Line, size_mib: int, *, data_mib: int) -> str:
    """A source instance with one disk; the rest of it is a hole."""
    instance = line.source.add_instance("vm", disk_sizes=(size_mib * MIB,))
    piece = random.Random(7).randbytes(min(data_mib, 8) * MIB)
    line.source.write(instance, "disk-0", 3 * MIB, piece * (data_mib * MIB // len(piece)))
    return instance


def test_two_rounds_from_inventory_to_a_running_copy(line: Line) -> None:
    instance = fill(line, 32, data_mib=8)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    first = line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0")
    assert first["mode"] == "full"

    line.source.write(instance, "disk-0", 20 * MIB, b"new" * 1000)
    line.source.write(instance, "disk-0", 3 * MIB, bytes(2 * MIB))  # becomes zeros again
    line.take("shutdown", "nothing", "vm")
    earlier = line.outputs["snapshot"]
    result = line.run("snapshot", {"vm": line.outputs["vm"], "snapshot@prev": earlier})
    line.outputs["snapshot"] = result.outputs["snapshot"]
    result = line.run("copy", {**line.copy_inputs(), "snapshot@prev": earlier, "digest@prev": first}, item="disk-0")
    second = line.outputs["digest"] = result.outputs["digest"]
    assert second["mode"] == "dirty"
    assert second["bytes_read"] < 8 * MIB
    assert [(one["number"], one["mode"]) for one in second["rounds"]] == [(1, "full"), (2, "dirty")]
    assert second["rounds"][0]["digest"] == first["digest"]
    assert second["forecast"]["churn_bytes_per_second"] > 0
    assert second["forecast"]["next_milliseconds"] == second["forecast"]["final_milliseconds"]
    said = [event.message for report in line.conductor.reports for event in report.events]
    assert any("the next round would take" in text for text in said)

    verified = line.take("verify", "verified", "vm", "volumes", "digest", item="disk-0")
    assert (verified["mode"], verified["digest"]) == ("full", second["digest"])
    for mode in ("sample", "none"):
        inputs = {name: line.outputs[name] for name in ("vm", "volumes", "digest")}
        result = line.run("verify", inputs, item="disk-0", destination_environment={"verification": mode})
        assert (result.outputs["verified"]["mode"], result.outputs["verified"].get("digest")) == (mode, None)
    line.take("deploy", "deployed", "vm", "layout", "volumes")
    journal = journals.instance_folder(line.settings.state_path, "execution-1", "vm")
    assert journal.exists()
    result = line.run("finalize", {name: line.outputs[name] for name in ("vm", "deployed")})
    assert result.outputs["transfer_result"]["name"] == "vm"
    assert not journal.exists()

    made = line.destination.read()["instances"]
    (copy,) = made
    assert made[copy]["running"]
    assert not line.source.read()["instances"][instance]["running"]
    assert line.destination.disk_bytes(copy, "disk-0") == line.source.disk_bytes(instance, "disk-0")


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs e2fsprogs")
def test_free_space_is_left_out_when_asked(line: Line, tmp_path: Path) -> None:
    image = tmp_path / "ext4"
    image.write_bytes(random.Random(8).randbytes(64 * MIB))
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", image], check=True)
    instance = line.source.add_instance("vm", disk_sizes=(64 * MIB,))
    line.source.write(instance, "disk-0", 0, image.read_bytes())
    line.prepare()
    line.take("shutdown", "nothing", "vm")
    line.take("snapshot", "snapshot", "vm")
    wanted = {"copy_live_data_only": True}
    done = line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0", source_environment=wanted)
    assert done["bytes_saved"] > 40 * MIB
    assert done["bytes_read"] + done["bytes_saved"] < 72 * MIB
    assert [(volume["kind"], volume["reason"]) for volume in done["volumes"]] == [("ext4", "")]
    said = [event.message for report in line.conductor.reports for event in report.events]
    assert any("bytes are free" in text for text in said)
    verified = line.take("verify", "verified", "vm", "volumes", "digest", item="disk-0")
    assert verified["digest"] == done["digest"]
    again = line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0", source_environment=wanted)
    assert (again["mode"], again["bytes_left_out"]) == ("done", done["bytes_saved"])


def test_undo_leaves_both_sides_as_they_were(line: Line) -> None:
    instance = fill(line, 8, data_mib=1)
    line.prepare()
    line.take("shutdown", "nothing", "vm")
    line.take("snapshot", "snapshot", "vm")
    line.take("deploy", "deployed", "vm", "layout", "volumes")
    line.take("finalize", "transfer_result", "vm", "deployed")
    line.undo("finalize", "undo_finalize")
    line.undo("deploy", "undo_deploy")
    line.undo("snapshot", "delete_snapshot")
    line.undo("volumes", "undo_volumes")
    line.undo("shutdown", "undo_shutdown")
    state = line.destination.read()
    assert (state["instances"], state["volumes"]) == ({}, {})
    state = line.source.read()
    assert state["snapshots"] == {}
    assert state["instances"][instance]["running"]


def test_a_volume_that_rots_is_found(line: Line) -> None:
    fill(line, 8, data_mib=4)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0")
    (volume,) = (line.destination.path / "volumes").glob("*.*")
    _rot(volume)
    inputs = {name: line.outputs[name] for name in ("vm", "volumes", "digest")}
    error = line.run("verify", inputs, item="disk-0").error
    assert error is not None
    assert (error.code, error.retryable) == ("data.mismatch", False)
    assert f"{MIB} bytes at {5 * MIB}" in error.message
    # Without this host's journal (another worker verifies) the conductor's tells it.
    journals.forget_instance(line.settings.state_path, "execution-1", "vm")
    error = line.run("verify", inputs, item="disk-0").error
    assert error is not None
    assert (error.code, f"{MIB} bytes at {5 * MIB}" in error.message) == ("data.mismatch", True)
    # Without any journal the whole digest does.
    line.conductor.shelf.data.clear()
    error = line.run("verify", inputs, item="disk-0").error
    assert error is not None
    assert error.code == "data.mismatch"
    assert "has the digest" in error.message


def _rot(path: Path) -> None:
    """Flips a byte in the middle of the data."""
    data = path.read_bytes()
    needle = random.Random(7).randbytes(4 * MIB)[2 * MIB : 2 * MIB + 64]
    at = data.index(needle)
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes([needle[0] ^ 1]))


def servers(line: Line) -> list[int]:
    """The processes that serve bytes to the running attempt."""
    found = []
    for pid in line.bench.tree():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if name in ("qemu-nbd", "qemu-storage-da", "nbdkit"):
            found.append(pid)
    return found


def copying(line: Line, **changes: Any) -> str:
    """A copy that is under way and now stands still, because its servers are stopped."""
    task = line.start("copy", line.copy_inputs(), item="disk-0", **changes)
    line.conductor.wait(
        lambda: any(p.done > 64 * MIB for r in line.conductor.reports if r.task_id == task for p in r.progress), 60
    )
    for pid in servers(line):
        os.kill(pid, signal.SIGSTOP)
    assert not line.conductor.results or line.conductor.results[-1].attempt.task_id != task, "the copy was too fast"
    return task


def test_a_killed_copy_goes_on_where_its_journal_ends(line: Line) -> None:
    fill(line, 1024, data_mib=768)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    task = copying(line)
    child = line.bench.tree()
    for pid in child:
        os.kill(pid, signal.SIGKILL)
    died = line.conductor.result_of(task)
    assert died.error is not None
    assert died.error.retryable
    checkpoint = [r.checkpoint for r in line.conductor.reports if r.checkpoint]
    line.conductor.results.clear()
    result = line.run("copy", line.copy_inputs(), item="disk-0", task_id=task, epoch=2)
    digest = result.outputs["digest"]
    assert digest["bytes_resumed"] > 0
    assert digest["bytes_read"] + digest["bytes_resumed"] <= 1024 * MIB
    line.outputs["digest"] = digest
    verified = line.take("verify", "verified", "vm", "volumes", "digest", item="disk-0")
    assert verified["digest"] == digest["digest"]
    assert all(set(point) == {"host", "done"} for point in checkpoint)


def test_a_copy_whose_host_is_lost_goes_on_elsewhere(line: Line) -> None:
    """The other worker has another state directory and only what the conductor kept."""
    fill(line, 1024, data_mib=768)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    task = copying(line)
    read = max(p.done for r in line.conductor.reports if r.task_id == task for p in r.progress)
    for pid in line.bench.tree():
        os.kill(pid, signal.SIGKILL)
    line.conductor.result_of(task)
    other = Line(line.path, beside=line)
    other.outputs, other._number = line.outputs, line._number
    other.service.start()
    try:
        other.conductor.wait(lambda: other.conductor.syncs, 60)
        result = other.run("copy", other.copy_inputs(), item="disk-0", task_id=task, epoch=2)
        digest = result.outputs["digest"]
        assert digest["bytes_resumed"] >= read - 64 * MIB
        other.outputs["digest"] = digest
        verified = other.take("verify", "verified", "vm", "volumes", "digest", item="disk-0")
        assert verified["digest"] == digest["digest"]
    finally:
        other.service.stop(drain=False)
    # The first host is back, and its own journal ends in the middle of the round.
    line.outputs, line._number = other.outputs, other._number
    verified = line.take("verify", "verified", "vm", "volumes", "digest", item="disk-0")
    assert (verified["mode"], verified["digest"]) == ("full", digest["digest"])


def test_the_journal_of_the_last_round_counts_wherever_that_was_copied(line: Line) -> None:
    """This host copied the first round only: what it knows of the disk is out of date."""
    instance = fill(line, 32, data_mib=8)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    first = line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0")
    line.source.write(instance, "disk-0", 20 * MIB, b"new" * 1000)
    earlier = line.outputs["snapshot"]
    result = line.run("snapshot", {"vm": line.outputs["vm"], "snapshot@prev": earlier})
    line.outputs["snapshot"] = result.outputs["snapshot"]
    other = Line(line.path, beside=line)
    other.outputs, other._number = line.outputs, line._number
    other.service.start()
    try:
        other.conductor.wait(lambda: other.conductor.syncs, 60)
        inputs = {**other.copy_inputs(), "snapshot@prev": earlier, "digest@prev": first}
        result = other.run("copy", inputs, item="disk-0")
        assert result.outputs["digest"]["mode"] == "dirty"
    finally:
        other.service.stop(drain=False)
    line.outputs["digest"], line._number = result.outputs["digest"], other._number
    inputs = {name: line.outputs[name] for name in ("vm", "volumes", "digest")}
    for mode in ("full", "sample"):
        result = line.run("verify", inputs, item="disk-0", destination_environment={"verification": mode})
        assert result.error is None
        assert result.outputs["verified"]["mode"] == mode
    (volume,) = (line.destination.path / "volumes").glob("*.*")
    _rot(volume)
    error = line.run("verify", inputs, item="disk-0").error
    assert error is not None
    assert error.code == "data.mismatch"
    assert f"{MIB} bytes at {5 * MIB}" in error.message


def test_a_worker_that_finds_a_rotten_journal_asks_the_conductor(line: Line) -> None:
    fill(line, 64, data_mib=48)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    first = line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0")
    (path,) = journals.instance_folder(line.settings.state_path, "execution-1", "vm").glob("*.journal")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    again = line.take("copy", "digest", "vm", "snapshot", "volumes", item="disk-0")
    assert (again["mode"], again["bytes_read"], again["digest"]) == ("done", 0, first["digest"])


def test_cancel_of_a_copy_whose_servers_hang(line: Line) -> None:
    fill(line, 1024, data_mib=768)
    line.prepare()
    line.take("snapshot", "snapshot", "vm")
    task = copying(line)
    start = time.monotonic()
    line.bench.bus.cast(WORKER, Cancel(task_ids=(task,)), server=line.service.session_id)
    assert line.conductor.result_of(task, 60).outcome == "canceled"
    assert time.monotonic() - start < line.settings.copy_stall_seconds  # it did not have to stall first
    assert until(lambda: line.bench.tree() == [])


def test_records_go_through_json(line: Line) -> None:
    """What the fake conductor hands on was JSON on its way up: nothing but plain data is in it."""
    fill(line, 8, data_mib=1)
    line.prepare()
    assert to_json(line.outputs["vm"]) == line.outputs["vm"]
