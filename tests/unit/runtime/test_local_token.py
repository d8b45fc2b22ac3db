# SPDX-License-Identifier: Apache-2.0
"""The token file of a standalone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from coriolis.runtime import local_token


def test_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = local_token.load_or_create(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert local_token.load_or_create(path) == local_token.load(path) == token
    assert local_token.load_or_create(tmp_path / "other") != token


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    local_token.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(local_token.UnsafeFile, match="chmod 600"):
        local_token.load_or_create(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    with pytest.raises(local_token.UnsafeFile, match="no token"):
        local_token.load(path)


def test_links_and_folders_are_refused(tmp_path: Path) -> None:
    local_token.load_or_create(tmp_path / "token")
    (tmp_path / "link").symlink_to(tmp_path / "token")
    with pytest.raises(OSError, match="symbolic"):
        local_token.load_or_create(tmp_path / "link")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises((OSError, local_token.UnsafeFile)):
        local_token.load(tmp_path / "folder")
