# SPDX-License-Identifier: Apache-2.0
"""Words about data that do not fit a schema."""

from __future__ import annotations

from typing import Any

import pytest

from coriolis.api import validation
from coriolis.domain.errors import Invalid

SCHEMA = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "object", "required": ["b"], "properties": {"b": {"type": ["string", "null"]}}},
        "n": {"type": "integer", "minimum": 1, "maximum": 3},
        "e": {"enum": ["x", "y"]},
        "l": {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True},
        "r": {"type": "string", "pattern": "^[a-z]+$"},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "root: must be object, not array"),
        ({}, "root.a: is required"),
        ({"a": {}}, "root.a.b: is required"),
        ({"a": {"b": 5}}, "root.a.b: must be string or null, not integer"),
        ({"a": {"b": None}, "n": 0}, "root.n: must be at least 1"),
        ({"a": {"b": None}, "n": 4}, "root.n: must be at most 3"),
        ({"a": {"b": None}, "n": True}, "root.n: must be integer, not boolean"),
        ({"a": {"b": None}, "e": "z"}, "root.e: must be one of x, y"),
        ({"a": {"b": None}, "l": ["x", ""]}, "root.l[1]: must have at least 1 characters"),
        ({"a": {"b": None}, "l": ["x", "x"]}, "root.l: must not hold the same item twice"),
        ({"a": {"b": None}, "r": "S3cret!"}, "root.r: must match the pattern ^[a-z]+$"),
        ({"a": {"b": None}, "z": 1}, "root.z: is no known field; known are a, e, l, n, r"),
    ],
)
def test_errors_name_the_field_and_the_cure(data: Any, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        validation.check(validation.compile_schema(SCHEMA), data, "root")
    assert caught.value.message == message
    assert caught.value.field == message.partition(":")[0]
    assert "S3cret" not in caught.value.message


def test_the_branch_that_is_meant_speaks() -> None:
    fields = {"type": "object", "properties": {"host": {"type": "string"}}, "required": ["host"]}
    reference = {"type": "object", "properties": {"secret_ref": {"type": "string"}}, "required": ["secret_ref"]}
    schema = {"oneOf": [fields, reference]}
    validation.check_provider_data(schema, {"host": "x"}, "info")
    validation.check_provider_data(schema, {"secret_ref": "x"}, "info")
    for data, field in (({}, "info.host"), ({"host": 5}, "info.host"), ({"secret_ref": 5}, "info.secret_ref")):
        with pytest.raises(Invalid) as caught:
            validation.check_provider_data(schema, data, "info")
        assert caught.value.field == field


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"type": "no-such-type"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
    ],
)
def test_a_providers_broken_schema_is_no_crash_and_no_download(schema: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="unusable"):
        validation.check_provider_data(schema, {"a": 1}, "info")
