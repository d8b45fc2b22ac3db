# SPDX-License-Identifier: Apache-2.0
"""Create, delete and purge migrations."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import func, select

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import jobs
from coriolis.commands import migrations as commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.explain import explain
from coriolis.commands.migrations import NewMigration
from coriolis.conductor import janitor
from coriolis.domain.errors import Conflict, Invalid, InvalidState, NotFound, Unavailable, Unsupported
from coriolis.store import actions, endpoints
from coriolis.store.paging import Page
from coriolis.store.tables import metadata
from tests.unit.conductor.rig import CALLER, Rig, badly

OTHER = Caller(user_id="u2", project_id="other")
ADMIN = Caller(user_id="root", project_id="admin", is_admin=True)


def account(name: str = "e", kind: str = "null", **more: str) -> NewEndpoint:
    return NewEndpoint(name=name, type=kind, **(more or {"sealed": "ciphertext"}))


def spec(**more: object) -> NewMigration:
    values: dict[str, object] = {"origin": account(), "destination": account(), "instances": ("vm",)}
    return NewMigration(**{**values, **more})  # type: ignore[arg-type]


def test_with_endpoint_ids(rig: Rig) -> None:
    rig.worker()
    ends = [endpoint_commands.create(rig.db, CALLER, account(name)).id for name in "ab"]
    made = commands.create(rig.db, CALLER, spec(origin=ends[0], destination=ends[1]))
    assert (made.origin_endpoint_id, made.destination_endpoint_id) == tuple(ends)
    assert rig.execution(made).state == "PENDING"
    assert len(rig.db.read(endpoints.page, "project", Page())) == 2


def test_inline_endpoints_are_hidden_and_go_with_it(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    assert rig.db.read(endpoints.page, "project", Page()) == []
    rig.run()
    commands.delete(rig.db, CALLER, made.id)
    with pytest.raises(NotFound):
        rig.migration(made)
    with pytest.raises(NotFound):
        rig.db.read(endpoints.get, made.origin_endpoint_id, None)
    with rig.db.reader() as conn:
        left = {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.tables.values()
        }
    assert {name for name, count in left.items() if count} <= {"session", "service", "process", "outbox"}


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"instances": ()}, Invalid, "instances"),
        ({"instances": ("a", "b", "a")}, Invalid, "instances"),
        ({"origin": "nobody"}, Invalid, "origin_endpoint_id"),
        ({"destination": "nobody"}, Invalid, "destination_endpoint_id"),
        (
            {"origin": account(secret_ref="r"), "destination": account(secret_ref="r")},
            Invalid,
            "destination_endpoint_id",
        ),
        ({"origin": account(kind="unheard")}, Unavailable, "type"),
        ({"replication_count": 0}, Invalid, "replication_count"),
        ({"origin": NewEndpoint(name="e", type="null")}, Invalid, "connection_info"),
        ({"origin": account(kind="weak")}, Unsupported, "source"),
    ],
)
def test_a_bad_request_names_its_field(rig: Rig, change: dict, error: type, field: str) -> None:
    rig.worker()
    rig.worker(kind="weak", capabilities=["networks"])
    with pytest.raises(error) as caught:
        commands.create(rig.db, CALLER, spec(**change))
    assert caught.value.field == field
    assert rig.db.read(actions.page, None, Page()) == []


def test_the_same_endpoint_twice(rig: Rig) -> None:
    rig.worker()
    end = endpoint_commands.create(rig.db, CALLER, account()).id
    with pytest.raises(Invalid, match="different"):
        commands.create(rig.db, CALLER, spec(origin=end, destination=end))


def test_the_same_key_gives_the_same_migration(rig: Rig) -> None:
    rig.worker()
    key = {"idempotency_key": "k", "request_hash": "h"}
    made = commands.create(rig.db, CALLER, spec(), **key)
    assert commands.create(rig.db, CALLER, spec(), **key).id == made.id
    assert commands.create(rig.db, OTHER, spec(), **key).id != made.id
    with pytest.raises(Conflict, match="another request"):
        commands.create(rig.db, CALLER, spec(), idempotency_key="k", request_hash="different")
    assert len(rig.db.read(actions.page, None, Page())) == 2


def test_other_projects_see_nothing(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    for use in (commands.cancel, commands.delete):
        with pytest.raises(NotFound):
            use(rig.db, OTHER, made.id)
    assert rig.db.read(actions.page, "other", Page()) == []
    assert rig.db.read(actions.get, made.id, ADMIN.scope).id == made.id


def test_only_what_is_over_is_deleted(rig: Rig) -> None:
    rig.worker()
    made = rig.create()
    with pytest.raises(InvalidState, match="PENDING"):
        commands.delete(rig.db, CALLER, made.id)
    rig.run(badly("plan"))
    commands.delete(rig.db, CALLER, made.id)


def test_an_endpoint_in_use_stays(rig: Rig) -> None:
    rig.worker()
    ends = [endpoint_commands.create(rig.db, CALLER, account(name)).id for name in "ab"]
    made = commands.create(rig.db, CALLER, spec(origin=ends[0], destination=ends[1]))
    for end in ends:
        with pytest.raises(Exception, match=made.id):
            endpoint_commands.delete(rig.db, CALLER, end)
    rig.run()
    commands.delete(rig.db, CALLER, made.id)
    for end in ends:
        endpoint_commands.delete(rig.db, CALLER, end)
    assert rig.db.read(endpoints.page, None, Page()) == []


def test_old_migrations_are_purged_and_young_and_open_ones_stay(rig: Rig) -> None:
    rig.worker()
    old = [rig.create(f"old-{n}") for n in range(3)]
    rig.run()
    rig.clock.forward(dt.timedelta(days=30).total_seconds())
    rig.sessions.clear()
    rig.worker()
    open_ = rig.create("open")
    young = rig.create("young")
    rig.run(lambda assign: {"outcome": "returned"} if assign.instance == "open" else badly()(assign), until="plan")
    assert janitor.clean(rig.db, retention_days=0) == 0
    assert jobs.purge(rig.db, older_than_days=20) == len(old)
    assert {row.id for row in rig.db.read(actions.page, None, Page())} == {open_.id, young.id}


def test_the_janitor_keeps_the_retention(rig: Rig) -> None:
    rig.worker()
    rig.create()
    rig.run()
    rig.clock.forward(dt.timedelta(days=2).total_seconds())
    assert janitor.clean(rig.db, retention_days=3) == 0
    assert janitor.clean(rig.db, retention_days=1) == 1


def test_explain_tells_graph_owner_and_events(rig: Rig) -> None:
    session_id = rig.worker()
    made = rig.create("web")
    rig.run(badly("plan"))
    text = explain(rig.db, made.id)
    for word in (made.id, "Instance web: ERROR", "inspect", "after inspect", session_id, "It does not work."):
        assert word in text
    assert explain(rig.db, rig.execution(made).id) == text
    with pytest.raises(NotFound):
        explain(rig.db, "nobody")
