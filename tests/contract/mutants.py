# SPDX-License-Identifier: Apache-2.0
"""Fake clouds with one fault each, under the contract suite. Not collected: `test_the_suite_can_fail` runs them.

``CAUGHT_BY``: the test of the suite that has to fail, by class.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coriolis.dataplane import DiskFormat, ImageSource, Source
from coriolis.providers.api import Connection, Context, Gone, Instance, Invalid, Provider, Snapshot, Unavailable
from coriolis.providers.fake import PROVIDER
from coriolis.providers.fake.cloud import tag
from coriolis.providers.fake.connection import FakeConnection
from tests.contract import test_fake

CAUGHT_BY = {
    "TestForgetsKeys": "test_one_key_makes_one_volume",
    "TestDeletesOnce": "test_volume_is_deleted_twice",
    "TestNeedsTheReference": "test_volume_is_deleted_by_its_key",
    "TestSkipsOnPages": "test_pages_are_complete[2]",
    "TestKnowsEverybody": "test_unknown_instance_is_gone",
    "TestTellsSecrets": "test_good_options_pass_the_check",
    "TestWrongClass": "test_errors_have_their_class",
    "TestDeaf": "test_hanging_platform_lets_go",
    "TestLeaks": "test_snapshot_has_every_disk",
    "TestReadsTheLiveDisk": "test_later_writes_do_not_show",
    "TestMissesChanges": "test_delta_is_the_byte_difference",
    "TestMarksEverything": "test_delta_is_the_byte_difference",
    "TestLosesWrites": "test_sink_gives_back_what_was_written",
    "TestTakesAnyNetwork": "test_unknown_network_is_refused",
}


class Mutant(test_fake.TestFake):
    """``spoil`` changes a connection for the worse."""

    __test__ = False
    spoil: Callable[[FakeConnection], None]

    @pytest.fixture
    def plugin(self) -> Provider:
        def connect(connection_info: dict[str, Any], context: Context) -> Connection:
            connection = FakeConnection(connection_info, context)
            type(self).spoil(connection)
            return connection

        return dataclasses.replace(PROVIDER, connect=connect)


def _forget_keys(connection: FakeConnection) -> None:
    create, numbers = connection.volumes.create, itertools.count()
    connection.volumes.create = lambda disk, layout, key, *rest: create(disk, layout, f"{key}{next(numbers)}", *rest)


class TestForgetsKeys(Mutant):
    __test__ = True
    spoil = staticmethod(_forget_keys)


def _delete_once(connection: FakeConnection) -> None:
    delete, gone = connection.volumes.delete, set()

    def strict(ref: Any, key: str, context: Context) -> None:
        if key in gone:
            raise Gone("There is no such volume.")
        gone.add(key)
        delete(ref, key, context)

    connection.volumes.delete = strict


class TestDeletesOnce(Mutant):
    __test__ = True
    spoil = staticmethod(_delete_once)


def _need_reference(connection: FakeConnection) -> None:
    delete = connection.volumes.delete

    def picky(ref: Any, key: str, context: Context) -> None:
        if ref is not None:
            delete(ref, key, context)

    connection.volumes.delete = picky


class TestNeedsTheReference(Mutant):
    __test__ = True
    spoil = staticmethod(_need_reference)


def _skip_on_pages(connection: FakeConnection) -> None:
    listing = connection.inventory.list_instances

    def skip(environment: Any, *, marker: str | None, **more: Any) -> Any:
        return listing(environment, marker=marker, **more)[0 if marker is None else 1 :]

    connection.inventory.list_instances = skip


class TestSkipsOnPages(Mutant):
    __test__ = True
    spoil = staticmethod(_skip_on_pages)


def _know_everybody(connection: FakeConnection) -> None:
    connection.inventory.get_instance = lambda environment, name, context: Instance(
        id=name, name=name, num_cpu=1, memory_mb=1
    )


class TestKnowsEverybody(Mutant):
    __test__ = True
    spoil = staticmethod(_know_everybody)


class TestTellsSecrets(Mutant):
    __test__ = True
    spoil = staticmethod(lambda connection: logging.getLogger("some.library").debug("Auth: %s", test_fake.TOKEN))


def _wrong_class(connection: FakeConnection) -> None:
    check = connection.check

    def confused(context: Context) -> None:
        try:
            check(context)
        except Unavailable as error:
            raise Invalid(error.message) from error

    connection.check = confused


class TestWrongClass(Mutant):
    __test__ = True
    spoil = staticmethod(_wrong_class)


class TestDeaf(Mutant):
    __test__ = True
    cancel_seconds = 0.5
    spoil = staticmethod(
        lambda connection: setattr(connection.inventory, "list_instances", lambda *a, **k: time.sleep(1.0))
    )


class TestLeaks(Mutant):
    __test__ = True
    spoil = staticmethod(lambda connection: setattr(connection.snapshots, "delete", lambda ref, key, context: None))


def _other_source(connection: FakeConnection, change: Callable[[Snapshot, Source], Source]) -> None:
    opener = connection.read_blocks.open_source

    @contextlib.contextmanager
    def changed(snapshot: Snapshot, disk_id: str, context: Context) -> Iterator[Source]:
        with opener(snapshot, disk_id, context) as source:
            yield change(snapshot, source)

    connection.read_blocks.open_source = changed


def _read_the_live_disk(connection: FakeConnection) -> None:
    cloud = connection._cloud

    def live(snapshot: Snapshot, source: Source) -> Source:
        disk = cloud.read()["instances"][snapshot.instance_id]["disks"]["disk-0"]
        return ImageSource(path=cloud.path / disk["file"], format=DiskFormat.QCOW2, identity="same")

    _other_source(connection, live)


class TestReadsTheLiveDisk(Mutant):
    __test__ = True
    spoil = staticmethod(_read_the_live_disk)


def _miss_changes(connection: FakeConnection) -> None:
    """The bitmap of an untouched moment in place of the one since the base."""
    create = connection.snapshots.create

    def forgetful(instance: Instance, base: Snapshot | None, *rest: Any) -> Snapshot:
        snapshot = create(instance, base, *rest)
        if base is None:
            return snapshot
        disks = tuple(
            dataclasses.replace(disk, properties={**disk.properties, "bitmap": tag(snapshot.ref)})
            for disk in snapshot.disks
        )
        return dataclasses.replace(snapshot, disks=disks)

    connection.snapshots.create = forgetful


class TestMissesChanges(Mutant):
    __test__ = True
    spoil = staticmethod(_miss_changes)


def _mark_everything(connection: FakeConnection) -> None:
    """What is written again counts as changed, wherever it is."""
    create, cloud = connection.snapshots.create, connection._cloud

    def noisy(instance: Instance, base: Snapshot | None, *rest: Any) -> Snapshot:
        if base is not None:
            data = cloud.disk_bytes(instance.id, "disk-1")
            cloud.write(instance.id, "disk-1", 0, data)
            cloud.write(instance.id, "disk-0", 0, cloud.disk_bytes(instance.id, "disk-0"))
        return create(instance, base, *rest)

    connection.snapshots.create = noisy


class TestMarksEverything(Mutant):
    """Only caught on disks larger than what one write may mark around it."""

    __test__ = True
    spoil = staticmethod(_mark_everything)

    @pytest.fixture
    def cloud(self, tmp_path: Any) -> Any:
        cloud = test_fake.Cloud.create(tmp_path / "cloud", token=test_fake.TOKEN)
        cloud.add_instance("web-1", disk_sizes=(24 << 20, 1 << 20))
        return cloud


def _lose_writes(connection: FakeConnection) -> None:
    opener = connection.write_blocks.open_sink

    @contextlib.contextmanager
    def elsewhere(volume: Any, context: Context) -> Iterator[Any]:
        with opener(volume, context) as sink:
            copy = context.scratch / "elsewhere"
            copy.write_bytes(bytes(volume.size_bytes))
            yield dataclasses.replace(sink, path=copy)

    connection.write_blocks.open_sink = elsewhere


class TestLosesWrites(Mutant):
    __test__ = True
    spoil = staticmethod(_lose_writes)


def _take_any_network(connection: FakeConnection) -> None:
    plan = connection.planning.plan

    def lax(instance: Any, environment: Any, network_map: dict[str, Any], *rest: Any) -> Any:
        return plan(instance, environment, dict.fromkeys(network_map, "net-a"), *rest)

    connection.planning.plan = lax


class TestTakesAnyNetwork(Mutant):
    __test__ = True
    spoil = staticmethod(_take_any_network)
