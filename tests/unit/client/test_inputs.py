# SPDX-License-Identifier: Apache-2.0
"""JSON arguments of the command line."""

from __future__ import annotations

import argparse
import io

import pytest

from coriolis.client.cli.inputs import day, json_object, moment, pair, script, scripts


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


def test_scripts_have_a_phase_where_one_is_named(tmp_path):

    link = tmp_path / "first.sh"
    link.write_text("echo first\n")
    assert script(f"linux={link}") == ("linux", {"payload": "echo first\n"})
    assert script(f"web:1:replica_first_boot={link}") == (
        "web:1",
        {"payload": "echo first\n", "phase": "replica_first_boot"},
    )
    assert script(f"web:1={link}")[0] == "web:1"
    assert script("linux=") == ("linux", None)
    for bad in ("linux", "=x", "linux=/no/such/file"):
        with pytest.raises(argparse.ArgumentTypeError):
            script(bad)
    first, second = {"payload": "1"}, {"payload": "2"}
    assert scripts([("linux", first), ("linux", second), ("bsd", None)]) == {"linux": [first, second], "bsd": None}


def test_days_and_times():
    assert [day(text) for text in ("mon", "Sunday", "3")] == [0, 6, 3]
    for bad in ("7", "x", "-1"):
        with pytest.raises(argparse.ArgumentTypeError, match="no day"):
            day(bad)
    assert moment("2030-01-02T03:04:05+02:00") == "2030-01-02T01:04:05Z"
    assert moment("2030-01-02T03:04:05") == moment("2030-01-02T03:04:05.250Z") == "2030-01-02T03:04:05Z"
    with pytest.raises(argparse.ArgumentTypeError, match="no time"):
        moment("tomorrow")
