# SPDX-License-Identifier: Apache-2.0
"""Every command of both programs: that it has its place, help, and examples that can be typed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from coriolis.client.cli import words
from coriolis.client.cli.app import Application
from coriolis.client.cli.command import NOUN

OURS = {point.name.replace("_", " "): point for point in metadata.entry_points(group="coriolis.cli")}
PLUGIN = {point.name.replace("_", " "): point for point in metadata.entry_points(group="openstack.migration.v1")}


@pytest.fixture(scope="module")
def app() -> Application:
    return Application()


def commands() -> list[str]:
    return [name for name, point in OURS.items() if point.value.startswith("coriolis.")]


def test_both_programs_have_the_same_commands() -> None:
    """The plugin has one first word; migrations need not say it twice."""
    expected = {name if name.startswith(f"{NOUN} ") else f"{NOUN} {name}": OURS[name].value for name in commands()}
    assert {name: point.value for name, point in PLUGIN.items()} == expected


@pytest.mark.parametrize("name", commands())
def test_each_says_what_it_does_and_shows_how(name: str, app: Application, tmp_path: Path, monkeypatch: Any) -> None:
    kind = OURS[name].load()
    assert kind.__doc__, name
    assert kind.examples, name
    monkeypatch.chdir(tmp_path)
    for file in ("libvirt.json", "environment.json", "networks.json", "pool.json"):
        (tmp_path / file).write_text("{}")
    for example in kind.examples:
        found, found_name, rest = app.command_manager.find_command(shlex.split(example))
        assert found is kind, example
        found(app, None).get_parser(f"coriolis {found_name}").parse_args(rest)
    assert all(example in kind(app, None).get_parser("coriolis x").format_help() for example in kind.examples)


@pytest.mark.parametrize("older", sorted(words.OLDER))
def test_older_words_lead_to_ours(older: str, app: Application) -> None:
    ours = words.OLDER[older]
    assert app.command_manager.find_command([*older.split(), "x"])[0] is OURS[ours].load()
    assert older not in OURS


def program(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    command = [Path(sys.executable).parent / "coriolis", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_misspelt_command_is_met_with_proposals() -> None:
    done = program("migration", "lits")
    assert done.returncode == 2
    assert "migration list" in done.stdout + done.stderr


def test_a_missing_service_is_told_in_words(tmp_path: Path) -> None:
    done = program("--state-dir", str(tmp_path), "endpoint", "list")
    assert done.returncode == 1
    assert "coriolis-standalone" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bare_address_wants_a_token(tmp_path: Path) -> None:
    address = ("--url", "http://127.0.0.1:9/v1/p")
    assert "--token-file" in program(*address, "endpoint", "list").stderr
    token = tmp_path / "token"
    token.write_text("t\n")
    said = program(*address, "--token-file", str(token), "endpoint", "list").stderr
    assert "does not answer" in said
    assert "Traceback" not in said


def test_completion_knows_every_command() -> None:
    script = program("complete").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert all(name.rsplit(" ", 1)[1] in script for name in commands())
    assert "--origin-endpoint" in script
