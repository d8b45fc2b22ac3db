# SPDX-License-Identifier: Apache-2.0
"""Budgets, shared out at the syncs of workers that move bytes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from coriolis.commands import bandwidth_budgets as commands
from coriolis.commands import migrations
from coriolis.commands.bandwidth_budgets import NewBudget
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.conductor import governor
from coriolis.domain.errors import Invalid, NotFound
from coriolis.rpc.messages import Assign, AttemptReport, Share, Stream, Sync
from coriolis.store import executions, purge, regions, streams
from coriolis.store.rows import BandwidthBudget
from tests.unit.conductor.rig import CALLER, Rig

MB = 10**6
Copies = list[Assign]


@pytest.fixture
def two(rig: Rig) -> tuple[Copies, Copies]:
    """Two copies on each of two workers."""
    one, other = rig.worker(kind="ova", slots=2), rig.worker(kind="ova", slots=2, host="host-2")
    rig.create("vm-1", "vm-2", kind="ova", replication_count=1)
    rig.run(until="copy")
    sides: dict[str, Copies] = {one: [], other: []}
    for assign in rig.held:
        sides[assign.attempt.session_id].append(assign)
    assert [len(side) for side in sides.values()] == [2, 2]
    return sides[one], sides[other]


def sync(rig: Rig, copies: Copies, rate: float = 0.0, **stream: Any) -> list[float | None]:
    """What the copies of a worker are granted, None for no limit."""
    reports = tuple(
        AttemptReport(task_id=c.attempt.task_id, epoch=c.attempt.epoch, stream=Stream(rate=rate, **stream))
        for c in copies
    )
    shares = {
        s.task_id: s for s in governor.share(rig.db, Sync(session_id=copies[0].attempt.session_id, attempts=reports))
    }
    return [shares.get(c.attempt.task_id, Share(task_id="")).bytes_per_second for c in copies]


def budget(rig: Rig, scope: str = "project", target: dict[str, str] | None = None, **more: Any) -> BandwidthBudget:
    new = NewBudget(name=more.pop("name", "wire"), scope=scope, target=target or {"project_id": "project"}, **more)
    return commands.create(rig.db, new)


def test_without_budgets_nothing_is_limited_and_little_asked(rig: Rig, two: tuple[Copies, Copies]) -> None:
    with rig.db.counting() as statements:
        assert sync(rig, two[0]) == [None, None]
        assert statements() == 1


def test_workers_share_a_budget_fairly_and_never_exceed_it(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, bytes_per_second=100 * MB)
    first = sync(rig, two[0])
    assert first == [50 * MB, 50 * MB]
    assert sync(rig, two[1]) == [0, 0]  # the others have not heard of it yet
    assert sync(rig, two[0], rate=50 * MB) == [25 * MB, 25 * MB]
    assert sync(rig, two[1]) == [25 * MB, 25 * MB]


def test_a_change_reaches_everybody_with_two_syncs(rig: Rig, two: tuple[Copies, Copies]) -> None:
    made = budget(rig, bytes_per_second=100 * MB)
    for _ in range(2):
        for copies in two:
            sync(rig, copies, rate=25 * MB)
    commands.update(rig.db, made.id, {"bytes_per_second": 20 * MB})
    for _ in range(2):
        got = [sync(rig, copies, rate=25 * MB) for copies in two]
    assert got == [[5 * MB, 5 * MB], [5 * MB, 5 * MB]]
    commands.update(rig.db, made.id, {"enabled": False})
    assert sync(rig, two[0]) == [None, None]


def test_what_one_cannot_use_goes_to_the_others(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, bytes_per_second=100 * MB)
    for _ in range(2):
        sync(rig, two[0], rate=50 * MB)
        sync(rig, two[1], rate=50 * MB)
    for _ in range(3):
        slow = sync(rig, two[0], rate=4 * MB)
        fast = sync(rig, two[1], rate=50 * MB)
    assert slow == [pytest.approx(5.2 * MB), pytest.approx(5.2 * MB)]
    assert fast == [pytest.approx(44.8 * MB), pytest.approx(44.8 * MB)]


def test_what_ended_gives_back_at_once(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, bytes_per_second=100 * MB)
    for _ in range(2):
        for copies in two:
            sync(rig, copies, rate=25 * MB)
    for copy in two[0]:
        rig.end(copy)
    assert sync(rig, two[1], rate=25 * MB) == [50 * MB, 50 * MB]
    assert rig.db.write(streams.sweep) == 2


def test_a_purged_job_takes_its_streams_along(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, bytes_per_second=MB)
    sync(rig, two[0])
    jobs = {row.action_id for row in rig.db.read(executions.find, [two[0][0].execution_id]).values()}
    rig.db.write(purge.actions, sorted(jobs))
    assert rig.db.read(streams.running) == []


def test_only_so_many_streams_move(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, streams=3)
    got = [sync(rig, copies) for copies in two]
    got = [sync(rig, copies) for copies in two]
    flat = [rate for rates in got for rate in rates]
    assert sorted(flat, key=str) == [0, None, None, None]


def test_each_scope_matches_its_streams(rig: Rig, two: tuple[Copies, Copies]) -> None:
    cases: list[tuple[str, dict[str, str], bool]] = [
        ("host", {"host": "host-1"}, True),
        ("host", {"host": "esx-7"}, True),
        ("host", {"host": "host-2"}, False),
        ("datastore", {"storage_backend": "fast"}, True),
        ("datastore", {"storage_backend": "slow"}, True),
        ("datastore", {"storage_backend": "slow", "endpoint_id": "other"}, False),
        ("project", {"project_id": "another"}, False),
        ("link", {"source_region": "north"}, False),
    ]
    for scope, target, applies in cases:
        made = budget(rig, scope, target, bytes_per_second=10 * MB)
        got = sync(rig, two[0], source_host="esx-7", source_storage="slow", destination_storage="fast")
        assert (got != [None, None]) is applies, (scope, target)
        commands.delete(rig.db, made.id)


def test_a_link_and_an_endpoint_are_told_by_the_migrations_ends(rig: Rig) -> None:
    session = rig.worker(kind="ova", regions=("north", "south"))
    found = rig.db.read(regions.named, ["north", "south"])
    north, south = found["north"], found["south"]
    ends = [NewEndpoint(name=r, type="ova", sealed="ciphertext", mapped_regions=(r,)) for r in (north, south)]
    job = migrations.create(
        rig.db, CALLER, NewMigration(origin=ends[0], destination=ends[1], instances=("vm",), replication_count=1)
    )
    rig.run(until="copy")
    held = [one for one in rig.held if one.attempt.session_id == session]
    from_, to = {"source_region": north}, {"destination_region": south}
    cases: list[tuple[str, dict[str, str], bool]] = [
        ("link", {**from_, **to}, True),
        ("link", from_, True),
        ("link", to, True),
        ("link", {"source_region": south, "destination_region": north}, False),
        ("link", {**from_, "destination_region": north}, False),
        ("endpoint", {"endpoint_id": job.origin_endpoint_id}, True),
        ("endpoint", {"endpoint_id": job.destination_endpoint_id}, True),
        ("endpoint", {"endpoint_id": "another"}, False),
    ]
    for scope, target, applies in cases:
        made = budget(rig, scope, target, bytes_per_second=10 * MB)
        assert (sync(rig, held) != [None] * len(held)) is applies, (scope, target)
        commands.delete(rig.db, made.id)


def test_a_window_that_is_set_while_copies_run_reaches_them_with_two_syncs(
    rig: Rig, two: tuple[Copies, Copies]
) -> None:
    """Where it is the working day already, and then, by another time zone, where it is not yet."""
    made = budget(rig, bytes_per_second=200 * MB)
    rig.clock.forward(3 * 3600)  # Thursday, 03:00 in UTC: 08:30 in India, 22:00 on Wednesday in New York
    for _ in range(2):
        before = [sync(rig, copies, rate=50 * MB) for copies in two]
    assert before == [[50 * MB, 50 * MB]] * 2
    window = {"days": ["thu"], "start": "08:00", "end": "18:00", "bytes_per_second": 4 * MB}
    for zone, share in (("Asia/Kolkata", MB), ("America/New_York", 50 * MB)):
        commands.update(rig.db, made.id, {"windows": [window], "time_zone": zone})
        for _ in range(2):
            after = [sync(rig, copies, rate=50 * MB) for copies in two]
        assert after == [[share, share]] * 2, zone


def test_a_window_of_the_day_holds_in_its_time_zone(rig: Rig, two: tuple[Copies, Copies]) -> None:
    work = {"days": ["thu"], "start": "08:00", "end": "18:00", "bytes_per_second": 2 * MB}
    budget(rig, bytes_per_second=200 * MB, time_zone="Asia/Kolkata", windows=[work])
    rig.clock.forward(2.4 * 3600)  # Thursday, 02:24 in UTC: 07:54 there
    assert sync(rig, two[0]) == [100 * MB, 100 * MB]
    rig.clock.forward(0.2 * 3600)
    assert sync(rig, two[0], rate=100 * MB) == [MB, MB]


def test_a_stranger_gets_nothing_and_the_cost_does_not_grow(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, bytes_per_second=100 * MB)
    sync(rig, two[0])
    stale = AttemptReport(task_id=two[0][0].attempt.task_id, epoch=99, stream=Stream())
    assert governor.share(rig.db, Sync(session_id=two[0][0].attempt.session_id, attempts=(stale,))) == ()
    costs = []
    for copies in (two[0][:1], two[0]):
        with rig.db.counting() as statements:
            sync(rig, copies)
            costs.append(statements())
    assert costs[0] == costs[1] <= 9


def test_metrics_say_what_is_allowed_granted_and_used(rig: Rig, two: tuple[Copies, Copies]) -> None:
    budget(rig, bytes_per_second=100 * MB, name="to Berlin", backoff_factor=3.0)
    sync(rig, two[0], rate=7 * MB)
    figures = {
        name: REGISTRY.get_sample_value(f"coriolis_bandwidth_{name}", {"budget": "to Berlin"})
        for name in ("budget_bytes_per_second", "granted_bytes_per_second", "used_bytes_per_second", "streams")
    }
    assert list(figures.values()) == [100 * MB, 100 * MB, 14 * MB, 2]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"target": {"region": "x"}, "bytes_per_second": 1}, "target"),
        ({"scope": "endpoint", "target": {"host": "x"}, "bytes_per_second": 1}, "target"),
        ({"scope": "link", "target": {}, "bytes_per_second": 1}, "target"),
        ({"time_zone": "Mars/Base", "bytes_per_second": 1}, "time_zone"),
        ({"time_zone": "../etc/passwd", "bytes_per_second": 1}, "time_zone"),
        ({}, "bytes_per_second"),
    ],
)
def test_nonsense_is_refused_with_the_field(rig: Rig, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        budget(rig, **fields)
    assert refused.value.field == f"bandwidth_budget.{field}"


def test_what_is_not_there(rig: Rig) -> None:
    with pytest.raises(NotFound):
        commands.delete(rig.db, "8a1c1b7e-0000-4000-8000-000000000000")
    with pytest.raises(NotFound):
        commands.update(rig.db, "8a1c1b7e-0000-4000-8000-000000000000", {"name": "x"})
    made = budget(rig, bytes_per_second=1)
    with pytest.raises(Invalid):
        commands.update(rig.db, made.id, {"scope": "host"})
