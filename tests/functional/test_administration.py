# SPDX-License-Identifier: Apache-2.0
"""``coriolis-manage`` and ``coriolis-status`` as an administrator runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "coriolis.conf"
    path.write_text(
        f"[database]\nconnection = sqlite:///{tmp_path}/db.sqlite\n[secrets]\nkey_file = {tmp_path}/secrets.key\n"
    )
    return path


def run(program: str, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([BIN / program, "--config-file", config, *words], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


def manage(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("coriolis-manage", config, *words)


def test_set_up_twice_and_check(config: Path) -> None:
    assert run("coriolis-status", config, "upgrade", "check").returncode == 2
    assert manage(config, "db", "check").returncode == 1
    for _ in range(2):
        assert "revision" in manage(config, "db", "sync").stdout
    assert manage(config, "db", "check").returncode == 0
    assert manage(config, "secrets", "create-key").returncode == 0
    good = run("coriolis-status", config, "upgrade", "check")
    assert good.returncode == 0, good.stdout + good.stderr


def test_the_key_file_is_private_and_never_overwritten(config: Path) -> None:
    key_file = config.with_name("secrets.key")
    manage(config, "secrets", "create-key")
    assert key_file.stat().st_mode & 0o777 == 0o600
    first = key_file.read_text()
    again = manage(config, "secrets", "create-key")
    assert again.returncode == 1
    assert "rotate-key" in again.stderr
    assert key_file.read_text() == first
    manage(config, "secrets", "rotate-key")
    assert key_file.read_text().splitlines()[1:] == first.splitlines()


def test_purge_and_explain_speak_plainly(config: Path) -> None:
    manage(config, "db", "sync")
    assert "Deleted 0 jobs" in manage(config, "purge", "--days", "1").stdout
    unknown = manage(config, "explain", "no-such-id")
    assert unknown.returncode == 1
    assert "no-such-id" in unknown.stderr


def test_bad_words_and_bad_configuration_are_named(config: Path) -> None:
    assert manage(config, "nonsense").returncode == 2
    config.write_text("[engine]\nlease_seconds = soon\n")
    assert "lease_seconds" in manage(config, "db", "sync").stderr
    config.write_text("")
    assert "[database]/connection" in manage(config, "db", "sync").stderr
