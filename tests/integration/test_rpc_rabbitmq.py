# SPDX-License-Identifier: Apache-2.0
"""The bus over a real RabbitMQ, which is killed and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from oslo_config import cfg

from coriolis.domain.errors import InvalidState
from coriolis.rpc.bus import NoAnswer
from coriolis.rpc.messages import (
    CONDUCTOR,
    SCHEDULER,
    WORKER,
    Cancel,
    ProviderCall,
    ProviderReply,
    Register,
    Registered,
    Sync,
    SyncReply,
    Wake,
)
from coriolis.rpc.oslo_bus import OsloBus
from tests.integration.rabbitmq_server import RabbitServer, available

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not available(), reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    server = RabbitServer(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connect(broker: RabbitServer) -> Iterator[Callable[[], OsloBus]]:
    """Buses of their own transports, as in separate processes."""
    buses: list[OsloBus] = []

    def make() -> OsloBus:
        conf = cfg.ConfigOpts()
        conf([])
        buses.append(OsloBus(conf, broker.url))
        return buses[-1]

    yield make
    for bus in buses:
        bus.close()


def registered(request: Register) -> Registered:
    if request.host == "bad":
        raise InvalidState("not now", field="host")
    return Registered(session_id=request.host, lease_seconds=30.0, sync_seconds=5.0)


def until(attempt: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What ``attempt`` gives once it no longer ends in ``NoAnswer``."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except NoAnswer:
            if time.monotonic() > limit:
                raise


def test_calls_errors_and_the_absent(connect: Callable[[], OsloBus]) -> None:
    here, there = connect(), connect()
    with pytest.raises(NoAnswer):
        here.call(CONDUCTOR, Register(host="early", pid=1), timeout=3)
    there.serve(CONDUCTOR, "a", {"register": registered})
    assert here.call(CONDUCTOR, Register(host="h", pid=1), timeout=10).session_id == "h"
    with pytest.raises(InvalidState, match="not now") as caught:
        here.call(CONDUCTOR, Register(host="bad", pid=1), timeout=10)
    assert caught.value.field == "host"


def test_too_slow_is_no_answer(connect: Callable[[], OsloBus]) -> None:
    release = threading.Event()
    here, there = connect(), connect()
    there.serve(CONDUCTOR, "a", {"sync": lambda request: (release.wait(30), SyncReply(accepted=True))[1]})
    start = time.monotonic()
    with pytest.raises(NoAnswer):
        here.call(CONDUCTOR, Sync(session_id="s"), timeout=0.5)
    assert time.monotonic() - start < 3
    release.set()


def test_servers_are_found_by_name_and_leave_no_queue(connect: Callable[[], OsloBus], broker: RabbitServer) -> None:
    here, there = connect(), connect()
    got: dict[str, threading.Event] = {name: threading.Event() for name in ("one", "two")}
    served = [
        there.serve(
            WORKER,
            name,
            {
                "cancel": lambda request, name=name: got[name].set(),
                "provider": lambda call, name=name: ProviderReply(value=name),
            },
        )
        for name in got
    ]
    here.cast(WORKER, Cancel(task_ids=("t",)), server="two")
    assert got["two"].wait(10)
    assert not got["one"].is_set()
    assert here.call(WORKER, ProviderCall(operation="providers"), server="one", timeout=10).value == "one"
    for server in served:
        server.stop()
    limit = time.monotonic() + 20
    while any(name.startswith(f"{WORKER}.") for name in broker.queues()):
        assert time.monotonic() < limit, broker.queues()


def test_a_killed_broker_costs_answers_only_while_it_is_away(
    connect: Callable[[], OsloBus], broker: RabbitServer
) -> None:
    woken: list[str] = []
    here, there = connect(), connect()
    there.serve(CONDUCTOR, "a", {"register": registered})
    there.serve(SCHEDULER, "a", {"wake": lambda request: woken.append(request.what)})
    here.call(CONDUCTOR, Register(host="before", pid=1), timeout=10)

    broker.kill()
    start = time.monotonic()
    with pytest.raises(NoAnswer):
        here.call(CONDUCTOR, Register(host="during", pid=1), timeout=2)
    here.cast(SCHEDULER, Wake(what="dispatch"))
    assert time.monotonic() - start < 4

    broker.start()
    start = time.monotonic()
    reply = until(lambda: here.call(CONDUCTOR, Register(host="after", pid=1), timeout=3))
    assert reply.session_id == "after"
    print(f"answered again {time.monotonic() - start:.1f} s after the broker")

    def heard() -> bool:
        here.cast(SCHEDULER, Wake(what="again"))
        time.sleep(0.2)
        return "again" in woken

    limit = time.monotonic() + 60
    while not heard():
        assert time.monotonic() < limit


def test_a_server_that_starts_before_the_broker_is_served_later(
    connect: Callable[[], OsloBus], broker: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coriolis.rpc.oslo_bus._START_SECONDS", 0.5)
    broker.kill()
    here, there = connect(), connect()
    there.serve(CONDUCTOR, "a", {"register": registered})
    broker.start()
    assert until(lambda: here.call(CONDUCTOR, Register(host="h", pid=1), timeout=3)).session_id == "h"
