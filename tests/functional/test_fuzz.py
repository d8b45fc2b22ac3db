# SPDX-License-Identifier: Apache-2.0
"""No request, however bad, gets a 5xx or a stack."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from coriolis.api.app import make_app
from coriolis.api.routes import ROUTES
from coriolis.api.settings import ApiSettings
from coriolis.providers import registry
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity
from coriolis.runtime.secrets import Vault
from coriolis.store import sessions
from coriolis.store.engine import Database
from coriolis.store.tables import metadata
from tests.functional.copied import make_key
from tests.functional.desk import PREFIX, SESSION, TOKEN, Desk
from tests.functional.graph import grow
from tests.functional.test_migrations import inline


class Service:
    """One service for all examples, with real ids to aim at."""

    def __init__(self, directory: Path, db: Database) -> None:
        self.db = db
        self.bus = LocalBus(threads=1)
        vault = Vault([Fernet.generate_key().decode()])
        with self.db.writer() as conn:
            sessions.start(
                conn,
                SESSION,
                host="here",
                pid=1,
                regions=[],
                providers={"null": sorted(map(str, registry.load("null").capabilities))},
                slots=2,
                release="0",
                now=self.db.utcnow(),
            )
        self.bus.serve(messages.WORKER, SESSION, {"provider": Desk(vault, directory)})
        self.app = make_app(
            ApiSettings(
                max_body_bytes=20000,
                provider_call_timeout_seconds=5.0,
                certificate_key_file=str(make_key(directory / "certificate.key")),
            ),
            self.db,
            self.bus,
            vault,
            identity.local(TOKEN),
            registry=CollectorRegistry(),
        )
        made = json.loads(self.ask("POST", f"{PREFIX}/migrations", body=json.dumps(inline()).encode())[1])["migration"]
        grow(self.db, made["id"])
        listed = json.loads(self.ask("GET", f"{PREFIX}/migrations/{made['id']}/tasks")[1])["tasks"]
        self.ids = [made["id"], made["origin_endpoint_id"], listed[0]["id"]]

    def ask(
        self, method: str, path: str, query: str = "", body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One request, handed over as a WSGI server would: bytes as latin-1."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "HTTP_X_AUTH_TOKEN": TOKEN,
            "REMOTE_ADDR": "127.0.0.1",
            **(headers or {}),
        }
        setup_testing_defaults(environ)
        started: list[str] = []
        answer = self.app(environ, lambda status, headers, exc_info=None: started.append(status))
        try:
            return int(started[0][:3]), b"".join(answer)
        finally:
            getattr(answer, "close", lambda: None)()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("fuzz")
    db = Database(f"sqlite:///{directory}/fuzz.sqlite", synchronous="OFF")
    metadata.create_all(db.engine)
    made = Service(directory, db)
    yield made
    made.bus.close()
    made.db.dispose()


NASTY = [
    "",
    ".",
    "..",
    "%",
    "\x00",
    "\xff",
    "\xc3\xa4",
    "a" * 5000,
    "' OR 1=1 --",
    "-1",
    "1e9",
    "{}",
    "null",
    "*",
    "AAAA",
    "bnVsbA==",
]
latin = st.text(st.characters(max_codepoint=255), max_size=40)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "get", "\x7f"])
words = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "name", "type", "connection_info", "description", "mapped_regions", "instances", "origin", "destination",
    "origin_endpoint_id", "destination_endpoint_id", "network_map", "storage_mappings", "source_environment",
    "destination_environment", "shutdown_instances", "replication_count", "user_scripts", "notes", "skip_os_morphing",
    "secret_ref", "target_environment", "clone_disks", "force", "cancel", "validate-connection",
]  # fmt: skip
QUERY_KEYS = ["limit", "marker", "sort_key", "sort_dir", "sort_keys", "status", "env", "name", "refresh"]


def check(status: int, body: bytes) -> None:
    assert status < 500, body
    assert b"Traceback" not in body
    assert b'File "' not in body
    if status >= 400 and body:
        assert set(json.loads(body)["error"]) >= {"fault", "code", "message"}


@given(METHODS, latin, latin, st.binary(max_size=200), st.data())
def test_noise(service: Service, method: str, path: str, query: str, body: bytes, data: st.DataObject) -> None:
    headers = {
        "CONTENT_TYPE": data.draw(st.sampled_from(["application/json", "", "text/csv", "multipart/form-data"]) | latin),
        "CONTENT_LENGTH": data.draw(st.sampled_from([str(len(body)), "", "-1", "x", "\xb2", "0"])),
        "HTTP_ACCEPT": data.draw(st.sampled_from(["*/*", "text/csv", "image/png"]) | latin),
        "HTTP_IDEMPOTENCY_KEY": data.draw(latin),
    }
    check(*service.ask(method, "/" + path, query, body, headers))


@settings(max_examples=300)
@given(st.sampled_from(ROUTES), st.data())
def test_every_route_with_bad_parts(service: Service, route: Any, data: st.DataObject) -> None:
    segment = st.sampled_from([*service.ids, *NASTY]) | latin
    path = re.sub(r"\{[^}]+\}", lambda _: data.draw(segment).replace("/", ""), route.path)
    query = "&".join(
        f"{data.draw(st.sampled_from(QUERY_KEYS))}={data.draw(st.sampled_from(NASTY) | latin)}"
        for _ in range(data.draw(st.integers(0, 3)))
    )
    prefix = "" if route.policy is None else data.draw(st.sampled_from([PREFIX, "/v1", "/v1/other"]))
    # Deletes would take away what the other examples aim at.
    method = route.method if route.method != "DELETE" else "GET"
    check(*service.ask(method, prefix + path, query, data.draw(st.binary(max_size=20))))


def _mutated(draw: Any, value: Any) -> Any:
    """The same JSON with some leaves and keys replaced by anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(values)
    if isinstance(value, dict):
        changed = {key: _mutated(draw, item) for key, item in value.items()}
        if draw(st.integers(0, 4)) == 0:
            changed[draw(st.sampled_from(FIELDS) | words)] = draw(values)
        return changed
    return [_mutated(draw, item) for item in value] if isinstance(value, list) else value


@settings(max_examples=400)
@given(st.data())
def test_bodies_that_are_almost_right(service: Service, data: st.DataObject) -> None:
    bodies = {
        f"{PREFIX}/migrations": inline(),
        "/v1/migrations": {
            "migration": {
                "origin_endpoint_id": service.ids[1],
                "destination_endpoint_id": service.ids[1],
                "instances": ["null-0000001"],
                "user_scripts": {"global": {"linux": [{"payload": "x"}]}, "instances": {}},
                "skip_os_morphing": True,
            }
        },
        f"{PREFIX}/endpoints": {"endpoint": {"name": "x", "type": "null", "connection_info": {"seed": 1}}},
        f"{PREFIX}/migrations/{service.ids[0]}/actions": {"cancel": {"force": False}},
        f"{PREFIX}/endpoints/{service.ids[1]}/actions": {"validate-connection": None},
    }
    path = data.draw(st.sampled_from(sorted(bodies)))
    body = json.dumps(_mutated(data.draw, bodies[path])).encode()
    status, answer = service.ask("POST", path, body=body)
    check(status, answer)
    if status == 200 and path.endswith("/endpoints"):
        key = json.loads(answer)["endpoint"]["id"]
        for rest in ("", "/instances", "/networks"):
            check(*service.ask("GET", f"{PREFIX}/endpoints/{key}{rest}"))
        update = json.dumps(_mutated(data.draw, {"endpoint": {"name": "y", "connection_info": {"seed": 2}}})).encode()
        check(*service.ask("PUT", f"{PREFIX}/endpoints/{key}", body=update))
