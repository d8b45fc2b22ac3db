# SPDX-License-Identifier: Apache-2.0
"""The provider object: names, schemas, capabilities."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from coriolis.providers.api import Capability, Connection, Provider
from coriolis.providers.api.provider import SCHEMA_PARTS
from coriolis.providers.contract.subject import Options, Subject

_ATTRIBUTES = {
    Capability.INVENTORY: "inventory",
    Capability.NETWORKS: "networks",
    Capability.STORAGE: "storage",
    Capability.OPTIONS: "options",
    Capability.PLANNING: "planning",
    Capability.SNAPSHOTS: "snapshots",
    Capability.INCREMENTS: "snapshots",
    Capability.READ_BLOCKS: "read_blocks",
    Capability.WRITE_BLOCKS: "write_blocks",
    Capability.VOLUMES: "volumes",
    Capability.COMPUTE: "compute",
}


def _schemas(plugin: Provider) -> list[dict[str, Any]]:
    return [schema for schema in plugin.schemas.values() if schema is not None]


def _properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All properties of a schema, however deep, with their paths."""
    if not isinstance(schema, dict):
        return
    for branch in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _properties(branch, path)
    for name, part in schema.get("properties", {}).items():
        yield f"{path}/{name}", part
        yield from _properties(part, f"{path}/{name}")
    if "items" in schema:
        yield from _properties(schema["items"], f"{path}[]")


class SchemaContract(Subject):
    def test_it_calls_itself_as_it_is_registered(self, plugin: Provider) -> None:
        assert plugin.name == self.provider
        assert plugin.title
        assert plugin.support in ("real", "simulator", "fake")

    def test_schemas_are_valid(self, plugin: Provider) -> None:
        for schema in _schemas(plugin):
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_options_fit_the_schemas(
        self,
        plugin: Provider,
        options: Options,
        source_environment: Options,
        destination_environment: Options,
    ) -> None:
        jsonschema.validate(options, plugin.connection_schema)
        if plugin.source_schema is not None:
            jsonschema.validate(source_environment, plugin.source_schema)
        if plugin.destination_schema is not None:
            jsonschema.validate(destination_environment, plugin.destination_schema)

    def test_the_connection_is_fields_or_a_secret(self, plugin: Provider) -> None:
        branches = plugin.connection_schema["oneOf"]
        assert branches[0]["type"] == "object", "consoles show the first branch as a form"
        assert "properties" in branches[0]
        jsonschema.validate({"secret_ref": "https://example.org/v1/secrets/1"}, plugin.connection_schema)

    def test_unknown_connection_fields_are_refused(self, plugin: Provider, options: Options) -> None:
        validator = jsonschema.Draft202012Validator(plugin.connection_schema)
        assert not validator.is_valid({**options, "no_such_field": 1})

    def test_consoles_can_show_every_field(self, plugin: Provider) -> None:
        for schema in _schemas(plugin):
            for path, part in _properties(schema):
                assert part.get("title"), f"{path} has no title"
                assert isinstance(part.get("type"), str), f"{path} needs exactly one type"
                assert part["type"] != "null", f"{path}: leave the field out instead of null"
                assert None not in part.get("enum", ()), f"{path}: leave the field out instead of null"

    def test_environment_schemas_are_objects(self, plugin: Provider) -> None:
        for schema in _schemas(plugin)[1:]:
            assert schema.get("type") == "object" or "oneOf" in schema

    @pytest.mark.parametrize("part", [part for part in SCHEMA_PARTS if part != "connection"])
    def test_secrets_are_in_the_connection_only(self, plugin: Provider, part: str) -> None:
        """Connection info is encrypted where it is kept and masked where it is shown; environments are neither."""
        for path, field in _properties(plugin.schemas[part] or {}):
            assert not field.get("writeOnly"), f"{path} of {part} is a secret: move it to the connection"
            assert field.get("format") != "password", f"{path} of {part} is a secret: move it to the connection"

    def test_preloaded_modules_import(self, plugin: Provider) -> None:
        for name in plugin.preload:
            importlib.import_module(name)

    @pytest.mark.parametrize("capability", list(_ATTRIBUTES))
    def test_declared_capabilities_are_there(
        self, plugin: Provider, connection: Connection, capability: Capability
    ) -> None:
        self.need(plugin, capability)
        assert getattr(connection, _ATTRIBUTES[capability]) is not None
