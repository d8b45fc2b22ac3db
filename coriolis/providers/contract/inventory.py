# SPDX-License-Identifier: Apache-2.0
"""Listings and descriptions."""

from __future__ import annotations

import jsonschema
import pytest

from coriolis.providers.api import (
    Capability,
    Connection,
    Context,
    Gone,
    Instance,
    InstanceSummary,
    Inventory,
    OptionsOf,
    Provider,
    from_json,
    to_json,
)
from coriolis.providers.contract.subject import Options, Subject

NOBODY = "no-such-instance-4711"
_MOST_PAGED = 60  # paging one by one through more would only take time


class InventoryContract(Subject):
    @pytest.fixture
    def inventory(self, plugin: Provider, connection: Connection) -> Inventory:
        self.need(plugin, Capability.INVENTORY)
        assert connection.inventory is not None
        return connection.inventory

    @pytest.fixture
    def everything(self, inventory: Inventory, source_environment: Options, context: Context) -> list[InstanceSummary]:
        return inventory.list_instances(source_environment, marker=None, limit=None, name=None, context=context)

    def test_listing_is_ordered_by_id(self, everything: list[InstanceSummary]) -> None:
        ids = [summary.id for summary in everything]
        assert ids == sorted(set(ids))

    def test_listing_is_stable(
        self, inventory: Inventory, everything: list[InstanceSummary], source_environment: Options, context: Context
    ) -> None:
        again = inventory.list_instances(source_environment, marker=None, limit=None, name=None, context=context)
        assert again == everything

    @pytest.mark.parametrize("limit", [1, 2, 7])
    def test_pages_are_complete(
        self,
        inventory: Inventory,
        everything: list[InstanceSummary],
        source_environment: Options,
        context: Context,
        limit: int,
    ) -> None:
        expected = everything[:_MOST_PAGED]
        seen: list[InstanceSummary] = []
        while len(seen) < len(expected) + limit:
            marker = seen[-1].id if seen else None
            page = inventory.list_instances(source_environment, marker=marker, limit=limit, name=None, context=context)
            assert len(page) <= limit
            seen += page
            if not page or len(seen) >= _MOST_PAGED:
                break
        assert seen[:_MOST_PAGED] == expected

    def test_marker_need_not_exist(
        self, inventory: Inventory, everything: list[InstanceSummary], source_environment: Options, context: Context
    ) -> None:
        """It may have been deleted between two pages."""
        marker = f"{everything[0].id}\x01"
        page = inventory.list_instances(source_environment, marker=marker, limit=None, name=None, context=context)
        assert [summary.id for summary in page] == [summary.id for summary in everything[1:]]

    def test_name_is_a_substring_in_any_case(
        self, inventory: Inventory, everything: list[InstanceSummary], source_environment: Options, context: Context
    ) -> None:
        part = everything[0].name[1:] or everything[0].name
        found = inventory.list_instances(
            source_environment, marker=None, limit=None, name=part.upper(), context=context
        )
        assert found == [summary for summary in everything if part.lower() in summary.name.lower()]
        assert not inventory.list_instances(source_environment, marker=None, limit=None, name=NOBODY, context=context)

    def test_instance_by_id_and_by_name(
        self, inventory: Inventory, everything: list[InstanceSummary], source_environment: Options, context: Context
    ) -> None:
        summary = everything[0]
        instance = inventory.get_instance(source_environment, summary.id, context)
        assert (instance.id, instance.name) == (summary.id, summary.name)
        assert (instance.num_cpu, instance.memory_mb) == (summary.num_cpu, summary.memory_mb)
        if [each.name for each in everything].count(summary.name) == 1:
            assert inventory.get_instance(source_environment, summary.name, context) == instance

    def test_unknown_instance_is_gone(
        self, inventory: Inventory, source_environment: Options, context: Context
    ) -> None:
        with pytest.raises(Gone) as caught:
            inventory.get_instance(source_environment, NOBODY, context)
        assert NOBODY in caught.value.message

    def test_instance_is_whole(self, instance: Instance) -> None:
        devices = instance.devices
        disk_ids = [disk.id for disk in devices.disks]
        assert len(set(disk_ids)) == len(disk_ids)
        assert all(disk.size_bytes > 0 for disk in devices.disks)
        assert len({nic.id for nic in devices.nics}) == len(devices.nics)
        assert all(nic.mac_address is None or nic.mac_address == nic.mac_address.lower() for nic in devices.nics)
        controllers = {controller.id for controller in devices.controllers}
        assert {disk.controller_id for disk in devices.disks} - {None} <= controllers
        assert instance.num_cpu > 0
        assert instance.memory_mb > 0

    def test_instance_survives_json(self, instance: Instance) -> None:
        assert from_json(Instance, to_json(instance)) == instance

    @pytest.mark.parametrize("of", list(OptionsOf))
    def test_options_are_those_of_the_schema(
        self, plugin: Provider, connection: Connection, context: Context, of: OptionsOf
    ) -> None:
        """Before the user has chosen anything; each can be asked for alone, and every text value can be chosen."""
        self.need(plugin, Capability.OPTIONS)
        assert connection.options is not None
        found = connection.options.list_options(of, {}, None, context)
        properties = (plugin.schemas[str(of)] or {}).get("properties", {})
        assert len({option.name for option in found}) == len(found)
        for option in found:
            assert option.name in properties
            for value in option.values:
                assert isinstance(value, str | int | float) or {"id", "name"} <= set(value)
                if isinstance(value, str):
                    jsonschema.validate(value, properties[option.name])
            alone = connection.options.list_options(of, {}, [option.name], context)
            assert [each.name for each in alone] == [option.name]
        assert connection.options.list_options(of, {}, [NOBODY], context) == []

    def test_networks_are_distinct(
        self, plugin: Provider, connection: Connection, destination_environment: Options, context: Context
    ) -> None:
        self.need(plugin, Capability.NETWORKS)
        assert connection.networks is not None
        networks = connection.networks.list_networks(destination_environment, context)
        assert len({network.id for network in networks}) == len(networks)
        assert all(network.name for network in networks)

    def test_storage_is_distinct(
        self, plugin: Provider, connection: Connection, destination_environment: Options, context: Context
    ) -> None:
        self.need(plugin, Capability.STORAGE)
        assert connection.storage is not None
        found = connection.storage.list_storage(destination_environment, context)
        names = {word for backend in found.storage_backends for word in (backend.id, backend.name)}
        assert len({backend.id for backend in found.storage_backends}) == len(found.storage_backends)
        assert found.config_default is None or found.config_default in names
