# SPDX-License-Identifier: Apache-2.0
"""The client library against the real API in this process."""

from __future__ import annotations

from typing import Any

import pytest
from openstack import exceptions
from webtest import TestApp

from coriolis.client import Proxy
from coriolis.client import record as client_record
from coriolis.client.endpoint import OPTION_LISTS
from coriolis.store.engine import Database
from tests.functional import wire
from tests.functional.desk import TOKEN, Desk
from tests.functional.graph import finish, grow
from tests.functional.test_transfers import finish as end_run

NOTHING = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture
def asked(anonymous: TestApp, desk: Desk) -> tuple[Proxy, wire.Adapter]:
    return wire.connect(anonymous, TOKEN)


@pytest.fixture
def client(asked: tuple[Proxy, wire.Adapter]) -> Proxy:
    return asked[0]


def endpoint(client: Proxy, name: str) -> Any:
    return client.create_endpoint(name=name, type="null", connection_info={"instances": 7, "seed": len(name)})


def migration(client: Proxy, **more: Any) -> Any:
    return client.create_migration(
        origin_endpoint_id=endpoint(client, "from").id,
        destination_endpoint_id=endpoint(client, "to").id,
        instances=["null-0000001"],
        **more,
    )


NAMES = ["plain", "with/slash", "'quotes' \"both\"", "🙂 שלום", "..", "?x=1#y", "%2e%2e", "detail", "a" * 200, NOTHING]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_found_shown_changed_and_deleted(client: Proxy, name: str) -> None:
    made = endpoint(client, name)
    endpoint(client, "another")
    found = client.find_endpoint(name)
    assert found is not None
    assert (found.id, found.name) == (made.id, name)
    assert client.update_endpoint(found, description="new").description == "new"
    assert client.get_endpoint(made.id).description == "new"
    client.delete_endpoint(found)
    assert client.find_endpoint(name, ignore_missing=True) is None
    with pytest.raises(exceptions.NotFoundException, match="There is no endpoint"):
        client.find_endpoint(name)


def test_a_name_that_several_have_is_not_guessed(client: Proxy) -> None:
    first, second = endpoint(client, "twin"), endpoint(client, "twin")
    with pytest.raises(exceptions.DuplicateResource) as caught:
        client.find_endpoint("twin")
    assert first.id in str(caught.value)
    assert second.id in str(caught.value)


def test_lists_page_until_the_end(asked: tuple[Proxy, wire.Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    client, adapter = asked
    made = {endpoint(client, f"e{number}").id for number in range(7)}
    monkeypatch.setattr(client_record, "PAGE", 3)
    adapter.calls.clear()
    listed = [each.id for each in client.endpoints()]
    assert len(listed) == 7
    assert set(listed) == made
    assert len(adapter.calls) == 4, "three pages, and one that is empty"
    assert len(list(client.endpoints(limit=2, paginated=False))) == 2
    assert [each.name for each in client.endpoints(sort_key="name", sort_dir="asc")] == [f"e{n}" for n in range(7)]


def test_a_generator_asks_for_no_more_than_is_used(
    asked: tuple[Proxy, wire.Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, adapter = asked
    for number in range(5):
        endpoint(client, f"e{number}")
    monkeypatch.setattr(client_record, "PAGE", 2)
    adapter.calls.clear()
    next(iter(client.endpoints()))
    assert len(adapter.calls) == 1


def test_what_is_on_an_endpoint(client: Proxy) -> None:
    one = endpoint(client, "one")
    instances = list(client.endpoint_instances(one))
    assert len(instances) == 7
    assert client.get_endpoint_instance(one, instances[0].name).devices["disks"]
    assert [each.name for each in client.endpoint_instances(one, name="0000003")] == ["null-0000003"]
    assert [each.name for each in client.endpoint_networks(one, environment={"unknown": 1})]
    assert [each.name for each in client.endpoint_storage(one)]
    for kind in OPTION_LISTS:
        assert isinstance(list(client.endpoint_options(one, kind)), list)
    assert client.endpoint_inventory(one).splitlines()[1:]
    assert client.validate_endpoint(one) == (True, None)


def test_the_last_short_page_of_instances_ends_the_list(
    asked: tuple[Proxy, wire.Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, adapter = asked
    one = endpoint(client, "one")
    monkeypatch.setattr(client_record, "PAGE", 5)
    adapter.calls.clear()
    assert len(list(client.endpoint_instances(one))) == 7
    assert len(adapter.calls) == 2, "asking the platform again would cost"


def test_the_life_of_a_migration(client: Proxy, db: Database) -> None:
    made = migration(client, notes="The web server", replication_count=1)
    assert not made.final
    grow(db, made.id)
    (listed,) = client.migrations(status="PENDING")
    assert (listed.id, listed.notes) == (made.id, "The web server")
    tasks = list(client.migration_tasks(made))
    assert client.get_migration_task(made, tasks[0].id).task_type == tasks[0].task_type
    assert list(client.migration_task_progress(made, tasks[0]))
    assert {event.task_id for event in client.migration_events(made)} >= {task.id for task in tasks}
    client.cancel_migration(made)
    with pytest.raises(exceptions.ResourceTimeout, match="still"):
        client.wait_for_migration(made, interval=0.0, timeout=0.0)
    finish(db, made.id, "CANCELED")
    seen: list[str] = []
    ended = client.wait_for_migration(made, interval=0.0, seen=lambda one: seen.append(one.status))
    assert ended.status == "CANCELED"
    assert seen == ["CANCELED"]
    client.delete_migration(made)
    client.delete_migration(made)
    with pytest.raises(exceptions.NotFoundException):
        client.delete_migration(made, ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException, match="no migration with the id"):
        client.find_migration("a name")


def test_regions_and_services(client: Proxy) -> None:
    region = client.create_region(name="Berlin/Mitte", description="The cellar")
    assert client.find_region("Berlin/Mitte").id == region.id  # type: ignore[union-attr]
    assert client.update_region(region, enabled=False).enabled is False
    one = endpoint(client, "one")
    client.update_endpoint(one, mapped_regions=[region.id])
    assert client.get_region(region.id).mapped_endpoints == [one.id]
    client.update_endpoint(client.get_endpoint(one.id), mapped_regions=[])
    client.delete_region(region, ignore_missing=False)
    assert list(client.regions()) == []
    for service in client.services():
        assert client.find_service(service.id).host == service.host  # type: ignore[union-attr]
    assert list(client.diagnostics()) == [], "nobody but the API is there"


def test_errors_say_what_the_service_said(client: Proxy) -> None:
    with pytest.raises(exceptions.BadRequestException, match="instances"):
        client.create_migration(origin_endpoint_id=NOTHING, destination_endpoint_id=NOTHING, instances=[])
    with pytest.raises(exceptions.NotFoundException):
        client.get_endpoint(NOTHING)


def transfer(client: Proxy) -> Any:
    return client.create_transfer(
        origin_endpoint_id=endpoint(client, "from").id,
        destination_endpoint_id=endpoint(client, "to").id,
        instances=["null-0000001"],
        notes="replica of the web server",
    )


def test_the_life_of_a_transfer(client: Proxy, db: Database) -> None:
    made = transfer(client)
    assert (made.status, made.scenario) == ("UNEXECUTED", "replica")
    run = client.create_transfer_execution(made)
    assert (run.number, run.action_id, run.final) == (1, made.id, False)
    assert [each.id for each in client.transfer_executions(made)] == [run.id]
    client.cancel_transfer_execution(made, run)
    finish(db, made.id, "ERROR")
    assert client.wait_for_transfer_execution(made, run, interval=0.0).status == "ERROR"
    again = client.retry_transfer_execution(made, run)
    assert again.number == 2
    finish(db, made.id, "COMPLETED")
    change = client.update_transfer(made, notes="changed", network_map={"a": "b"})
    assert change.type == "transfer_update"
    finish(db, made.id, "COMPLETED")
    client.delete_transfer_execution(made, again, ignore_missing=False)
    assert client.get_transfer(made.id, include_task_info=True).info is not None
    assert [each.notes for each in client.transfers(status="COMPLETED")]
    client.delete_transfer(made, ignore_missing=False, delete_disks=True)
    client.delete_transfer(made)
    with pytest.raises(exceptions.NotFoundException):
        client.delete_transfer(made, ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException):
        client.get_transfer_execution(made, run)


def test_a_deployment_wants_a_complete_execution(client: Proxy) -> None:
    made = transfer(client)
    with pytest.raises(exceptions.BadRequestException, match="execution"):
        client.create_deployment(transfer_id=made.id)
    assert list(client.deployments()) == []
    with pytest.raises(exceptions.NotFoundException, match="no deployment with the id"):
        client.find_deployment("x")


def test_a_plan_makes_nothing(client: Proxy) -> None:
    order = {
        "origin_endpoint_id": endpoint(client, "from").id,
        "destination_endpoint_id": endpoint(client, "to").id,
        "instances": ["null-0000001"],
    }
    plan = client.plan_migration(**order, network_map={"VM Network": "null-network"})
    assert plan.possible
    assert plan.size_bytes == sum(disk["size_bytes"] for disk in plan.instances[0]["disks"]) > 0
    refused = client.plan_migration(**order | {"instances": ["nobody"]})
    assert not refused.possible
    assert any(concern.blocking and concern.instance == "nobody" for concern in refused.concerns)
    assert list(client.migrations()) == []


def test_events_are_followed_until_the_end(client: Proxy, db: Database) -> None:
    made = migration(client, replication_count=1)
    grow(db, made.id, events_each=1)
    first = next(client.follow_migration_events(made))
    finish(db, made.id, "COMPLETED")
    listed = [event.message for event in client.migration_events(made)]
    assert [event.message for event in client.follow_migration_events(made)] == listed
    assert [event.message for event in client.follow_migration_events(made, since=first.id)] == listed[1:]


def test_schedules_have_no_envelope_on_the_way_there(client: Proxy) -> None:
    one = transfer(client)
    made = client.create_transfer_schedule(one, schedule={"hour": 2, "minute": 30}, enabled=False)
    assert (made.transfer_id, made.schedule, made.enabled) == (one.id, {"hour": 2, "minute": 30}, False)
    changed = client.update_transfer_schedule(one, made, schedule={"dow": 0}, enabled=True)
    assert (changed.schedule, changed.enabled) == ({"dow": 0}, True)
    assert client.get_transfer_schedule(one, made).schedule == {"dow": 0}
    assert [each.id for each in client.transfer_schedules(one, show_expired=False)] == [made.id]
    client.delete_transfer_schedule(one, made, ignore_missing=False)
    assert list(client.transfer_schedules(one)) == []


def test_the_life_of_a_deployment(client: Proxy, db: Database) -> None:
    one = transfer(client)
    client.create_transfer_execution(one)
    end_run(db, one.id)
    assert client.plan_deployment(transfer_id=one.id, skip_os_morphing=True).recipe == "deploy_clones"
    made = client.create_deployment(transfer_id=one.id, skip_os_morphing=True)
    client.cancel_deployment(made)
    end_run(db, made.id, "CANCELED")
    assert client.wait_for_deployment(made, interval=0.0).status == "CANCELED"
    assert client.retry_deployment(made).id == made.id
    assert isinstance(list(client.deployment_events(made)), list)
    end_run(db, made.id, "COMPLETED")
    assert [each.transfer_id for each in client.deployments(status="COMPLETED")] == [one.id]
    client.delete_deployment(made, ignore_missing=False)
    assert list(client.deployments()) == []
