# SPDX-License-Identifier: Apache-2.0
"""``coriolis-manage links`` as an administrator runs it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("coriolis-manage")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "coriolis.conf"
    path.write_text(
        f"[link]\nauthority_certificate_file = {tmp_path}/links.pem\nauthority_key_file = {tmp_path}/links.key\n"
    )
    return path


def manage(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "--config-file", config, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=config.parent, env={**os.environ})
    assert "Traceback" not in done.stderr
    return done


def test_an_authority_is_made_once_and_issues_certificates(config: Path, tmp_path: Path) -> None:
    assert manage(config, "links", "create-authority").returncode == 0
    key = tmp_path / "links.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    first = key.read_bytes()
    again = manage(config, "links", "create-authority")
    assert again.returncode == 1
    assert "exists and is kept" in again.stderr
    assert key.read_bytes() == first
    assert "for 7 days" in manage(config, "links", "issue", "worker-1.example", "--days", "7").stdout
    assert stat.S_IMODE((tmp_path / "worker-1.example.key").stat().st_mode) == 0o600
    assert "BEGIN CERTIFICATE" in (tmp_path / "worker-1.example.pem").read_text()
    assert "no DNS name" in manage(config, "links", "issue", "not a name").stderr
    key.chmod(0o644)
    assert "chmod 0600" in manage(config, "links", "issue", "worker-2.example").stderr


def test_without_files_the_options_are_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.conf"
    path.write_text("")
    assert "authority_key_file" in manage(path, "links", "create-authority").stderr
