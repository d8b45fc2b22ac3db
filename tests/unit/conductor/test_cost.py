# SPDX-License-Identifier: Apache-2.0
"""The number of statements of every operation is a constant."""

from __future__ import annotations

import pytest

from coriolis.conductor import advance, ingest
from coriolis.rpc.messages import Result
from tests.unit.conductor.rig import QUARANTINE, Rig, well


def cost(rig: Rig, migrations: int) -> dict[str, int]:
    """Statements for one batch of each operation, with so many migrations at once."""
    found = {}
    with rig.db.counting() as count:
        for number in range(migrations):
            rig.create(f"vm-{number}")
        found["create"] = count()
    with rig.db.counting() as count:
        advance.compile_pending(rig.db, limit=1000)
        found["compile"] = count()
    for name in ("inspect", "plan", "deploy", "finalize"):
        with rig.db.counting() as count:
            assigns = rig.dispatch(limit=1000, per_endpoint=5)
            found[f"dispatch {name}"] = count()
        assert {one.name for one in assigns} == {name}
        assert len(assigns) == migrations
        batch = [Result(attempt=one.attempt, **well(one)) for one in assigns]
        with rig.db.counting() as count:
            ingest.results(rig.db, batch, quarantine=QUARANTINE)
            found[f"results {name}"] = count()
    with rig.db.counting() as count:
        rig.relay()
        found["relay"] = count()
    return found


def test_statements_do_not_grow_with_the_batch(rig: Rig) -> None:
    rig.worker(slots=1000)
    one = cost(rig, 1)
    many = cost(rig, 40)
    assert many.pop("create") == 40 * one.pop("create")
    assert many == one
    assert max(one.values()) <= 18, one


def test_statements_per_task_do_not_grow_with_the_database(rig: Rig) -> None:
    rig.worker(slots=1000)
    first = cost(rig, 6)
    for _ in range(3):
        cost(rig, 6)
    assert cost(rig, 6) == first


@pytest.mark.parametrize("batch", [1, 8])
def test_statements_per_task(rig: Rig, batch: int) -> None:
    rig.worker(slots=1000)
    found = cost(rig, batch)
    tasks = 4 * batch
    assert sum(found.values()) / tasks <= 8 + 30 / batch
