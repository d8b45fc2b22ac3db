# SPDX-License-Identifier: Apache-2.0
"""The in-process bus: hand-over, errors, time limits, stopping."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from coriolis.domain.errors import InvalidState, Stale
from coriolis.rpc.bus import NoAnswer
from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import CONDUCTOR, SCHEDULER, WORKER, Cancel, Register, Registered, Sync, SyncReply, Wake
from coriolis.rpc.wire import RemoteBug


def registered(request: Register) -> Registered:
    return Registered(session_id=f"{request.host}-{request.pid}", lease_seconds=30.0, sync_seconds=5.0)


def test_a_call_gives_the_reply_record() -> None:
    bus = LocalBus()
    bus.serve(CONDUCTOR, "a", {"register": registered})
    reply = bus.call(CONDUCTOR, Register(host="h", pid=7, providers={"null": ["inventory"]}))
    assert reply == Registered(session_id="h-7", lease_seconds=30.0, sync_seconds=5.0)
    bus.close()


def test_an_error_of_the_domain_arrives_as_its_class() -> None:
    def refuse(request: Sync) -> SyncReply:
        raise InvalidState("not now", field="state")

    bus = LocalBus()
    bus.serve(CONDUCTOR, "a", {"sync": refuse})
    with pytest.raises(InvalidState, match="not now") as caught:
        bus.call(CONDUCTOR, Sync(session_id="s"))
    assert caught.value.field == "state"
    bus.close()


def test_a_bug_arrives_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: Sync) -> SyncReply:
        raise KeyError("hunter2")

    bus = LocalBus()
    bus.serve(CONDUCTOR, "a", {"sync": broken})
    with pytest.raises(RemoteBug, match="KeyError") as caught:
        bus.call(CONDUCTOR, Sync(session_id="s"))
    assert "hunter2" not in caught.value.message
    assert "hunter2" in caplog.text
    bus.close()


def test_nobody_and_too_slow_are_no_answer() -> None:
    release = threading.Event()
    bus = LocalBus()
    with pytest.raises(NoAnswer):
        bus.call(CONDUCTOR, Sync(session_id="s"))
    bus.serve(CONDUCTOR, "a", {"sync": lambda request: (release.wait(30), SyncReply(accepted=True))[1]})
    with pytest.raises(NoAnswer):
        bus.call(CONDUCTOR, Sync(session_id="s"), timeout=0.01)
    release.set()
    bus.close()


def test_a_cast_to_nobody_is_lost_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        LocalBus().cast(SCHEDULER, Wake(what="dispatch"))
    assert "cast lost" in caplog.text


def test_a_named_server_gets_its_own_messages() -> None:
    got: list[str] = []
    done = threading.Event()
    bus = LocalBus()
    bus.serve(WORKER, "one", {"cancel": lambda request: got.append("one")})
    bus.serve(WORKER, "two", {"cancel": lambda request: (got.append("two"), done.set())[0]})
    bus.cast(WORKER, Cancel(task_ids=("t",)), server="two")
    assert done.wait(10)
    assert got == ["two"]
    bus.close()


def test_what_is_sent_is_a_copy() -> None:
    kept: list[Register] = []
    bus = LocalBus()
    bus.serve(CONDUCTOR, "a", {"register": lambda request: (kept.append(request), registered(request))[1]})
    providers = {"null": ["inventory"]}
    bus.call(CONDUCTOR, Register(host="h", pid=1, providers=providers))
    providers["null"].append("compute")
    assert kept[0].providers == {"null": ["inventory"]}
    bus.close()


def test_stopping_waits_for_what_runs() -> None:
    entered, release, finished = threading.Event(), threading.Event(), threading.Event()

    def slow(request: Wake) -> None:
        entered.set()
        release.wait(30)
        finished.set()

    bus = LocalBus()
    served = bus.serve(SCHEDULER, "a", {"wake": slow})
    bus.cast(SCHEDULER, Wake(what="dispatch"))
    assert entered.wait(10)
    stopper = threading.Thread(target=served.stop)
    stopper.start()
    release.set()
    stopper.join(10)
    assert finished.is_set()


def test_a_method_must_be_in_the_table() -> None:
    with pytest.raises(TypeError):
        LocalBus().serve(SCHEDULER, "a", {"sync": lambda request: None})
    with pytest.raises(TypeError):
        LocalBus().call(SCHEDULER, Sync(session_id="s"))


def test_stale_is_a_conflict_over_the_wire() -> None:
    def stale(request: Sync) -> SyncReply:
        raise Stale("too late")

    bus = LocalBus()
    bus.serve(CONDUCTOR, "a", {"sync": stale})
    with pytest.raises(Stale):
        bus.call(CONDUCTOR, Sync(session_id="s"))
    bus.close()


def test_a_round_trip_costs_well_below_a_millisecond() -> None:
    bus = LocalBus()
    bus.serve(CONDUCTOR, "a", {"sync": lambda request: SyncReply(accepted=True)})
    times = []
    for _ in range(300):
        start = time.perf_counter()
        bus.call(CONDUCTOR, Sync(session_id="s"))
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.001
    bus.close()
