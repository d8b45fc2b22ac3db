# SPDX-License-Identifier: Apache-2.0
"""A worker over the in-process bus with a fake conductor. The fork server and its children are real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import WORKER, Assign, Attempt, Endpoint
from coriolis.runtime.secrets import Vault, create_keys
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import FakeConductor

HERE = Path(__file__).parent


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
def seal(vault: VaultSettings) -> Callable[[dict[str, Any]], Endpoint]:
    def endpoint(info: dict[str, Any]) -> Endpoint:
        return Endpoint(type="trial", sealed=Vault(create_keys(Path(vault.key_file))).seal(info))

    return endpoint


@pytest.fixture
def bus() -> Iterator[LocalBus]:
    bus = LocalBus()
    yield bus
    bus.close()


@pytest.fixture
def conductor(bus: LocalBus) -> FakeConductor:
    return FakeConductor(bus).serve()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What the trial provider makes stands here as files."""
    path = tmp_path / "made"
    path.mkdir()
    return path


class Bench:
    """A running worker and what a test does to it."""

    def __init__(self, bus: LocalBus, conductor: FakeConductor, service: WorkerService, endpoint: Endpoint) -> None:
        self.bus, self.conductor, self.service, self.endpoint = bus, conductor, service, endpoint

    def assign(self, instance: str, task_id: str | None = None, **changes: Any) -> str:
        """Casts an attempt of kind inspect; gives the task id."""
        task_id = task_id or f"task-{instance}"
        epoch = changes.pop("epoch", 1)
        session = self.service.session_id
        assert session is not None
        values: dict[str, Any] = {
            "attempt": Attempt(task_id=task_id, epoch=epoch, session_id=session),
            "execution_id": "execution-1",
            "project_id": "p",
            "instance": instance,
            "kind": "inspect",
            "name": "inspect",
            "source": self.endpoint,
            "destination": self.endpoint,
            "request_id": "req-1",
        }
        self.bus.cast(WORKER, Assign(**{**values, **changes}), server=session)
        return task_id


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        host="here",
        state_path=tmp_path / "state",
        providers=("trial",),
        cancel_grace_seconds=0.5,
        drain_seconds=20.0,
        call_timeout_seconds=5.0,
    )


@pytest.fixture
def bench(
    plugin_path: None,
    bus: LocalBus,
    conductor: FakeConductor,
    settings: WorkerSettings,
    vault: VaultSettings,
    seal: Callable[[dict[str, Any]], Endpoint],
    made: Path,
) -> Iterator[Bench]:
    service = WorkerService(settings, bus, vault)
    service.start()
    try:
        conductor.wait(lambda: conductor.syncs, 60)
        yield Bench(bus, conductor, service, seal({"password": "hunter2-secret", "made": str(made)}))
    finally:
        conductor.frozen.clear()
        conductor.away = False
        service.stop(drain=False)
