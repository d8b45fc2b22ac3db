# SPDX-License-Identifier: Apache-2.0
"""Secrets in answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coriolis.api.views.masking import MASK, mask, masked_place, restore
from coriolis.providers import registry

SCHEMA = {
    "oneOf": [
        {
            "properties": {
                "pin": {"type": "string", "format": "password"},
                "seal": {"type": "object", "writeOnly": True},
                "inner": {"properties": {"stamp": {"writeOnly": True}, "plain": {}}},
                "items": {"type": "array", "items": {"properties": {"stamp": {"writeOnly": True}}}},
            }
        }
    ]
}


@pytest.mark.parametrize(
    "name",
    ["password", "os_password", "PASSPHRASE", "api_key", "private_key", "pkey", "secret", "token", "client_secret"],
)
def test_names_that_sound_secret(name: str) -> None:
    assert mask({name: "x"}) == {name: MASK}
    assert mask({"a": {"b": [{name: {"c": "x"}}]}}) == {"a": {"b": [{name: MASK}]}}


@pytest.mark.parametrize("name", ["host", "username", "port", "secret_ref", "allow_untrusted", "key_name", "region"])
def test_names_that_do_not(name: str) -> None:
    assert mask({name: "x"}) == {name: "x"}


def test_what_the_schema_marks() -> None:
    info = {"pin": "1", "seal": {"a": 1}, "inner": {"stamp": "s", "plain": "p"}, "items": [{"stamp": "s", "x": 1}]}
    assert mask(info, SCHEMA) == {
        "pin": MASK,
        "seal": MASK,
        "inner": {"stamp": MASK, "plain": "p"},
        "items": [{"stamp": MASK, "x": 1}],
    }


def test_what_the_schema_describes_and_does_not_mark() -> None:
    described = {"properties": {name: {"type": "string"} for name in ("ssh_host_key", "keystone_url", "password")}}
    info = {"ssh_host_key": "ssh-ed25519 AAAA", "keystone_url": "https://k", "password": "p", "other_key": "k"}
    assert mask(info, described) == {**info, "password": MASK, "other_key": MASK}


def test_what_our_providers_call_secret() -> None:
    """Every field that is marked is hidden, and no other one whose value a user has to see."""
    hidden = set()
    for name in registry.names():
        fields = registry.load(name).connection_schema["oneOf"][0]["properties"]
        shown = mask(dict.fromkeys(fields, "x"), registry.load(name).connection_schema)
        hidden |= {f"{name}.{field}" for field, value in shown.items() if value == MASK}
        marked = {f for f, part in fields.items() if part.get("writeOnly") or part.get("format") == "password"}
        assert marked == {field for field, value in shown.items() if value == MASK}
    assert {"libvirt.ssh_private_key", "fake.token"} <= hidden


def test_without_a_schema_every_text_is_hidden() -> None:
    assert mask({"host": "h", "port": 1, "a": ["x", {"b": "y"}]}, known=False) == {
        "host": MASK,
        "port": 1,
        "a": [MASK, {"b": MASK}],
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5).filter(lambda text: text != MASK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["password", "host", "a"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["password", "key", "host", "a"]), json_values), st.booleans())
def test_sending_back_what_was_shown_changes_nothing(info: dict[str, Any], known: bool) -> None:
    assert restore(mask(info, known=known), info) == info


def test_restore_takes_the_new_parts() -> None:
    stored = {"password": "p", "host": "h", "more": {"key": "k"}}
    assert restore({"password": MASK, "host": "i", "more": {"key": "l"}}, stored) == {
        "password": "p",
        "host": "i",
        "more": {"key": "l"},
    }
    assert restore({"password": MASK}, {}) == {"password": MASK}


@pytest.mark.parametrize("kept", ["https://host:8080/a?b=c@d", "a:b@c", "ssh://user@host:22/", "user@example.org"])
def test_what_is_no_password_in_an_address(kept: str) -> None:
    assert mask({"uri": kept}) == {"uri": kept}


@pytest.mark.parametrize("password", ["hunter2", "p@ss", "p:a", "***x"])
def test_a_password_in_an_address(password: str) -> None:
    """Hidden, kept when it is sent back, and replaced when another one is."""
    info = {"uri": f"qemu+ssh://root:{password}@host/system", "list": [f"http://u:{password}@h"]}
    shown = mask(info)
    assert shown == {"uri": "qemu+ssh://root:***@host/system", "list": ["http://u:***@h"]}
    assert restore(shown, info) == info
    new = {"uri": "qemu+ssh://root:new@host/system"}
    assert restore(new, info) == new
    elsewhere = {"uri": "qemu+ssh://root:***@elsewhere/system"}
    assert masked_place(restore(elsewhere, info), "info") == "info.uri"
