# SPDX-License-Identifier: Apache-2.0
"""JSON arguments of the command line."""

from __future__ import annotations

import argparse
import io

import pytest

from coriolis.client.cli.inputs import json_object, pair


def test_json_in_place_in_a_file_and_on_standard_input(tmp_path, monkeypatch):
    path = tmp_path / "info.json"
    path.write_text('{"uri": "qemu:///system"}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}'))
    assert json_object('{"a": [1]}') == {"a": [1]}
    assert json_object(str(path)) == json_object(f"@{path}") == {"uri": "qemu:///system"}
    assert json_object("-") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "cause"),
    [("{", "not JSON"), ("[1]", "cannot be read"), ("/no/such/file", "cannot be read"), ("{} x", "not JSON")],
)
def test_bad_json_names_the_cause(text, cause):
    with pytest.raises(argparse.ArgumentTypeError, match=cause):
        json_object(text)


def test_a_list_in_a_file_is_refused(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("[]")
    with pytest.raises(argparse.ArgumentTypeError, match="not a JSON object"):
        json_object(str(path))


def test_pairs():
    assert pair("VM Network=default") == ("VM Network", "default")
    for bad in ("x", "=x", "x="):
        with pytest.raises(argparse.ArgumentTypeError, match="SOURCE=DESTINATION"):
            pair(bad)
