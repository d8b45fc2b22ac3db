# SPDX-License-Identifier: Apache-2.0
"""The demo ends what it started, and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import places


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's folders, below a temporary one."""
    for name in ("STATE", "BUILD", "STANDALONE_STATE", "POOL"):
        monkeypatch.setattr(places, name, tmp_path / name.lower())
    monkeypatch.setattr(places, "RUN_LINK", tmp_path / "state/run")
    monkeypatch.setattr(places.tempfile, "tempdir", str(tmp_path))
    return tmp_path / "state"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_stops_processes_with_their_children_and_removes_folders(state: Path) -> None:
    short = places.make_state()
    script = "sleep 600 & echo $! >&2; trap '' TERM; while :; do sleep 0.1; done"
    process = places.start("libvirt", ["sh", "-c", script], state / "log", dict(os.environ))
    assert places.wait_until(lambda: (state / "log").read_text().strip() != "", 10)
    child = int((state / "log").read_text())
    assert places.running("libvirt")
    places.stop_all()
    process.wait(10)  # gives no status when stop_all saw it die first
    assert not places.running("libvirt")
    assert places.wait_until(lambda: not Path(f"/proc/{child}/cmdline").exists() or _zombie(child), 10)
    assert not short.exists()
    assert not state.exists()


def test_leaves_a_later_process_with_the_same_id(state: Path, sleeper: subprocess.Popen[bytes]) -> None:
    places.make_state()
    (state / "standalone.pid").write_text(f"{sleeper.pid} 1\n")
    assert not places.running("standalone")
    places.stop_all()
    assert sleeper.poll() is None


def test_a_link_to_elsewhere_is_not_followed(state: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    state.mkdir()
    places.RUN_LINK.symlink_to(precious)
    places.stop_all()
    assert precious.is_dir()


def test_stopping_nothing_is_fine(state: Path) -> None:
    places.stop_all()
    places.stop_all()


def _zombie(pid: int) -> bool:
    return " Z " in Path(f"/proc/{pid}/stat").read_text()
