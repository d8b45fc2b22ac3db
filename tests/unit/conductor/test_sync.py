# SPDX-License-Identifier: Apache-2.0
"""What goes up and comes down with a sync."""

from __future__ import annotations

from coriolis.rpc.messages import AttemptReport, Progress
from coriolis.store import checkpoints, progress, sessions
from tests.unit.conductor.rig import LEASE, Rig


def test_a_lost_assignment_is_sent_again(rig: Rig) -> None:
    session_id = rig.worker()
    rig.create()
    rig.run(until="inspect")
    (lost,) = rig.held
    assert rig.sync(session_id).missing == ()  # it may still be on its way
    rig.clock.forward(11)
    assert rig.sync(session_id).missing == (lost,)


def test_a_cancel_comes_down(rig: Rig) -> None:
    session_id = rig.worker()
    made = rig.create()
    rig.run(until="inspect")
    rig.cancel(made)
    (running,) = rig.held
    attempt = running.attempt
    reply = rig.sync(session_id, AttemptReport(task_id=attempt.task_id, epoch=attempt.epoch))
    assert reply.cancel == (attempt.task_id,)
    assert rig.states(made)["inspect"] == "CANCELLING"
    assert rig.migration(made).last_execution_status == "CANCELLING"
    assert rig.end(running, outcome="canceled").accepted
    assert rig.migration(made).last_execution_status == "CANCELED"


def test_progress_is_overwritten_and_rolled_up(rig: Rig) -> None:
    session_id = rig.worker(kind="ova")
    made = rig.create(kind="ova", replication_count=1)
    rig.run(until="copy")
    for done in (0, 40):
        reports = [
            AttemptReport(
                task_id=one.attempt.task_id,
                epoch=one.attempt.epoch,
                progress=(Progress(item=one.item or "", done=done, total=100, message=f"{done}"),),
                checkpoint={"host": "host-1", "done": done},
            )
            for one in rig.held
        ]
        assert rig.sync(session_id, *reports).accepted
    row = rig.migration(made)
    assert (row.bytes_done, row.bytes_total) == (80, 200)
    assert 30 < row.percent < 60
    first = rig.held[0].attempt.task_id
    (item,) = rig.db.read(progress.of_tasks, [first])[first]
    assert (item.index, item.done, item.message) == (0, 40, "40")
    assert rig.db.read(checkpoints.of_tasks, [first])[first]["done"] == 40


def test_statements_of_a_sync_do_not_grow_with_its_attempts(rig: Rig) -> None:
    session_id = rig.worker()
    counts = {}
    for size in (2, 30):
        rig.create(*(f"vm-{size}-{n}" for n in range(size)))
        rig.advance()
        held = rig.dispatch()
        reports = [
            AttemptReport(
                task_id=one.attempt.task_id,
                epoch=one.attempt.epoch,
                progress=(Progress(item="a", done=1, total=2), Progress(item="b", done=1, total=2)),
                checkpoint={"x": 1},
            )
            for one in held
        ]
        with rig.db.counting() as count:
            rig.sync(session_id, *reports)
        counts[size] = count()
    assert counts[2] == counts[30] <= 20


def test_an_operator_may_drain_a_worker(rig: Rig) -> None:
    session_id = rig.worker()
    assert rig.db.write(sessions.drain, session_id)
    assert rig.sync(session_id).drain
    rig.create()
    rig.advance()
    assert rig.dispatch() == []


def test_a_draining_worker_gives_back_what_it_runs(rig: Rig) -> None:
    first = rig.worker(host="first")
    rig.create()
    rig.run(until="inspect")
    (running,) = rig.held
    rig.sync(first, draining=True)
    second = rig.worker(host="second")
    assert rig.end(running, outcome="returned").accepted
    (again,) = rig.dispatch()
    assert again.attempt.session_id == second


def test_a_session_lives_as_long_as_it_syncs(rig: Rig) -> None:
    session_id = rig.worker()
    for _ in range(5):
        rig.clock.forward(LEASE - 1)
        assert rig.reap() == []
        assert rig.sync(session_id).accepted
    rig.clock.forward(LEASE + 1)
    assert rig.reap() == [session_id]
    assert rig.reap() == []
    assert not rig.sync(session_id).accepted
