# SPDX-License-Identifier: Apache-2.0
"""What several schemas allow together."""

from __future__ import annotations

from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from coriolis.api.unions import union
from coriolis.providers import registry

OLD = {
    "type": "object",
    "title": "Old",
    "properties": {"host": {"type": "string"}, "mode": {"type": "string", "enum": ["a", "b"]}},
    "required": ["host", "mode"],
    "additionalProperties": False,
}
NEW = {
    "type": "object",
    "title": "New",
    "properties": {
        "host": {"type": "string", "minLength": 1},
        "mode": {"type": "string", "enum": ["b", "c"]},
        "port": {"type": "integer"},
    },
    "required": ["host"],
    "additionalProperties": False,
}


def test_takes_what_either_takes() -> None:
    both = union([NEW, OLD])
    assert both["title"] == "New"
    assert both["properties"]["mode"]["enum"] == ["b", "c", "a"]
    assert both["required"] == ["host"]
    for good in ({"host": "h", "mode": "a"}, {"host": "h", "port": 5}, {"host": "h", "mode": "c"}):
        jsonschema.validate(good, both)
    assert not jsonschema.Draft202012Validator(both).is_valid({"host": "h", "unknown": 1})


def test_free_text_beside_a_choice_is_free() -> None:
    free = {"properties": {"mode": {"type": "string"}}}
    assert "enum" not in union([NEW, free])["properties"]["mode"]


def test_branches_stay_branches() -> None:
    secret = {"type": "object", "properties": {"secret_ref": {"type": "string"}}, "required": ["secret_ref"]}
    both = union([{"oneOf": [NEW, secret]}, {"oneOf": [OLD, secret]}])
    assert both["oneOf"] == [union([NEW, OLD]), secret]


@given(st.lists(st.sampled_from(registry.names()), min_size=1, max_size=3))
def test_one_schema_is_its_own_union(names: list[str]) -> None:
    for name in names:
        for schema in registry.load(name).schemas.values():
            if schema is not None:
                same: Any = union([schema] * len(names))
                assert same == schema
