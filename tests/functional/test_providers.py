# SPDX-License-Identifier: Apache-2.0
"""Providers and their schemas: what all live workers tell together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from webtest import TestApp

from coriolis.domain.errors import Unavailable
from coriolis.rpc import messages
from coriolis.rpc.local_bus import LocalBus
from coriolis.store import sessions
from coriolis.store.engine import Database
from tests.functional.desk import PREFIX, Desk
from tests.functional.test_frame import error

NULL_TYPES = [4, 8, 16, 32, 128, 512, 4096, 16384, 32768, 65536, 131072, 262144, 2097152]


def test_providers(api: TestApp, desk: Desk) -> None:
    assert api.get(f"{PREFIX}/providers").json == {"providers": {"null": {"types": NULL_TYPES}}}


def test_provider_schemas(api: TestApp, desk: Desk) -> None:
    for number, key in ((16, "connection_info_schema"), (8, "source_environment_schema")):
        assert list(api.get(f"{PREFIX}/providers/null/schemas/{number}").json["schemas"]) == [key]
    assert "oneOf" in api.get(f"{PREFIX}/providers/null/schemas/16").json["schemas"]["connection_info_schema"]
    assert api.get(f"{PREFIX}/providers/null/schemas/524288").json == {"schemas": {}}
    error(api.get(f"{PREFIX}/providers/nobody/schemas/16", expect_errors=True), 404)
    error(api.get(f"{PREFIX}/providers/null/schemas/x", expect_errors=True), 404)
    assert len([call for call in desk.calls if call.operation == "schemas"]) == 1
    assert json.dumps(desk.calls[0].arguments) == "{}"


OTHER = "22222222-2222-4222-8222-222222222222"


class Teller:
    """A worker of another release: it tells other schemas."""

    def __init__(self, **schemas: Any) -> None:
        self.schemas: dict[str, Any] = schemas
        self.silent = False
        self.asked = 0

    def __call__(self, call: messages.ProviderCall) -> messages.ProviderReply:
        self.asked += 1
        if self.silent:
            raise Unavailable("not now")
        return messages.ProviderReply(value=self.schemas)


@pytest.fixture
def other(db: Database, bus: LocalBus, desk: Desk) -> Teller:
    """A second live worker, with the null provider of another release and one more capability."""
    with db.writer() as conn:
        sessions.start(
            conn,
            OTHER,
            host="there",
            pid=2,
            regions=[],
            providers={"null": ["inventory", "morphing"]},
            slots=2,
            release="1",
            now=db.utcnow(),
        )
    environment = {"type": "object", "properties": {"colour": {"type": "string", "enum": ["red"]}}}
    teller = Teller(connection=None, source=environment, destination=None)
    bus.serve(messages.WORKER, OTHER, {"provider": teller})
    return teller


def test_what_is_told_is_the_union_of_all_workers(api: TestApp, other: Teller) -> None:
    assert api.get(f"{PREFIX}/providers").json["providers"]["null"]["types"] == sorted([*NULL_TYPES, 64])
    told = [api.get(f"{PREFIX}/providers/null/schemas/{number}").json["schemas"] for number in (16, 8, 8, 16)]
    assert told[0] == told[3]
    assert "seed" in told[0]["connection_info_schema"]["oneOf"][0]["properties"]
    assert "colour" in told[1]["source_environment_schema"]["properties"]
    assert told[1] == told[2]


def test_a_worker_that_is_silent_does_not_hide_the_others(api: TestApp, other: Teller) -> None:
    other.silent = True
    told = api.get(f"{PREFIX}/providers/null/schemas/8").json["schemas"]
    assert told["source_environment_schema"]["title"] == "Nothing to choose"
    other.silent = False  # and is asked again
    assert (
        "colour"
        in api.get(f"{PREFIX}/providers/null/schemas/8").json["schemas"]["source_environment_schema"]["properties"]
    )


def test_the_same_schemas_are_asked_for_once(api: TestApp, db: Database, bus: LocalBus, desk: Desk) -> None:
    """Of workers that tell the same digest, one is asked; of one that tells none, that one is."""
    keys = [f"{number:08d}-2222-4222-8222-222222222222" for number in range(4)]
    tellers = [Teller(connection={"oneOf": [{}]}) for _ in keys]
    for key, teller in zip(keys, tellers, strict=True):
        with db.writer() as conn:
            sessions.start(
                conn,
                key,
                host=key,
                pid=2,
                regions=[],
                providers={"other": ["inventory"]},
                schema_digests={"other": "same"} if key != keys[0] else None,
                slots=2,
                release="1",
                now=db.utcnow(),
            )
        bus.serve(messages.WORKER, key, {"provider": teller})
    for _ in range(3):
        api.get(f"{PREFIX}/providers/other/schemas/16")
    assert tellers[0].asked == 1
    assert sum(teller.asked for teller in tellers) == 2
