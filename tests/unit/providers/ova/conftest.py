# SPDX-License-Identifier: Apache-2.0
"""A connection to a path, and what it says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from coriolis.providers.api import Context, Snapshot
from coriolis.providers.contract import Recorder, blocks
from coriolis.providers.ova.connection import OvaConnection


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def context(tmp_path: Path, recorder: Recorder) -> Context:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Context(
        log=logging.getLogger("test"),
        scratch=scratch,
        progress=lambda item, done, total, message: recorder.progress.append((item, done, total, message)),
        event=lambda level, message: recorder.events.append((level, message)),
    )


@pytest.fixture
def connect() -> Callable[[Path], OvaConnection]:
    return lambda path: OvaConnection({"path": str(path)})


@pytest.fixture
def read_disk(context: Context) -> Callable[[OvaConnection, Snapshot, str], bytes]:
    """All bytes of a disk of a snapshot."""

    def read(connection: OvaConnection, snapshot: Snapshot, disk_id: str) -> bytes:
        size = next(disk.size_bytes for disk in snapshot.disks if disk.disk_id == disk_id)
        with connection.read_blocks.open_source(snapshot, disk_id, context) as source:
            return blocks.read_source(source, size)

    return read
