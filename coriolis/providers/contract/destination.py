# SPDX-License-Identifier: Apache-2.0
"""Plans, volumes, the bytes in them, and instances made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from coriolis.providers.api import (
    DESTINATION_NEEDS,
    Compute,
    Connection,
    Context,
    Instance,
    Invalid,
    Layout,
    Planning,
    Provider,
    ProviderError,
    Volume,
    Volumes,
    WriteBlocks,
    from_json,
    to_json,
)
from coriolis.providers.contract import blocks
from coriolis.providers.contract.subject import Options, Subject

_KEY = "contract-volume"


@dataclass(frozen=True)
class Place:
    """The destination's capabilities, all there."""

    planning: Planning
    volumes: Volumes
    writer: WriteBlocks
    compute: Compute


class DestinationContract(Subject):
    @pytest.fixture
    def place(self, plugin: Provider, connection: Connection) -> Place:
        self.need(plugin, *DESTINATION_NEEDS)
        assert connection.planning is not None
        assert connection.volumes is not None
        assert connection.write_blocks is not None
        assert connection.compute is not None
        return Place(connection.planning, connection.volumes, connection.write_blocks, connection.compute)

    @pytest.fixture
    def layout(
        self,
        place: Place,
        source_instance: Instance,
        destination_environment: Options,
        network_map: Options,
        storage_mappings: Options,
        context: Context,
    ) -> Layout:
        return place.planning.plan(source_instance, destination_environment, network_map, storage_mappings, context)

    @pytest.fixture
    def make_volume(
        self, place: Place, layout: Layout, destination_environment: Options, context: Context
    ) -> Iterator[Callable[..., Volume]]:
        """``make_volume(key)``, for the first disk; all are removed in the end."""
        keys: list[str] = []

        def make(key: str = _KEY) -> Volume:
            keys.append(key)
            return place.volumes.create(layout.disks[0], layout, key, destination_environment, context)

        yield make
        for key in keys:
            place.volumes.delete(None, key, context)

    def test_plan_has_every_disk_and_nic(self, layout: Layout, source_instance: Instance) -> None:
        assert [disk.disk_id for disk in layout.disks] == [disk.id for disk in source_instance.devices.disks]
        assert [nic.nic_id for nic in layout.nics] == [nic.id for nic in source_instance.devices.nics]
        for planned, disk in zip(layout.disks, source_instance.devices.disks, strict=True):
            assert planned.size_bytes >= disk.size_bytes
        assert from_json(Layout, to_json(layout)) == layout
        assert all(need.name and 0 < need.count <= need.free for need in layout.needs)

    def test_unmapped_network_is_refused(
        self,
        place: Place,
        source_instance: Instance,
        destination_environment: Options,
        network_map: Options,
        storage_mappings: Options,
        context: Context,
    ) -> None:
        if not source_instance.devices.nics or not network_map:
            pytest.skip("needs a network_map")
        with pytest.raises(Invalid) as caught:
            place.planning.plan(source_instance, destination_environment, {}, storage_mappings, context)
        assert source_instance.devices.nics[0].network_name in caught.value.message

    def test_unknown_network_is_refused(
        self,
        place: Place,
        source_instance: Instance,
        destination_environment: Options,
        network_map: Options,
        storage_mappings: Options,
        context: Context,
    ) -> None:
        if not source_instance.devices.nics or not network_map:
            pytest.skip("needs a network_map")
        wrong = dict.fromkeys(network_map, "no-such-network")
        with pytest.raises(Invalid) as caught:
            place.planning.plan(source_instance, destination_environment, wrong, storage_mappings, context)
        assert "no-such-network" in caught.value.message

    def test_one_key_makes_one_volume(self, make_volume: Callable[..., Volume], layout: Layout) -> None:
        first = make_volume()
        assert make_volume() == first
        assert first.size_bytes >= layout.disks[0].size_bytes
        assert first.disk_id == layout.disks[0].disk_id
        assert from_json(Volume, to_json(first)) == first

    def test_two_keys_make_two_volumes(self, make_volume: Callable[..., Volume]) -> None:
        assert make_volume().ref != make_volume("contract-volume-other").ref

    def test_volume_is_deleted_twice(self, place: Place, make_volume: Callable[..., Volume], context: Context) -> None:
        made = make_volume()
        place.volumes.delete(made.ref, _KEY, context)
        place.volumes.delete(made.ref, _KEY, context)
        place.volumes.delete(None, "contract-volume-never-made", context)

    def test_volume_is_deleted_by_its_key(
        self, plugin: Provider, place: Place, make_volume: Callable[..., Volume], context: Context
    ) -> None:
        made = make_volume()
        place.volumes.delete(None, _KEY, context)
        if plugin.traits.get("keeps_bytes", True):
            with pytest.raises(ProviderError):
                with place.writer.open_sink(made, context):
                    pass

    def test_volume_can_be_made_again(self, place: Place, make_volume: Callable[..., Volume], context: Context) -> None:
        place.volumes.delete(None, _KEY, context)
        make_volume()
        place.volumes.delete(None, _KEY, context)
        made = make_volume()
        with place.writer.open_sink(made, context):
            pass

    def test_new_volume_is_what_it_says(
        self, plugin: Provider, place: Place, make_volume: Callable[..., Volume], context: Context
    ) -> None:
        made = make_volume()
        with place.writer.open_sink(made, context) as sink:
            promised = made.zeroed or sink.zeroed
            found = blocks.read_windows(sink, made.size_bytes)
        assert not promised or not any(any(data) for _, data in found)

    def test_sink_gives_back_what_was_written(
        self, plugin: Provider, place: Place, make_volume: Callable[..., Volume], context: Context
    ) -> None:
        self._need_kept_bytes(plugin)
        made = make_volume()
        size = made.size_bytes
        pieces = [(0, b"first"), (513, b"odd" * 777), (size // 2 - 1, b"\xff" * 4098), (size - 3, b"end")]
        with place.writer.open_sink(made, context) as sink:
            expected = blocks.patched(blocks.read_windows(sink, size), pieces)
            blocks.write_sink(sink, pieces)
        with place.writer.open_sink(made, context) as sink:
            found = blocks.read_windows(sink, size)
        for (_, data), (_, wanted) in zip(found, expected, strict=True):
            blocks.check_same(data, wanted)

    def test_newer_epoch_goes_on(
        self,
        plugin: Provider,
        place: Place,
        make_volume: Callable[..., Volume],
        new_context: Callable[..., Context],
    ) -> None:
        self._need_kept_bytes(plugin)
        made = make_volume()
        with place.writer.open_sink(made, new_context(epoch=1)) as sink:
            blocks.write_sink(sink, [(1000, b"one")])
        with place.writer.open_sink(made, new_context(epoch=2)) as sink:
            blocks.write_sink(sink, [(2000, b"two")])
        with place.writer.open_sink(made, new_context(epoch=3)) as sink:
            _, found = blocks.read_windows(sink, made.size_bytes)[0]
        assert (found[1000:1003], found[2000:2003]) == (b"one", b"two")

    def test_life_of_an_instance(
        self,
        place: Place,
        layout: Layout,
        source_instance: Instance,
        make_volume: Callable[..., Volume],
        destination_environment: Options,
        context: Context,
    ) -> None:
        volumes = [make_volume()]
        key = "contract-instance"
        arguments: tuple[Any, ...] = (source_instance, layout, volumes, key, destination_environment, context)
        try:
            made = place.compute.create(*arguments)
            assert not made.running
            assert place.compute.create(*arguments).ref == made.ref
            assert place.compute.start(made.ref, context).running
            assert place.compute.is_running(made.ref, context)
            assert place.compute.start(made.ref, context).running
            place.compute.stop(made.ref, context)
            place.compute.stop(made.ref, context)
            place.compute.delete(made.ref, key, context)
            place.compute.delete(made.ref, key, context)
        finally:
            place.compute.delete(None, key, context)
        with place.writer.open_sink(volumes[0], context):
            pass  # the volumes are still there

    @staticmethod
    def _need_kept_bytes(plugin: Provider) -> None:
        if not plugin.traits.get("keeps_bytes", True):
            pytest.skip(f"{plugin.name} keeps nothing of what is written")
