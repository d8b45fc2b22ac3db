# SPDX-License-Identifier: Apache-2.0
"""Schedules fire once, whoever looks, and whatever clocks do."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import executions, schedules, transfers
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.schedules import NewSchedule, Outcome
from coriolis.domain.errors import Conflict, Invalid, InvalidState, NotFound
from coriolis.scheduler.cron import fire_due
from coriolis.store import actions
from coriolis.store import executions as runs
from coriolis.store import schedules as queries
from coriolis.store.paging import Page
from coriolis.store.standing_rows import Schedule
from tests.unit.conductor.rig import CALLER, Rig

STRANGER = Caller(user_id="other", project_id="elsewhere")


def transfer(rig: Rig) -> str:
    rig.worker(kind="ova", slots=50)
    ends = [endpoint_commands.create(rig.db, CALLER, NewEndpoint(name=n, type="ova", sealed=n)).id for n in "ab"]
    spec = transfers.NewTransfer(origin=ends[0], destination=ends[1], instances=("vm",))
    return transfers.create(rig.db, CALLER, spec).id


def schedule(rig: Rig, transfer_id: str, **more: Any) -> Schedule:
    new = NewSchedule(**{"calendar": {"minute": 0}, **more})
    return schedules.create(rig.db, CALLER, transfer_id, new)


def again(rig: Rig, row: Schedule) -> Schedule:
    return rig.db.read(queries.get, row.transfer_id, row.id)


def fire(rig: Rig) -> list[Outcome]:
    return fire_due(rig.db, limit=10)


def started(rig: Rig, transfer_id: str) -> int:
    return len(rig.db.read(runs.page, transfer_id, Page()))


def end(rig: Rig, transfer_id: str) -> None:
    """As if its execution had been completed."""
    with rig.db.writer() as conn:
        run = runs.latest(conn, [transfer_id])[transfer_id]
        runs.update(conn, [{"b_id": run.id, "state": "COMPLETED", "updated_at": rig.clock()}])
        actions.update(conn, [{"b_id": transfer_id, "last_execution_status": "COMPLETED", "updated_at": rig.clock()}])


def test_it_fires_once_in_its_minute(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job, shutdown_instance=True)
    assert made.next_fire_at == rig.clock() + dt.timedelta(hours=1)
    rig.clock.forward(3599.9)
    assert fire(rig) == []
    rig.clock.forward(0.2)
    assert fire(rig) == [Outcome.STARTED]
    assert fire(rig) == []
    (run,) = rig.db.read(runs.page, job, Page())
    assert (run.shutdown_instances, run.type) == (True, "transfer_execution")
    fired = again(rig, made)
    assert fired.last_fired_at == made.next_fire_at
    assert fired.next_fire_at == made.next_fire_at + dt.timedelta(hours=1)
    assert run.id in (fired.message or "")


def test_many_schedulers_fire_once(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    rig.clock.forward(3600)
    found = schedules.due(rig.db, limit=10)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: schedules.fire(rig.db, found[0]), range(8)))
    assert sorted(outcomes) == sorted([Outcome.STARTED, *[Outcome.ELSEWHERE] * 7])
    assert started(rig, job) == 1
    assert again(rig, made).version == 2


def test_what_was_missed_is_made_up_for_once(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    rig.clock.forward(3600 * 5 + 600)
    assert fire(rig) == [Outcome.STARTED]
    assert fire(rig) == []
    assert again(rig, made).next_fire_at == rig.clock() + dt.timedelta(minutes=50)


def test_a_running_execution_is_not_disturbed(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    first = executions.create(rig.db, CALLER, job)
    rig.clock.forward(3600)
    rig.sync(rig.sessions[0])
    assert fire(rig) == [Outcome.SKIPPED]
    assert fire(rig) == []
    assert first.id in (again(rig, made).message or "")
    assert started(rig, job) == 1
    end(rig, job)
    rig.clock.forward(3600)
    assert fire(rig) == [Outcome.STARTED]
    assert started(rig, job) == 2


def test_a_clock_that_goes_back_fires_nothing_twice(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job, calendar={})
    rig.clock.forward(120)
    assert fire(rig) == [Outcome.STARTED]
    end(rig, job)
    rig.clock.forward(-90)
    assert fire(rig) == []
    schedules.update(rig.db, CALLER, job, made.id, {"enabled": False})
    schedules.update(rig.db, CALLER, job, made.id, {"enabled": True})
    rig.clock.forward(90)
    assert fire(rig) == []
    rig.clock.forward(60)
    assert fire(rig) == [Outcome.STARTED]


def test_a_look_before_the_clock_went_back_fires_nothing(rig: Rig) -> None:
    job = transfer(rig)
    schedule(rig, job)
    rig.clock.forward(3600)
    (found,) = schedules.due(rig.db, limit=10)
    rig.clock.forward(-10)
    assert schedules.fire(rig.db, found) is Outcome.ELSEWHERE


def test_without_a_worker_it_waits(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    rig.clock.forward(3600)
    rig.reap()
    assert fire(rig) == [Outcome.POSTPONED]
    assert "worker" in (again(rig, made).message or "")
    assert fire(rig) == []
    rig.worker(kind="ova")
    rig.clock.forward(60)
    assert fire(rig) == [Outcome.STARTED]
    assert again(rig, made).next_fire_at == made.next_fire_at + dt.timedelta(hours=1)


def test_disabled_and_expired_ones_do_not_fire(rig: Rig) -> None:
    job = transfer(rig)
    off = schedule(rig, job, enabled=False)
    brief = schedule(rig, job, expiration_date=rig.clock() + dt.timedelta(minutes=30))
    assert (off.next_fire_at, brief.next_fire_at) == (None, None)
    once = schedule(rig, job, expiration_date=rig.clock() + dt.timedelta(minutes=90))
    rig.clock.forward(3600)
    assert fire(rig) == [Outcome.STARTED]
    assert again(rig, once).next_fire_at is None
    end(rig, job)
    rig.clock.forward(36000)
    assert fire(rig) == []
    schedules.update(rig.db, CALLER, job, once.id, {"shutdown_instance": True})
    with pytest.raises(Invalid, match="future"):
        schedules.update(rig.db, CALLER, job, once.id, {"expiration_date": rig.clock()})
    woken = schedules.update(rig.db, CALLER, job, once.id, {"expiration_date": None})
    assert woken.next_fire_at is not None


@pytest.mark.parametrize("calendar", [{"dom": 31, "month": 2}, {"dom": 30, "month": 2}, {"dom": 31, "month": 6}])
def test_a_day_that_never_comes_is_refused(rig: Rig, calendar: dict[str, int]) -> None:
    job = transfer(rig)
    with pytest.raises(Invalid, match="no year"):
        schedule(rig, job, calendar=calendar)
    made = schedule(rig, job)
    with pytest.raises(Invalid, match="no year"):
        schedules.update(rig.db, CALLER, job, made.id, {"calendar": calendar})


def test_two_changes_at_once(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    with rig.db.writer() as conn:
        assert queries.change(conn, made, {"enabled": False})
        assert not queries.change(conn, made, {"enabled": True})
    with pytest.raises(Conflict):
        rig.db.write(_late_change, rig, made)


def _late_change(conn: Any, rig: Rig, stale: Schedule) -> None:
    if not queries.change(conn, replace(stale, version=0), {"enabled": True}):
        raise Conflict("as the command says it")


def test_it_goes_with_its_transfer(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    transfers.delete(rig.db, CALLER, job)
    rig.clock.forward(3600)
    assert fire(rig) == []
    with pytest.raises(NotFound):
        again(rig, made)


def test_it_is_not_deleted_under_a_running_execution(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    executions.create(rig.db, CALLER, job)
    with pytest.raises(InvalidState):
        schedules.delete(rig.db, CALLER, job, made.id)
    end(rig, job)
    schedules.delete(rig.db, CALLER, job, made.id)
    with pytest.raises(NotFound):
        again(rig, made)


def test_strangers_see_nothing(rig: Rig) -> None:
    job = transfer(rig)
    made = schedule(rig, job)
    with pytest.raises(NotFound):
        schedules.update(rig.db, STRANGER, job, made.id, {"enabled": False})
    with pytest.raises(NotFound):
        schedules.delete(rig.db, STRANGER, job, made.id)
    with pytest.raises(NotFound):
        schedules.create(rig.db, STRANGER, job, NewSchedule(calendar={}))


def test_a_look_costs_two_statements(rig: Rig) -> None:
    job = transfer(rig)
    schedule(rig, job)
    with rig.db.counting() as count:
        fire(rig)
    assert count() == 2
