# SPDX-License-Identifier: Apache-2.0
"""Snapshots of instances, and the bytes in them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from coriolis.dataplane import open_source
from coriolis.providers.api import (
    Capability,
    Conflict,
    Connection,
    Context,
    Gone,
    Instance,
    Provider,
    ReadBlocks,
    Snapshot,
    Snapshots,
    from_json,
    to_json,
)
from coriolis.providers.contract import blocks
from coriolis.providers.contract.subject import MIB, Mutate, Options, Subject

_MOST_READ = 64 * MIB
_COARSEST = 2 * MIB  # bytes that one written byte may at most mark as changed, on either side
_STEP = 64 << 10

Take = Callable[..., Snapshot]


class SourceContract(Subject):
    @pytest.fixture
    def snapshots(self, plugin: Provider, connection: Connection) -> Snapshots:
        self.need(plugin, Capability.SNAPSHOTS)
        assert connection.snapshots is not None
        return connection.snapshots

    @pytest.fixture
    def reader(self, plugin: Provider, connection: Connection) -> ReadBlocks:
        self.need(plugin, Capability.READ_BLOCKS)
        assert connection.read_blocks is not None
        return connection.read_blocks

    @pytest.fixture
    def take(
        self, snapshots: Snapshots, instance: Instance, source_environment: Options, context: Context
    ) -> Iterator[Take]:
        """``take(key, base)`` makes snapshots, which are removed in the end."""
        made: dict[str, Snapshot] = {}

        def make(key: str, base: Snapshot | None = None) -> Snapshot:
            taken = snapshots.create(instance, base, key, source_environment, context)
            made.setdefault(key, taken)
            return taken

        yield make
        for key, taken in made.items():
            snapshots.delete(taken.ref, key, context)

    def test_snapshot_has_every_disk(self, take: Take, instance: Instance) -> None:
        taken = take("contract-snapshot-1")
        sizes = {disk.disk_id: disk.size_bytes for disk in taken.disks}
        assert sizes == {disk.id: disk.size_bytes for disk in instance.devices.disks}
        assert taken.instance_id == instance.id
        assert len({disk.identity for disk in taken.disks}) == len(taken.disks)
        assert from_json(Snapshot, to_json(taken)) == taken

    def test_one_key_makes_one_snapshot(self, take: Take) -> None:
        assert take("contract-snapshot-1") == take("contract-snapshot-1")

    def test_snapshot_is_deleted_twice(
        self, snapshots: Snapshots, instance: Instance, source_environment: Options, context: Context
    ) -> None:
        taken = snapshots.create(instance, None, "contract-snapshot-2", source_environment, context)
        snapshots.delete(taken.ref, "contract-snapshot-2", context)
        snapshots.delete(taken.ref, "contract-snapshot-2", context)

    def test_snapshot_is_deleted_by_its_key(
        self, snapshots: Snapshots, instance: Instance, source_environment: Options, context: Context
    ) -> None:
        snapshots.create(instance, None, "contract-snapshot-3", source_environment, context)
        snapshots.delete(None, "contract-snapshot-3", context)
        snapshots.delete(None, "contract-snapshot-never-made", context)

    def test_disks_have_the_announced_size(self, take: Take, reader: ReadBlocks, context: Context) -> None:
        taken = take("contract-snapshot-1")
        for disk in taken.disks:
            with reader.open_source(taken, disk.disk_id, context) as source, open_source(source) as export:
                with blocks.attached(export.uri) as handle:
                    assert handle.get_size() == disk.size_bytes
                assert export.identity == disk.identity

    def test_odd_offsets_read_right(self, take: Take, reader: ReadBlocks, context: Context) -> None:
        taken = take("contract-snapshot-1")
        self._need_disk(taken)
        disk = taken.disks[0]
        size = min(disk.size_bytes, _MOST_READ)
        generator = random.Random(0)
        pieces = [(0, 1), (1, 511), (511, 2), (size - 1, 1), (size // 2 - 3, 1025)]
        pieces += [(generator.randrange(size - 70_000), generator.randrange(1, 70_000)) for _ in range(20)]
        with reader.open_source(taken, disk.disk_id, context) as source:
            whole = blocks.read_source(source, size)
            found = blocks.read_pieces(source, pieces)
        assert all(data == whole[at : at + length] for (at, length), data in zip(pieces, found, strict=True))

    def test_second_reading_gives_the_same(self, take: Take, reader: ReadBlocks, context: Context) -> None:
        taken = take("contract-snapshot-1")
        self._need_disk(taken)
        disk = taken.disks[0]
        size = min(disk.size_bytes, _MOST_READ)
        with reader.open_source(taken, disk.disk_id, context) as source:
            first = blocks.read_source(source, size)
        with reader.open_source(taken, disk.disk_id, context) as source:
            blocks.check_same(blocks.read_source(source, size), first)

    def test_unknown_disk_is_gone(self, take: Take, reader: ReadBlocks, context: Context) -> None:
        taken = take("contract-snapshot-1")
        with pytest.raises(Gone):
            with reader.open_source(taken, "no-such-disk", context):
                pass

    def test_reading_leaves_the_instance_as_it_was(
        self,
        take: Take,
        connection: Connection,
        reader: ReadBlocks,
        instance: Instance,
        source_environment: Options,
        context: Context,
    ) -> None:
        taken = take("contract-snapshot-1")
        for disk in taken.disks[:1]:
            with reader.open_source(taken, disk.disk_id, context):
                pass
        assert connection.inventory is not None
        assert connection.inventory.get_instance(source_environment, instance.id, context) == instance

    def test_later_writes_do_not_show(
        self,
        plugin: Provider,
        take: Take,
        reader: ReadBlocks,
        instance: Instance,
        mutate: Mutate | None,
        context: Context,
    ) -> None:
        """Or reading is refused, by a provider that says so (trait ``holds_snapshots`` false)."""
        self._need_mutation(mutate, instance)
        assert mutate is not None
        taken = take("contract-snapshot-1")
        disk = taken.disks[0]
        size = min(disk.size_bytes, _MOST_READ)
        with reader.open_source(taken, disk.disk_id, context) as source:
            before = blocks.read_source(source, size)
        mutate(instance, disk.disk_id, 4096, b"later" * 100)
        if not plugin.traits.get("holds_snapshots", True):
            with pytest.raises(Conflict):
                with reader.open_source(taken, disk.disk_id, context):
                    pass
            return
        with reader.open_source(taken, disk.disk_id, context) as source:
            blocks.check_same(blocks.read_source(source, size), before)

    def test_a_write_changes_the_identity(self, take: Take, instance: Instance, mutate: Mutate | None) -> None:
        self._need_mutation(mutate, instance)
        assert mutate is not None
        first = take("contract-snapshot-1")
        mutate(instance, first.disks[0].disk_id, 512, b"changed")
        assert take("contract-snapshot-2", first).disks[0].identity != first.disks[0].identity

    def test_delta_is_the_byte_difference(
        self,
        plugin: Provider,
        take: Take,
        reader: ReadBlocks,
        instance: Instance,
        mutate: Mutate | None,
        context: Context,
    ) -> None:
        self._need_changes(plugin)
        self._need_mutation(mutate, instance)
        assert mutate is not None
        base = take("contract-snapshot-1")
        disk_id, size = base.disks[0].disk_id, base.disks[0].size_bytes
        with reader.open_source(base, disk_id, context) as source:
            old = blocks.read_source(source, size)
        writes = [(3, b"odd"), (size // 3 + 1, bytes(range(256)) * 9), (size - 5, b"end!!")]
        for offset, data in writes:
            mutate(instance, disk_id, offset, data)
        newer = take("contract-snapshot-2", base)
        assert newer.disks[0].changes_since == base.disks[0].identity
        with reader.open_source(newer, disk_id, context) as source:
            assert getattr(source, "base_identity", None) == base.disks[0].identity
            new = blocks.read_source(source, size)
            extents = blocks.changed_extents(source, size)
        rebuilt = bytearray(old)
        for at, length in extents:
            rebuilt[at : at + length] = new[at : at + length]
        blocks.check_same(bytes(rebuilt), new)
        for offset, data in writes:
            blocks.check_same(new[offset : offset + len(data)], data)
        for place in (at + step for at, length in extents for step in range(0, length, _STEP)):
            near = any(offset - _COARSEST < place < offset + len(data) + _COARSEST for offset, data in writes)
            assert near, f"byte {place} is marked and nobody wrote near it"

    def test_a_released_snapshot_is_still_a_base(
        self,
        plugin: Provider,
        take: Take,
        snapshots: Snapshots,
        reader: ReadBlocks,
        instance: Instance,
        mutate: Mutate | None,
        context: Context,
    ) -> None:
        """Between the executions of a transfer, perhaps for weeks."""
        self._need_changes(plugin)
        self._need_mutation(mutate, instance)
        assert mutate is not None
        base = take("contract-snapshot-1")
        for _ in range(2):
            snapshots.release(base.ref, "contract-snapshot-1", context)
        disk_id, size = base.disks[0].disk_id, base.disks[0].size_bytes
        mutate(instance, disk_id, size // 2, b"after the release")
        newer = take("contract-snapshot-2", base)
        assert newer.disks[0].changes_since == base.disks[0].identity
        with reader.open_source(newer, disk_id, context) as source:
            extents = blocks.changed_extents(source, size)
        assert any(at <= size // 2 < at + length for at, length in extents)

    def _need_changes(self, plugin: Provider) -> None:
        self.need(plugin, Capability.INCREMENTS)
        if not self.tells_changes:
            pytest.skip("the platform under test cannot tell what changed")

    @staticmethod
    def _need_disk(taken: Snapshot) -> None:
        if not taken.disks or taken.disks[0].size_bytes < MIB:
            pytest.skip("needs an instance with a disk of 1 MiB or more")

    @staticmethod
    def _need_mutation(mutate: Mutate | None, instance: Instance) -> None:
        if mutate is None or not instance.devices.disks:
            pytest.skip("needs the fixture 'mutate' and a disk")
