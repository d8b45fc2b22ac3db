# SPDX-License-Identifier: Apache-2.0
"""Cancel, revoke, drain, and the deaths of every process involved: nothing of an attempt may be left."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from coriolis.rpc.messages import WORKER, Cancel, SyncReply
from coriolis.worker import forks, proctree
from tests.unit.worker.conductor import until


def cancel(bench: Any, task: str) -> None:
    bench.bus.cast(WORKER, Cancel(task_ids=(task,)), server=bench.service.session_id)


@pytest.mark.parametrize("instance", ["polite", "stubborn", "hang", "daemon"])
def test_cancel_is_felt_within_seconds_and_leaves_nothing(bench: Any, instance: str) -> None:
    task = bench.assign(instance)
    bench.conductor.said(task)
    assert bench.tree()
    start = time.monotonic()
    cancel(bench, task)
    result = bench.conductor.result_of(task)
    assert result.outcome == "canceled"
    assert result.error is None
    assert time.monotonic() - start < 5.0
    assert bench.tree() == []


def test_a_child_that_can_be_terminated_tidies_up(bench: Any, made: Path) -> None:
    task = bench.assign("stubborn")
    bench.conductor.said(task)
    cancel(bench, task)
    bench.conductor.result_of(task)
    assert (made / "tidied").exists()


def test_cancel_comes_by_the_sync_reply_too(bench: Any) -> None:
    task = bench.assign("polite")
    bench.conductor.said(task)
    bench.conductor.reply = SyncReply(accepted=True, cancel=(task,))
    assert bench.conductor.result_of(task).outcome == "canceled"


def test_a_stopped_child_is_killed(bench: Any) -> None:
    task = bench.assign("polite")
    child = int(bench.conductor.said(task).split()[1])
    os.kill(child, signal.SIGSTOP)
    cancel(bench, task)
    assert bench.conductor.result_of(task).outcome == "canceled"
    assert bench.tree() == []


def test_revoked_is_killed_without_a_word(bench: Any) -> None:
    task = bench.assign("daemon")
    bench.conductor.said(task)
    bench.conductor.reply = SyncReply(accepted=True, revoke=(task,))
    assert until(lambda: bench.tree() == [])
    bench.conductor.reply = SyncReply(accepted=True)
    plain = bench.assign("plain")
    bench.conductor.result_of(plain)
    assert [r.attempt.task_id for r in bench.conductor.results] == [plain]


def test_a_daemon_does_not_outlive_a_good_attempt(bench: Any) -> None:
    task = bench.assign("leaver")
    daemon = int(bench.conductor.said(task).split()[1])
    assert bench.conductor.result_of(task).outcome == "completed"
    assert proctree.is_gone(daemon)
    assert bench.tree() == []


def test_a_killed_child_is_reported_and_leaves_nothing(bench: Any) -> None:
    task = bench.assign("daemon")
    words = bench.conductor.said(task).split()
    os.kill(int(words[2]), signal.SIGKILL)
    result = bench.conductor.result_of(task)
    assert (result.outcome, result.error.code, result.error.retryable) == ("failed", "task.died", True)
    assert bench.tree() == []


def test_a_killed_keeper_leaves_nothing(bench: Any) -> None:
    task = bench.assign("daemon")
    bench.conductor.said(task)
    server = bench.service._warm.current()
    (keeper,) = proctree.children(server.pid)
    os.kill(keeper, signal.SIGKILL)
    assert bench.conductor.result_of(task).error.code == "task.died"
    assert bench.tree() == []


def until_completed(bench: Any) -> str:
    """As the engine would do it: what failed for the lack of a fork server may be tried again."""
    for number in range(5):
        result = bench.conductor.result_of(bench.assign("plain", task_id=f"again-{number}"), 60)
        if result.outcome == "completed" or not result.error.retryable:
            break
    return str(result.outcome)


def test_a_killed_fork_server_leaves_nothing_and_comes_back(own_bench: Any) -> None:
    task = own_bench.assign("daemon")
    own_bench.conductor.said(task)
    first = own_bench.service._warm.current().pid
    os.kill(first, signal.SIGKILL)
    assert own_bench.conductor.result_of(task).error.code == "task.died"
    assert until_completed(own_bench) == "completed"
    assert own_bench.service._warm.current().pid != first
    assert own_bench.tree() == []


def test_a_stuck_fork_server_is_replaced(own_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = own_bench.assign("hang")
    own_bench.conductor.said(task)
    server = own_bench.service._warm.current().pid
    os.kill(server, signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        impatient.setattr(forks, "_FORK_SECONDS", 0.5)
        refused = own_bench.conductor.result_of(own_bench.assign("plain"))
    assert (refused.outcome, refused.error.retryable) == ("failed", True)
    assert own_bench.conductor.result_of(task).error.code == "task.died"
    assert proctree.is_gone(server)
    again = own_bench.assign("plain", task_id="again")
    assert own_bench.conductor.result_of(again, 60).outcome == "completed"


def test_a_dead_session_kills_and_the_next_begins_empty(own_bench: Any) -> None:
    task = own_bench.assign("daemon")
    own_bench.conductor.said(task)
    with own_bench.conductor.changed:
        own_bench.conductor.alive = False
    own_bench.conductor.wait(lambda: len(own_bench.conductor.registered) == 2)
    assert own_bench.tree() == []
    own_bench.conductor.wait(lambda: own_bench.conductor.syncs[-1].session_id == "session-2")
    assert own_bench.conductor.syncs[-1].attempts == ()
    plain = own_bench.assign("plain")
    assert own_bench.conductor.result_of(plain).attempt.session_id == "session-2"


def test_an_assignment_for_an_older_session_is_ignored(bench: Any) -> None:
    from coriolis.rpc.messages import Attempt

    bench.assign("plain", task_id="old", attempt=Attempt(task_id="old", epoch=1, session_id="session-0"))
    bench.assign("plain", task_id="new")
    bench.conductor.result_of("new")
    assert [r.attempt.task_id for r in bench.conductor.results] == ["new"]


def test_doubled_assignments_start_one_attempt(bench: Any) -> None:
    task = bench.assign("plain", task_id="first")
    bench.assign("plain", task_id=task)
    bench.conductor.result_of(task)
    bench.assign("plain", task_id=task)
    bench.assign("plain", task_id="last")
    bench.conductor.result_of("last")
    assert [r.attempt.task_id for r in bench.conductor.results] == [task, "last"]


def test_a_newer_epoch_ends_the_older_attempt_first(bench: Any) -> None:
    task = bench.assign("hang", task_id="t")
    bench.conductor.said(task)
    bench.assign("plain", task_id="t", epoch=2)
    result = bench.conductor.result_of(task)
    assert (result.outcome, result.attempt.epoch) == ("completed", 2)
    assert bench.tree() == []


def test_what_the_worker_should_run_but_does_not_is_started(bench: Any) -> None:
    from coriolis.rpc.messages import Assign, Attempt

    assign = Assign(
        attempt=Attempt(task_id="lost", epoch=1, session_id=bench.service.session_id),
        execution_id="e",
        project_id="p",
        instance="plain",
        kind="inspect",
        name="inspect",
        source=bench.endpoint,
    )
    bench.conductor.reply = SyncReply(accepted=True, missing=(assign,))
    assert bench.conductor.result_of("lost").outcome == "completed"


# ---- the lease


@pytest.mark.parametrize("lease_seconds", [3.0])
def test_a_frozen_conductor_makes_the_worker_kill_before_the_lease_ends(own_bench: Any) -> None:
    task = own_bench.assign("daemon")
    own_bench.conductor.said(task)
    last = own_bench.conductor.syncs[-1]
    own_bench.conductor.frozen.set()
    start = time.monotonic()
    assert until(lambda: own_bench.tree() == [])
    assert time.monotonic() - start < own_bench.conductor.lease_seconds
    assert last.session_id == "session-1"
    # The conductor comes back: the session still lives, and the task is given out again under the same epoch. What the
    # killed child had asked for may still be made, so that only another attempt may go on.
    own_bench.conductor.frozen.clear()
    own_bench.conductor.wait(lambda: own_bench.conductor.syncs[-1].attempts == ())
    assert len(own_bench.conductor.registered) == 1
    assert until(lambda: not own_bench.service._is_fenced())
    own_bench.assign("plain", task_id=task)
    result = own_bench.conductor.result_of(task)
    assert result.outcome == "failed"
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("task.died", True)


@pytest.mark.parametrize("lease_seconds", [3.0])
def test_a_hanging_agent_cannot_keep_its_children(own_bench: Any) -> None:
    """The fork server enforces the lease by itself: here the agent's own threads do nothing at all."""
    task = own_bench.assign("daemon")
    own_bench.conductor.said(task)
    own_bench.service._stopped.set()  # agent and watchdog end; the attempt stays
    own_bench.service._wake.set()
    assert until(lambda: own_bench.tree() == [])
    assert own_bench.conductor.results == []


@pytest.mark.parametrize("lease_seconds", [3.0])
def test_an_error_of_the_conductor_is_no_contact(own_bench: Any) -> None:
    task = own_bench.assign("hang")
    own_bench.conductor.said(task)
    own_bench.conductor.away = True
    assert until(lambda: own_bench.tree() == [])


# ---- leaving


def test_drain_lets_attempts_finish_and_takes_no_more(own_bench: Any) -> None:
    task = own_bench.assign("polite")
    own_bench.conductor.said(task)
    stopper = threading.Thread(target=own_bench.service.stop, args=(True,))
    stopper.start()
    own_bench.conductor.wait(lambda: own_bench.conductor.syncs[-1].draining)
    late = own_bench.assign("plain", task_id="late")
    assert own_bench.conductor.result_of(late).outcome == "returned"
    cancel(own_bench, task)
    assert own_bench.conductor.result_of(task).outcome == "canceled"
    stopper.join(20)
    assert not stopper.is_alive()
    assert own_bench.tree() == []


def test_what_does_not_finish_in_time_goes_back(own_bench: Any) -> None:
    object.__setattr__(own_bench.service._settings, "drain_seconds", 0.2)
    polite, hang = own_bench.assign("polite"), own_bench.assign("hang")
    own_bench.conductor.said(polite)
    own_bench.conductor.said(hang)
    own_bench.service.stop(drain=True)
    assert own_bench.conductor.result_of(polite).outcome == "returned"
    assert own_bench.conductor.result_of(hang).outcome == "returned"
    assert own_bench.tree() == []


def test_stopping_at_once_gives_everything_back(own_bench: Any) -> None:
    task = own_bench.assign("daemon")
    own_bench.conductor.said(task)
    start = time.monotonic()
    own_bench.service.stop(drain=False)
    assert time.monotonic() - start < 10
    assert own_bench.conductor.result_of(task).outcome == "returned"
    assert own_bench.tree() == []


def test_the_conductor_may_ask_for_a_drain(own_bench: Any) -> None:
    own_bench.conductor.reply = SyncReply(accepted=True, drain=True)
    assert own_bench.service.drain_asked.wait(10)
    assert own_bench.conductor.result_of(own_bench.assign("plain")).outcome == "returned"
