# SPDX-License-Identifier: Apache-2.0
"""The fake cloud's faults, and that it survives crashes and several processes."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coriolis.providers.api import (
    Cancelled,
    Conflict,
    Context,
    Gone,
    Instance,
    Invalid,
    Layout,
    PlannedDisk,
    ProviderError,
    Unavailable,
    to_json,
)
from coriolis.providers.fake import faults
from coriolis.providers.fake.cloud import Cloud
from coriolis.providers.fake.connection import FakeConnection

Connect = Callable[..., FakeConnection]

DISK = PlannedDisk(disk_id="disk-0", size_bytes=1 << 20)
LAYOUT = Layout(name="web", disks=(DISK,))
INSTANCE = Instance(id="x", name="web", num_cpu=1, memory_mb=256)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(log=logging.getLogger("test"), scratch=tmp_path)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud.create(tmp_path / "cloud")


@pytest.fixture
def connect(cloud: Cloud, context: Context) -> Connect:
    return lambda script="", **more: FakeConnection({"path": str(cloud.path), "faults": script, **more}, context)


def crash(cloud: Cloud, script: str, call: str, *arguments: object) -> int:
    """Runs one call of a capability in a process of its own; gives its exit code."""
    code = (
        "import json, logging, pathlib, sys\n"
        "from coriolis.providers.api import *\n"
        "from coriolis.providers.fake.connection import FakeConnection\n"
        "info, call, disk, layout, instance = json.loads(sys.argv[1])\n"
        "context = Context(log=logging.getLogger('x'), scratch=pathlib.Path('/nonexistent'))\n"
        "connection = FakeConnection(info, context)\n"
        "disk, layout = from_json(PlannedDisk, disk), from_json(Layout, layout)\n"
        "instance = from_json(Instance, instance)\n"
        "calls = {\n"
        "    'volumes.create': lambda: connection.volumes.create(disk, layout, 'key', {}, context),\n"
        "    'volumes.delete': lambda: connection.volumes.delete(None, 'key', context),\n"
        "    'snapshots.create': lambda: connection.snapshots.create(instance, None, 'key', {}, context),\n"
        "    'snapshots.delete': lambda: connection.snapshots.delete(None, 'key', context),\n"
        "    'compute.create': lambda: connection.compute.create(instance, layout, [], 'key', {}, context),\n"
        "}\n"
        "calls[call]()\n"
    )
    instance = arguments[0] if arguments else INSTANCE
    given = [{"path": str(cloud.path), "faults": script}, call, to_json(DISK), to_json(LAYOUT), to_json(instance)]
    return subprocess.run([sys.executable, "-c", code, json.dumps(given)], check=False, timeout=60).returncode


class TestScripts:
    def test_a_rule(self) -> None:
        (rule,) = faults.parse("volumes.create@2:after=unavailable")
        assert (rule.call, rule.first, rule.last, rule.point) == ("volumes.create", 2, 2, "after")

    def test_ranges(self) -> None:
        every, later, one = faults.parse("check=bug; check@3+=slow(0.5); check@7=gone")
        assert [every.meets("check", n, "before") for n in (1, 9)] == [True, True]
        assert [later.meets("check", n, "before") for n in (2, 3, 9)] == [False, True, True]
        assert [one.meets("check", n, "before") for n in (6, 7, 8)] == [False, True, False]
        assert later.seconds == 0.5
        assert not every.meets("check", 1, "after")

    @pytest.mark.parametrize("script", ["x", "check", "check=", "check=explode", "nothing=bug", "check:never=bug"])
    def test_nonsense(self, script: str) -> None:
        with pytest.raises(Invalid, match="faults"):
            faults.parse(script)


class TestFaults:
    @pytest.mark.parametrize("kind", ["unavailable", "unauthorized", "invalid", "conflict", "gone"])
    def test_each_class(self, connect: Connect, context: Context, kind: str) -> None:
        with pytest.raises(ProviderError) as caught:
            connect(f"check={kind}").check(context)
        assert type(caught.value).__name__.lower() == kind

    def test_a_bug_is_no_provider_error(self, connect: Connect, context: Context) -> None:
        with pytest.raises(faults.Bug):
            connect("check=bug").check(context)

    def test_only_the_second_call_of_all_connections(self, connect: Connect, context: Context) -> None:
        script = "check@2=unavailable"
        connect(script).check(context)
        with pytest.raises(Unavailable):
            connect(script).check(context)
        connect(script).check(context)

    def test_a_lost_answer_leaves_the_thing(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        connection = connect("volumes.create@1:after=unavailable")
        with pytest.raises(Unavailable):
            connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        assert cloud.leftovers() == ["volume key"]
        connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        assert cloud.leftovers() == ["volume key"]
        connection.volumes.delete(None, "key", context)
        assert cloud.leftovers() == []

    def test_slow(self, connect: Connect, context: Context) -> None:
        started = time.monotonic()
        connect("check=slow(0.2)").check(context)
        assert time.monotonic() - started >= 0.2

    def test_hang_ends_at_the_deadline(self, connect: Connect, context: Context) -> None:
        with pytest.raises(Unavailable, match="in time"):
            connect("check=hang").check(replace(context, deadline=time.monotonic()))

    def test_cancelled_calls_do_nothing(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        token = threading.Event()
        token.set()
        with pytest.raises(Cancelled):
            connect().volumes.create(DISK, LAYOUT, "key", {}, replace(context, cancelled=token))
        assert cloud.leftovers() == []


class TestCrashes:
    """A process that dies in the middle of a call leaves what a next one with the same key finds and finishes."""

    @pytest.mark.parametrize("point", ["before", "middle", "after"])
    def test_volume(self, connect: Connect, cloud: Cloud, context: Context, point: str) -> None:
        assert crash(cloud, f"volumes.create@1:{point}=crash", "volumes.create") == -signal.SIGKILL
        volume = connect().volumes.create(DISK, LAYOUT, "key", {}, context)
        assert cloud.leftovers() == ["volume key"]
        with connect().write_blocks.open_sink(volume, context) as sink:
            assert sink.path.stat().st_size == DISK.size_bytes
        connect().volumes.delete(None, "key", context)
        assert cloud.leftovers() == []

    @pytest.mark.parametrize("call", ["volumes.create", "snapshots.create", "compute.create"])
    def test_undo_finds_the_half_made(self, connect: Connect, cloud: Cloud, context: Context, call: str) -> None:
        cloud.add_instance("web", instance_id="x")
        assert crash(cloud, f"{call}@1:middle=crash", call) == -signal.SIGKILL
        connection = connect()
        connection.compute.delete(None, "key", context)
        connection.volumes.delete(None, "key", context)
        connection.snapshots.delete(None, "key", context)
        assert cloud.leftovers() == []
        assert list(cloud.read()["instances"]) == ["x"]

    @pytest.mark.parametrize("call", ["volumes", "snapshots"])
    def test_half_deleted(self, connect: Connect, cloud: Cloud, context: Context, call: str) -> None:
        cloud.add_instance("web", instance_id="x")
        connection = connect()
        connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        connection.snapshots.create(INSTANCE, None, "key", {}, context)
        assert crash(cloud, f"{call}.delete@1:middle=crash", f"{call}.delete") == -signal.SIGKILL
        connection.volumes.delete(None, "key", context)
        connection.snapshots.delete(None, "key", context)
        assert cloud.leftovers() == []

    def test_snapshot_after_a_crash_has_all_writes(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        cloud.add_instance("web", instance_id="x", disk_sizes=(1 << 20, 1 << 20))
        assert crash(cloud, "snapshots.create@1:middle=crash", "snapshots.create") == -signal.SIGKILL
        cloud.write("x", "disk-0", 0, b"written between")
        connection = connect()
        first = connection.snapshots.create(INSTANCE, None, "key", {}, context)
        second = connection.snapshots.create(INSTANCE, first, "key-2", {}, context)
        assert second.disks[0].changes_since == first.disks[0].identity
        copied = cloud.path / first.disks[0].properties["file"]
        from coriolis.providers.fake import disks

        assert disks.read(copied, "qcow2").startswith(b"written between")


class TestSeveralProcesses:
    def test_counting_loses_nothing(self, cloud: Cloud) -> None:
        code = (
            "import pathlib, sys\n"
            "from coriolis.providers.fake.cloud import Cloud\n"
            "cloud = Cloud(pathlib.Path(sys.argv[1]))\n"
            "for _ in range(100): cloud.count('check')\n"
        )
        workers = [subprocess.Popen([sys.executable, "-c", code, str(cloud.path)]) for _ in range(4)]
        assert [worker.wait(60) for worker in workers] == [0] * 4
        assert cloud.count("check") == 401

    def test_one_key_from_two_threads_is_one_volume(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        made: list[str] = []

        def make() -> None:
            made.append(connect(eventual_polls=3).volumes.create(DISK, LAYOUT, "key", {}, context).ref)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(made) == 4
        assert len(set(made)) == 1
        assert cloud.leftovers() == ["volume key"]


class TestRules:
    """What a careless engine would run into."""

    def test_an_older_epoch_is_locked_out(self, connect: Connect, context: Context) -> None:
        connection = connect()
        volume = connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        with connection.write_blocks.open_sink(volume, replace(context, epoch=2)):
            pass
        with pytest.raises(Conflict, match="epoch 2"):
            with connection.write_blocks.open_sink(volume, replace(context, epoch=1)):
                pass

    def test_volumes_of_an_instance_outlive_their_key(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        connection = connect()
        volume = connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        deployed = connection.compute.create(INSTANCE, LAYOUT, [volume], "vm", {}, context)
        connection.volumes.delete(volume.ref, "key", context)
        assert cloud.disk_bytes(deployed.ref, "disk-0") == bytes(1 << 20)
        assert cloud.leftovers() == []
        connection.compute.delete(deployed.ref, "vm", context)
        assert cloud.leftovers() == ["volume key"]

    def test_another_size_under_one_key(self, connect: Connect, context: Context) -> None:
        connection = connect()
        connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        with pytest.raises(Conflict):
            connection.volumes.create(replace(DISK, size_bytes=2 << 20), LAYOUT, "key", {}, context)

    def test_an_instance_that_is_not_ours_stays(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        cloud.add_instance("web", instance_id="x")
        with pytest.raises(Conflict, match="not made by us"):
            connect().compute.delete("x", "key", context)

    def test_a_volume_belongs_to_one_instance(self, connect: Connect, context: Context) -> None:
        connection = connect()
        volume = connection.volumes.create(DISK, LAYOUT, "key", {}, context)
        connection.compute.create(INSTANCE, LAYOUT, [volume], "vm-1", {}, context)
        with pytest.raises(Conflict, match="belongs"):
            connection.compute.create(INSTANCE, LAYOUT, [volume], "vm-2", {}, context)

    def test_a_deleted_base_gives_a_whole_copy(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        cloud.add_instance("web", instance_id="x")
        connection = connect()
        base = connection.snapshots.create(INSTANCE, None, "one", {}, context)
        connection.snapshots.delete(base.ref, "one", context)
        assert connection.snapshots.create(INSTANCE, base, "two", {}, context).disks[0].changes_since is None

    def test_bytes_of_a_deleted_snapshot_are_gone(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        cloud.add_instance("web", instance_id="x")
        connection = connect()
        taken = connection.snapshots.create(INSTANCE, None, "one", {}, context)
        connection.snapshots.delete(taken.ref, "one", context)
        with pytest.raises(Gone):
            with connection.read_blocks.open_source(taken, "disk-0", context):
                pass

    def test_storage_mappings(self, connect: Connect, cloud: Cloud, context: Context) -> None:
        cloud.add_instance("web", instance_id="x", disk_sizes=(1 << 20, 1 << 20))
        connection = connect()
        instance = connection.inventory.get_instance({}, "x", context)
        mappings = {"default": "slow", "disk_mappings": [{"disk_id": "disk-1", "destination": "fast"}]}
        layout = connection.planning.plan(instance, {}, {"net-a": "net-b"}, mappings, context)
        assert [disk.storage for disk in layout.disks] == ["slow", "fast"]
        with pytest.raises(Invalid, match="storage_mappings"):
            connection.planning.plan(instance, {}, {"net-a": "net-b"}, {"default": "tape"}, context)
