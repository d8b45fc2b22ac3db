# SPDX-License-Identifier: Apache-2.0
"""Two workers copy at the same time under one budget: they share it, and feel it being changed.

Conductor, scheduler, store and workers are the real ones, each worker with its own fork server and copying processes;
the clouds are fakes with real bytes behind real NBD servers.
"""

from __future__ import annotations

import datetime as dt
import random
import shutil
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import pytest

from coriolis.commands import bandwidth_budgets
from coriolis.commands.bandwidth_budgets import NewBudget
from coriolis.domain.bandwidth import DAYS
from coriolis.store import actions
from tests.integration.house import MIB, House

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="needs qemu-utils"),
    pytest.mark.timeout(400),
]

MB = 10**6


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path).running() as house:
        yield house


def near(rates: list[float | None], total: float) -> bool:
    """All use about the same, and together about the total."""
    known = [rate or 0.0 for rate in rates]
    return len(known) == 2 and all(0.35 * total <= rate <= 0.65 * total for rate in known)


class Syncs:
    """How often each of the streams was told its share since this was made."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._times: dict[str, set[dt.datetime]] = {one.task_id: {one.updated_at} for one in house.moving()}
        self._rows = house.moving()

    def look(self) -> bool:
        self._rows = self._house.moving()
        for one in self._rows:
            self._times[one.task_id].add(one.updated_at)
        return True

    def granted(self) -> list[float | None]:
        return [one.granted for one in self._rows]

    def most(self) -> int:
        return max(len(times) for times in self._times.values()) - 1


def test_two_workers_share_a_budget_and_feel_a_change(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    piece = random.Random(7).randbytes(16 * MIB)
    for name in ("vm-1", "vm-2"):
        house.source.write(house.source.add_instance(name, disk_sizes=(320 * MIB,)), "disk-0", 0, piece * 18)
    budget = bandwidth_budgets.create(
        house.db,
        NewBudget(name="wire", scope="project", target={"project_id": "project"}, bytes_per_second=8 * MB),
    )
    jobs = [house.migrate(name) for name in ("vm-1", "vm-2")]

    house.until(lambda: near([one.granted for one in house.moving()], 8 * MB), "two fair shares of 8 MB/s")
    house.until(lambda: near([one.used for one in house.moving()], 8 * MB), "two copies at 4 MB/s")
    assert sum(one.used for one in house.moving()) <= 1.5 * 8 * MB

    bandwidth_budgets.update(house.db, budget.id, {"bytes_per_second": 32 * MB})
    felt = house.until(lambda: near([one.granted for one in house.moving()], 32 * MB), "fair shares of 32 MB/s")
    fast = house.until(lambda: near([one.used for one in house.moving()], 32 * MB), "two copies at 16 MB/s")
    with capsys.disabled():
        print(f"\nnew shares after {felt:.1f} s, new rates measured {fast:.1f} s later")

    # A window in another time zone, set while they run. When it is felt is counted in syncs.
    here = dt.datetime.now(zoneinfo.ZoneInfo("Pacific/Kiritimati"))
    days = [DAYS[here.weekday()], DAYS[(here.weekday() + 1) % 7]]
    window = {"days": days, "start": "00:00", "end": "00:00", "bytes_per_second": 4 * MB}
    seen = Syncs(house)
    bandwidth_budgets.update(house.db, budget.id, {"time_zone": "Pacific/Kiritimati", "windows": [window]})
    felt = house.until(lambda: seen.look() and near(seen.granted(), 4 * MB), "fair shares of 4 MB/s")
    assert seen.most() <= 3  # two, and one that was under way; there is one every two seconds
    fast = house.until(lambda: near([one.used for one in house.moving()], 4 * MB), "two copies at 2 MB/s")
    with capsys.disabled():
        print(f"window: new shares after {felt:.1f} s, new rates measured {fast:.1f} s later")

    bandwidth_budgets.update(house.db, budget.id, {"enabled": False})
    done = {"COMPLETED", "ERROR", "CANCELED"}
    house.until(
        lambda: all(house.db.read(actions.get, job, None).last_execution_status in done for job in jobs), "the ends"
    )
    assert [house.db.read(actions.get, job, None).last_execution_status for job in jobs] == ["COMPLETED"] * 2


def test_one_stream_at_a_time_and_no_stall(house: House) -> None:
    piece = random.Random(7).randbytes(4 * MIB)
    for name in ("vm-1", "vm-2"):
        house.source.write(house.source.add_instance(name, disk_sizes=(32 * MIB,)), "disk-0", 0, piece * 8)
    new = NewBudget(name="one", scope="project", target={"project_id": "project"}, streams=1, bytes_per_second=4 * MB)
    bandwidth_budgets.create(house.db, new)
    jobs = [house.migrate(name) for name in ("vm-1", "vm-2")]
    house.until(lambda: sorted(one.granted or 0.0 for one in house.moving()) == [0.0, 4 * MB], "one moves, one waits")
    house.until(
        lambda: all(house.db.read(actions.get, job, None).last_execution_status == "COMPLETED" for job in jobs),
        "both to be copied",
    )
