# SPDX-License-Identifier: Apache-2.0
"""The API in process: a real store (SQLite), the real in-process bus, and provider calls answered by real providers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from prometheus_client import CollectorRegistry
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings
from coriolis.providers import registry
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Vault
from coriolis.store import sessions
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.functional.checked import CheckedApp
from tests.functional.copied import make_key
from tests.functional.desk import PREFIX, SESSION, TOKEN, Desk


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/api.sqlite", synchronous="NORMAL")
    metadata.create_all(database.engine)
    yield database
    database.dispose()


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def bus() -> Iterator[LocalBus]:
    local = LocalBus(threads=2)
    yield local
    local.close()


@pytest.fixture
def desk(db: Database, bus: LocalBus, vault: Vault, tmp_path: Path) -> Desk:
    """A live worker session that has the null provider, and its desk on the bus."""
    served = Desk(vault, tmp_path)
    capabilities = sorted(str(one) for one in registry.load("null").capabilities)
    with db.writer() as conn:
        sessions.start(
            conn,
            SESSION,
            host="here",
            pid=1,
            regions=[],
            providers={"null": capabilities},
            slots=2,
            release="0",
            now=db.utcnow(),
        )
    bus.serve(messages.WORKER, SESSION, {"provider": served})
    return served


@pytest.fixture
def settings(tmp_path: Path) -> ApiSettings:
    key = make_key(tmp_path / "certificate.key")
    return ApiSettings(max_body_bytes=65536, provider_call_timeout_seconds=5.0, certificate_key_file=str(key))


@pytest.fixture
def anonymous(db: Database, bus: LocalBus, vault: Vault, settings: ApiSettings) -> TestApp:
    """The service without a token."""
    app = make_app(settings, db, bus, vault, identity.local(TOKEN), registry=CollectorRegistry())
    return CheckedApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


@pytest.fixture
def api(anonymous: TestApp) -> TestApp:
    """The service with the token of its one user."""
    return CheckedApp(anonymous.app, extra_environ={"HTTP_X_AUTH_TOKEN": TOKEN})


@pytest.fixture
def endpoints(api: TestApp, desk: Desk) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two endpoints of the null platform."""
    made = []
    for name, count in (("from", 25), ("to", 26)):
        body = {"endpoint": {"name": name, "type": "null", "connection_info": {"instances": count}}}
        made.append(api.post_json(f"{PREFIX}/endpoints", body).json["endpoint"])
    return made[0], made[1]


@pytest.fixture
def migration(api: TestApp, endpoints: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """A migration that was accepted and waits for a conductor."""
    body = {
        "migration": {
            "origin_endpoint_id": endpoints[0]["id"],
            "destination_endpoint_id": endpoints[1]["id"],
            "instances": ["null-0000001"],
        }
    }
    return dict(api.post_json(f"{PREFIX}/migrations", body).json["migration"])
