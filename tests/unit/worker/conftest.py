# SPDX-License-Identifier: Apache-2.0
"""A worker over the in-process bus with a fake conductor. The fork server and its children are real processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import Endpoint
from coriolis.runtime.secrets import Vault, create_keys
from coriolis.worker.agent import WorkerService
from coriolis.worker.attempt import Wish
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import Bench, FakeConductor, until

HERE = Path(__file__).parent
SECRET = "hunter2-secret"


@pytest.fixture
def plugin_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial provider is installed for what is started from now on."""
    monkeypatch.setenv("PYTHONPATH", str(HERE / "plugin"))


@pytest.fixture
def vault(tmp_path: Path) -> VaultSettings:
    path = tmp_path / "keys"
    create_keys(path)
    return VaultSettings(key_file=str(path))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What the trial provider makes stands here as files."""
    path = tmp_path / "made"
    path.mkdir()
    return path


def account(key_file: str, info: dict[str, Any]) -> Endpoint:
    return Endpoint(type="trial", sealed=Vault(create_keys(Path(key_file))).seal(info))


@contextlib.contextmanager
def worker_at(path: Path, lease_seconds: float = 30.0) -> Iterator[Bench]:
    """A running worker with all that it needs below ``path``."""
    keys = path / "worker-keys"
    create_keys(keys)
    bus = LocalBus()
    conductor = FakeConductor(bus, lease_seconds=lease_seconds).serve()
    settings = WorkerSettings(
        host="here",
        state_path=path / "state",
        providers=("trial",),
        cancel_grace_seconds=0.5,
        drain_seconds=20.0,
        call_timeout_seconds=5.0,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE / "plugin"))
        service = WorkerService(settings, bus, VaultSettings(key_file=str(keys)))
        service.start()
        try:
            conductor.wait(lambda: conductor.syncs, 60)
            yield Bench(bus, conductor, service, str(keys))
        finally:
            conductor.reset()
            service.stop(drain=False)
            bus.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with worker_at(tmp_path_factory.mktemp("worker")) as bench:
        yield bench


@pytest.fixture
def bench(worker: Bench, made: Path) -> Iterator[Bench]:
    """The module's worker, with nothing of the tests before. For tests that leave it as good as it was."""
    worker.conductor.reset()
    worker.endpoint = account(worker.key_file, {"password": SECRET, "made": str(made)})
    yield worker
    worker.conductor.reset()
    for running in worker.service._all():
        running.wish(Wish.ABANDON)
    assert until(lambda: worker.tree() == [])
    worker.service._fell()
    worker.service._over.clear()
    worker.service._fallen.clear()


@pytest.fixture
def lease_seconds() -> float:
    return 30.0


@pytest.fixture
def own_bench(tmp_path: Path, made: Path, lease_seconds: float) -> Iterator[Bench]:
    """A worker for one test, which may do to it what it likes."""
    with worker_at(tmp_path, lease_seconds) as bench:
        bench.endpoint = account(bench.key_file, {"password": SECRET, "made": str(made)})
        yield bench


@pytest.fixture
def seal(bench: Bench) -> Callable[[dict[str, Any]], Endpoint]:
    return lambda info: account(bench.key_file, info)
