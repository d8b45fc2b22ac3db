# SPDX-License-Identifier: Apache-2.0
"""A worker over a real RabbitMQ whose broker is killed. The conductor is a fake on a transport of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from coriolis.rpc.bus import NoAnswer
from coriolis.rpc.messages import WORKER, ProviderCall
from coriolis.rpc.oslo_bus import OsloBus
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.integration.rabbitmq_server import RabbitServer, available
from tests.unit.worker.conductor import Bench, FakeConductor, until
from tests.unit.worker.conftest import HERE, account

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
def lease_seconds() -> float:
    return 120.0


@pytest.fixture
def bench(
    broker: RabbitServer, tmp_path: Path, lease_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    monkeypatch.setenv("PYTHONPATH", str(HERE / "plugin"))
    buses = []
    for _ in range(2):
        conf = cfg.ConfigOpts()
        conf([])
        buses.append(OsloBus(conf, broker.url))
    conductor = FakeConductor(buses[0], lease_seconds=lease_seconds, sync_seconds=0.5).serve()
    keys = str(tmp_path / "keys")
    settings = WorkerSettings(
        host="here",
        state_path=tmp_path / "state",
        providers=("trial",),
        cancel_grace_seconds=0.5,
        call_timeout_seconds=3.0,
    )
    endpoint = account(keys, {"password": "hunter2-secret", "made": str(tmp_path)})
    service = WorkerService(settings, buses[1], VaultSettings(key_file=keys))
    service.start()
    try:
        conductor.wait(lambda: conductor.syncs, 60)
        bench = Bench(buses[0], conductor, service, keys)
        bench.endpoint = endpoint
        yield bench
    finally:
        service.stop(drain=False)
        for bus in buses:
            bus.close()


def test_a_result_survives_the_death_of_the_broker(bench: Bench, broker: RabbitServer) -> None:
    assert bench.conductor.result_of(bench.assign("plain"), 60).outcome == "completed"
    task = bench.assign("polite")
    bench.conductor.said(task)
    broker.kill()
    (running,) = bench.service._all()
    running._child.stop(2)  # TERM: the attempt ends while nobody can be told
    assert running.wait_for_child(20)
    broker.start()
    result = bench.conductor.result_of(task, 90)
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.code == "task.died"
    assert len(bench.conductor.registered) == 1, "the session outlived the broker"
    # Messages to the worker find it again, too, when its consumer has found the broker: it looks every few seconds.
    assert until(lambda: providers(bench) == {"trial"}, 60)


def providers(bench: Bench) -> set[str] | None:
    """What the worker says that it has; None: it cannot be reached."""
    request = ProviderCall(operation="providers")
    try:
        return set(bench.bus.call(WORKER, request, server=bench.service.session_id, timeout=30).value)
    except NoAnswer:
        return None


@pytest.mark.parametrize("lease_seconds", [8.0])
def test_a_broker_that_stays_away_costs_the_attempts_not_the_safety(bench: Bench, broker: RabbitServer) -> None:
    task = bench.assign("daemon")
    bench.conductor.said(task)
    assert bench.tree()
    broker.kill()
    assert until(lambda: bench.tree() == [], 10)
    with bench.conductor.changed:
        bench.conductor.alive = False  # its lease has run out
    broker.start()
    bench.conductor.wait(lambda: len(bench.conductor.registered) == 2, 90)
    bench.conductor.wait(lambda: bench.conductor.syncs[-1].session_id == "session-2", 30)
    assert bench.conductor.result_of(bench.assign("plain", task_id="next"), 60).outcome == "completed"
    assert [r.attempt.task_id for r in bench.conductor.results] == ["next"]
