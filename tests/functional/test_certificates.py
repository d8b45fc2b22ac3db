# SPDX-License-Identifier: Apache-2.0
"""Certificates over the API: signed once, of what is over, checked with the key that the API tells."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp

from coriolis.api.settings import ApiSettings
from coriolis.certificate import document, signature
from coriolis.store.engine import Database
from tests.functional.copied import ROOT, copy_disks
from tests.functional.desk import PREFIX, Desk
from tests.functional.graph import finish, grow
from tests.functional.test_frame import NOWHERE

MIGRATION = {
    "origin": {"type": "null", "connection_info": {"instances": 3}},
    "destination": {
        "type": "null",
        "connection_info": {"seed": 1},
        "target_environment": {"network_map": {"VM Network": "null-network"}},
    },
    "instances": ["null-0000001"],
    "replication_count": 1,
}


@pytest.fixture
def migration(api: TestApp, desk: Desk, db: Database) -> str:
    made = api.post_json(f"{PREFIX}/migrations", {"migration": MIGRATION}).json["migration"]
    grow(db, made["id"])
    return str(made["id"])


def certificate(api: TestApp, migration: str, status: int = 200) -> Any:
    return api.get(f"{PREFIX}/migrations/{migration}/certificate", status=status).json


def test_a_finished_migration_has_one_signed_by_the_key_that_the_api_tells(
    api: TestApp, migration: str, db: Database
) -> None:
    run = copy_disks(db, migration)
    told = certificate(api, migration)["certificate"]
    key = api.get(f"{PREFIX}/certificate_key").json["certificate_key"]
    assert signature.verify(told, base64.b64decode(key["public_key"])) == key["key_id"]
    ((instance, disk),) = document.disks(told)
    assert (instance, disk["root"], disk["verification"]["mode"]) == ("null-0000001", ROOT, "full")
    assert told["execution"]["id"] == run
    assert (told["source_platform"], told["job"]["id"]) == ("null", migration)
    assert certificate(api, migration)["certificate"] == told  # signed once


def test_it_is_there_when_the_migration_is_over(api: TestApp, migration: str, db: Database) -> None:
    assert "when it is over" in certificate(api, migration, 400)["error"]["message"]
    finish(db, migration, "ERROR")
    assert "nothing to certify" in certificate(api, migration, 400)["error"]["message"]


def test_nobody_elses(api: TestApp, desk: Desk) -> None:
    certificate(api, NOWHERE, 404)
    api.get(f"{PREFIX}/deployments/{NOWHERE}/certificate", status=404)
    api.get(f"{PREFIX}/transfers/{NOWHERE}/executions/{NOWHERE}/certificate", status=404)


def test_it_goes_with_its_migration(api: TestApp, migration: str, db: Database) -> None:
    copy_disks(db, migration)
    certificate(api, migration)
    finish(db, migration, "COMPLETED")
    api.delete(f"{PREFIX}/migrations/{migration}", status=204)
    certificate(api, migration, 404)


def test_without_a_key_it_says_how_to_make_one(
    api: TestApp, migration: str, db: Database, settings: ApiSettings
) -> None:
    copy_disks(db, migration)
    Path(settings.certificate_key_file).unlink()
    said = certificate(api, migration, 503)["error"]["message"]
    assert "coriolis-manage certificate create-key" in said
