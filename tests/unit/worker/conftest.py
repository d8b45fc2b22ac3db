# SPDX-License-Identifier: Apache-2.0
"""A worker over the in-process bus with a fake conductor. The fork server and its children are real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.rpc.local_bus import LocalBus
from coriolis.rpc.messages import Endpoint
from coriolis.runtime.secrets import Vault, create_keys
from coriolis.worker.agent import WorkerService
from coriolis.worker.settings import VaultSettings, WorkerSettings
from tests.unit.worker.conductor import Bench, FakeConductor

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
