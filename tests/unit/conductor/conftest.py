# SPDX-License-Identifier: Apache-2.0
"""An engine on a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.store import schema
from coriolis.store.engine import Database
from tests.unit.conductor.rig import Clock, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = Clock()
    db = Database(f"sqlite:///{tmp_path}/engine.sqlite", clock=clock, synchronous="OFF", retry_seconds=20)
    schema.upgrade(db)
    yield Rig(db, clock)
    db.dispose()
