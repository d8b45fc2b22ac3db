# SPDX-License-Identifier: Apache-2.0
"""What an attempt says: progress, events, checkpoints, logs. Secrets are in none of it."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from coriolis.providers.api.provider import SCHEMA_PARTS
from coriolis.rpc.messages import WORKER, Ack, Cancel, ProviderCall, Sync
from coriolis.worker.masking import Mask, secrets_in
from tests.unit.worker.conductor import until

SECRET = "hunter2-secret"


def test_a_secret_is_in_no_log_event_result_or_message(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bench.conductor.result_of(bench.assign("talk"))
        failed = bench.conductor.result_of(bench.assign("away"))
        bench.conductor.result_of(bench.assign("bug"))
    assert "logging in with ***" in caplog.text
    assert "printing ***" in caplog.text
    assert "raw ***" in caplog.text
    assert "KeyError" in caplog.text  # the trace of a bug, in the log only
    assert failed.error.message == "no route for ***"
    assert failed.error.retry_after_seconds == 7.0
    everything = repr([bench.conductor.results, bench.conductor.reports, bench.conductor.syncs]) + caplog.text
    assert "event ***" in everything
    assert SECRET not in everything


def test_log_lines_carry_the_ids(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bench.conductor.result_of(bench.assign("talk", task_id="task-talk"))
    (record,) = [r for r in caplog.records if r.name == "coriolis.trial"]
    assert (record.request, record.execution, record.task, record.epoch) == ("req-1", "execution-1", "task-talk", 1)
    assert "task=task-talk epoch=1" in record.getMessage()


def test_progress_is_coalesced_and_events_are_not(bench: Any) -> None:
    task = bench.assign("busy")
    bench.conductor.wait(lambda: any(e.message == "two" for r in bench.conductor.reports for e in r.events))
    bench.bus.cast(WORKER, Cancel(task_ids=(task,)), server=bench.service.session_id)
    bench.conductor.result_of(task)
    reports = [r for r in bench.conductor.reports if r.task_id == task]
    assert sum(len(r.progress) for r in reports) < 100  # of 10,000
    assert max(p.done for r in reports for p in r.progress) == 10_000
    events = {e.seq: (e.level, e.message) for r in reports for e in r.events}
    assert events == {1: ("INFO", "one"), 2: ("WARNING", "two")}


def test_every_running_attempt_is_in_each_sync(bench: Any) -> None:
    task = bench.assign("polite")
    bench.conductor.said(task)
    seen = len(bench.conductor.syncs)
    bench.conductor.wait(lambda: len(bench.conductor.syncs) >= seen + 3)
    assert all([r.task_id for r in sync.attempts] == [task] for sync in bench.conductor.syncs[-2:])


def test_a_report_that_was_not_received_comes_again(bench: Any) -> None:
    real = bench.conductor._sync
    lost: list[Sync] = []

    def lose(request: Sync) -> Any:
        if request.attempts and request.attempts[0].events and not lost:
            lost.append(request)
            from coriolis.domain.errors import Unavailable

            raise Unavailable("lost")
        return real(request)

    bench.conductor.handle("sync", lose)
    task = bench.assign("busy")
    bench.conductor.wait(lambda: any(e.seq == 2 for r in bench.conductor.reports for e in r.events))
    assert lost
    bench.bus.cast(WORKER, Cancel(task_ids=(task,)), server=bench.service.session_id)
    bench.conductor.result_of(task)


def test_a_result_is_delivered_until_it_is_taken(bench: Any) -> None:
    answered: list[str] = []
    real = bench.conductor._result

    def unwilling(result: Any) -> Any:
        from coriolis.domain.errors import Unavailable

        answered.append(result.attempt.task_id)
        if len(answered) < 3:
            raise Unavailable("no database")
        return real(result)

    bench.conductor.handle("result", unwilling)
    task = bench.assign("plain")
    assert bench.conductor.result_of(task).outcome == "completed"
    assert answered == [task] * 3


def test_while_a_result_waits_the_attempt_counts_as_running(bench: Any) -> None:
    from coriolis.domain.errors import Unavailable

    def unwilling(result: Any) -> Any:
        raise Unavailable("no database")

    bench.conductor.handle("result", unwilling)
    task = bench.assign("plain")
    assert until(lambda: bench.service._all() and bench.service._all()[0].wait_for_child(0))
    seen = len(bench.conductor.syncs)
    bench.conductor.wait(lambda: len(bench.conductor.syncs) > seen + 2)
    assert [r.task_id for r in bench.conductor.syncs[-1].attempts] == [task]


def test_a_refused_result_is_dropped(bench: Any) -> None:
    bench.conductor.ack = lambda result: False
    task = bench.assign("plain")
    bench.conductor.result_of(task)
    for running in bench.service._all():
        assert running.wait(20)
    bench.conductor.ack = lambda result: True
    bench.conductor.result_of(bench.assign("plain", task_id="next"))
    assert [r.attempt.task_id for r in bench.conductor.results] == [task, "next"]


def test_a_result_that_cannot_be_stored_becomes_a_failure(bench: Any) -> None:
    from coriolis.domain.errors import Invalid

    real = bench.conductor._result

    def too_large(result: Any) -> Ack:
        if result.outputs:
            raise Invalid("the output is too large")
        return real(result)

    bench.conductor.handle("result", too_large)
    result = bench.conductor.result_of(bench.assign("plain"))
    assert (result.outcome, result.error.code) == ("failed", "coriolis.invalid")


# ---- provider calls


def ask(bench: Any, operation: str, **changes: Any) -> Any:
    call = ProviderCall(**{"operation": operation, "endpoint": bench.endpoint, "timeout_seconds": 20.0, **changes})
    return bench.bus.call(WORKER, call, server=bench.service.session_id, timeout=40.0)


def test_calls_are_answered_by_a_child(bench: Any) -> None:
    assert ask(bench, "check").error is None
    assert ask(bench, "get_instance", arguments={"name": "plain"}).value["id"] == "plain"
    assert ask(bench, "get_instance", arguments={"name": "nobody"}).error.code == "provider.gone"
    assert ask(bench, "list_networks").error.code == "coriolis.unsupported"
    assert ask(bench, "dance").error.code == "coriolis.invalid"


def test_a_failing_check_says_why_without_the_secret(bench: Any, seal: Any) -> None:
    error = ask(bench, "check", endpoint=seal({"password": SECRET, "fail": True})).error
    assert (error.code, error.message) == ("provider.unavailable", "cannot log in with ***")


def test_a_call_ends_in_time(bench: Any) -> None:
    error = ask(bench, "list_instances", timeout_seconds=0.5).error
    assert (error.code, error.retryable) == ("provider.unavailable", True)


def test_schemas_need_no_child(bench: Any) -> None:
    reply = ask(bench, "schemas", endpoint=dataclasses.replace(bench.endpoint, sealed=None))
    assert set(reply.value) == set(SCHEMA_PARTS)
    assert ask(bench, "schemas", endpoint=dataclasses.replace(bench.endpoint, type="vax")).error is not None
    assert set(ask(bench, "providers", endpoint=None).value) == {"trial"}


def test_an_unreadable_account_is_an_answer(bench: Any) -> None:
    error = ask(bench, "check", endpoint=dataclasses.replace(bench.endpoint, sealed="rubbish")).error
    assert error.code == "coriolis.invalid"
    error = ask(bench, "check", endpoint=dataclasses.replace(bench.endpoint, sealed=None, secret_ref="http://x")).error
    assert error.code == "coriolis.invalid"


# ---- the mask


def test_secrets_are_found_under_telling_names_at_any_depth() -> None:
    info = {
        "host": "cloud.example",
        "username": "anna",
        "password": "topsecret",
        "auth": {"anything": ["inside-auth"]},
        "nested": [{"api_key": "k-12345", "port": 22}],
        "token": "abc",
    }
    assert secrets_in(info) == ["inside-auth", "k-12345", "topsecret"]


def test_a_password_in_an_address_is_a_secret() -> None:
    info = {"uri": "qemu+ssh://root:p%40ssword@host/system", "plain": "https://host:8080/a@b"}
    assert secrets_in(info) == ["p%40ssword", "p@ssword"]


def test_all_spellings_are_masked() -> None:
    mask = Mask(['p@ss w/rd"x'])
    for text in ('p@ss w/rd"x', "p%40ss%20w%2Frd%22x", "p%40ss+w%2Frd%22x", 'p@ss w/rd\\"x', "cEBzcyB3L3JkIng="):
        assert mask.text(f"before {text} after") == "before *** after"
    assert Mask().text("password='abc' stays out") == "password='***' stays out"
    assert mask.data({"password": ["x", 'y p@ss w/rd"x z']}) == {"password": ["x", "y *** z"]}
