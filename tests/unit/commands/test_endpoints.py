# SPDX-License-Identifier: Apache-2.0
"""Create, change and delete endpoints."""

from __future__ import annotations

import pytest

from coriolis.commands import endpoints as commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.domain.errors import Conflict, Invalid, NotFound
from coriolis.store import endpoints
from tests.unit.conductor.rig import CALLER, Rig

NEW = NewEndpoint(name="e", type="null", sealed="s1")


def test_create_and_read(rig: Rig) -> None:
    made = commands.create(rig.db, CALLER, NEW)
    assert rig.db.read(endpoints.get, made.id, "project") == made
    assert (made.sealed, made.secret_ref, made.mapped_regions) == ("s1", None, [])
    with pytest.raises(NotFound):
        rig.db.read(endpoints.get, made.id, "other")


def test_a_secret_replaces_the_other_kind(rig: Rig) -> None:
    made = commands.create(rig.db, CALLER, NEW)
    changed = commands.update(rig.db, CALLER, made, {"secret_ref": "https://barbican/1", "name": "new"})
    assert (changed.sealed, changed.secret_ref, changed.name) == (None, "https://barbican/1", "new")
    assert commands.update(rig.db, CALLER, changed, {"sealed": "s2"}).secret_ref is None
    assert changed.updated_at is not None


def test_the_type_stays(rig: Rig) -> None:
    made = commands.create(rig.db, CALLER, NEW)
    with pytest.raises(Invalid) as caught:
        commands.update(rig.db, CALLER, made, {"type": "ova"})
    assert caught.value.field == "type"


def test_other_projects(rig: Rig) -> None:
    made = commands.create(rig.db, CALLER, NEW)
    other = Caller(user_id="u", project_id="other")
    with pytest.raises(NotFound):
        commands.update(rig.db, other, made, {"name": "x"})
    with pytest.raises(NotFound):
        commands.delete(rig.db, other, made.id)
    commands.delete(rig.db, CALLER, made.id)


def test_the_same_key_gives_the_same_endpoint(rig: Rig) -> None:
    made = commands.create(rig.db, CALLER, NEW, idempotency_key="k", request_hash="1")
    assert commands.create(rig.db, CALLER, NEW, idempotency_key="k", request_hash="1") == made
    with pytest.raises(Conflict):
        commands.create(rig.db, CALLER, NEW, idempotency_key="k", request_hash="2")


def test_a_change_of_what_was_changed_meanwhile_is_refused(rig: Rig) -> None:
    made = commands.create(rig.db, CALLER, NewEndpoint(name="old", type="fake", sealed="s"))
    commands.update(rig.db, CALLER, made, {"sealed": "a new password"})
    with pytest.raises(Conflict):
        commands.update(rig.db, CALLER, made, {"sealed": "made from the old one", "name": "x"})
    assert rig.db.read(endpoints.get, made.id, None).sealed == "a new password"
