# SPDX-License-Identifier: Apache-2.0
"""Which tasks go where, and in what order."""

from __future__ import annotations

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import migrations as commands
from coriolis.commands import regions as region_commands
from coriolis.commands import services as service_commands
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.rpc.messages import AttemptReport
from coriolis.store import placing, regions, services, sessions
from coriolis.store.paging import Page
from coriolis.store.placing import Claim
from tests.unit.conductor.rig import CALLER, LEASE, Rig, badly


def test_slots_are_not_exceeded(rig: Rig) -> None:
    rig.worker(slots=2, host="a")
    rig.worker(slots=3, host="b")
    for number in range(8):
        rig.create(f"vm-{number}")
    rig.advance()
    first = rig.dispatch()
    assert len(first) == 5
    assert rig.dispatch() == []
    assert rig.end(first[0]).accepted
    (next_one,) = rig.dispatch()
    assert next_one.attempt.session_id == first[0].attempt.session_id


def test_those_that_wait_longest_come_first(rig: Rig) -> None:
    rig.worker(slots=1)
    made = []
    for number in range(3):
        made.append(rig.create(f"vm-{number}"))
        rig.advance()
        rig.clock.forward(1)
    order = []
    for _ in range(3):
        (one,) = rig.dispatch()
        order.append(one.instance)
        rig.end(one, outcome="failed", error=badly("inspect")(one)["error"])
    assert order == ["vm-0", "vm-1", "vm-2"]


def test_a_limit_per_endpoint_lets_others_pass(rig: Rig) -> None:
    rig.worker()
    shared = [endpoint_commands.create(rig.db, CALLER, NewEndpoint(name=n, type="null", sealed="x")).id for n in "ab"]
    for number in range(5):
        spec = NewMigration(origin=shared[0], destination=shared[1], instances=(f"busy-{number}",))
        commands.create(rig.db, CALLER, spec)
    rig.create("other")
    rig.advance()
    placed = rig.dispatch(limit=4, per_endpoint=2)
    placed += rig.dispatch(limit=4, per_endpoint=2)
    assert sorted(one.instance.split("-")[0] for one in placed) == ["busy", "busy", "other"]


def test_what_nobody_can_run_does_not_stand_in_the_way(rig: Rig) -> None:
    gone = rig.worker(kind="rare", slots=5)
    for number in range(10):
        rig.create(f"rare-{number}", kind="rare")
    rig.advance()
    rig.clock.forward(LEASE + 1)
    assert rig.reap() == [gone]
    rig.worker(kind="null", slots=5)
    rig.create("usual")
    rig.advance()
    assert [one.instance for one in rig.dispatch(limit=3)] == ["usual"]


def region_ids(rig: Rig) -> dict[str, str]:
    return {row.name: row.id for row in rig.db.read(regions.page, Page())}


def job_in(rig: Rig, *words: str) -> None:
    """A job whose source is reached from these regions only."""
    known = region_ids(rig)
    mapped = tuple(known[word] for word in words)
    source = NewEndpoint(name="a", type="null", sealed="a", mapped_regions=mapped)
    spec = NewMigration(origin=source, destination=NewEndpoint(name="b", type="null", sealed="b"), instances=("vm",))
    commands.create(rig.db, CALLER, spec)
    rig.advance()


def test_regions(rig: Rig) -> None:
    rig.worker(host="north", regions=("north",))
    region_commands.create(rig.db, CALLER, name="south")
    job_in(rig, "south")
    assert rig.dispatch() == []
    south = rig.worker(host="south", regions=("south", "west"))
    assert [one.attempt.session_id for one in rig.dispatch()] == [south]


def test_what_an_administrator_says_of_a_service_counts_at_once(rig: Rig) -> None:
    session_id = rig.worker(host="north", regions=("north",))
    south = region_commands.create(rig.db, CALLER, name="south").id
    job_in(rig, "south")
    assert rig.dispatch() == []
    (host,) = rig.db.read(services.page, Page())
    service_commands.update(rig.db, host.id, mapped_regions=(south,), enabled=False)
    assert rig.dispatch() == []
    service_commands.update(rig.db, host.id, enabled=True)
    region_commands.update(rig.db, south, {"enabled": False})
    assert rig.dispatch() == []
    region_commands.update(rig.db, south, {"enabled": True})
    assert [one.attempt.session_id for one in rig.dispatch()] == [session_id]


def test_a_worker_without_regions_serves_no_disabled_one(rig: Rig) -> None:
    rig.worker()
    south = region_commands.create(rig.db, CALLER, name="south").id
    job_in(rig, "south")
    region_commands.update(rig.db, south, {"enabled": False})
    assert rig.dispatch() == []
    region_commands.update(rig.db, south, {"enabled": True})
    assert len(rig.dispatch()) == 1


def test_a_retry_goes_back_to_the_host_of_its_checkpoint(rig: Rig) -> None:
    for host in ("a", "b", "c"):
        rig.worker(host=host, kind="ova", slots=50)
    rig.create(kind="ova", replication_count=1)
    rig.run(until="copy")
    one = rig.held[0]
    home = one.attempt.session_id
    report = AttemptReport(task_id=one.attempt.task_id, epoch=one.attempt.epoch, checkpoint={"host": "b", "n": 1})
    assert rig.sync(home, report).accepted
    assert rig.end(one, outcome="failed", error=badly("copy", retryable=True)(one)["error"]).accepted
    rig.clock.forward(6)
    for session_id in rig.sessions:
        rig.sync(session_id)
    (again,) = [each for each in rig.dispatch() if each.attempt.task_id == one.attempt.task_id]
    assert again.attempt.session_id == rig.sessions[1]
    assert again.checkpoint == {"host": "b", "n": 1}


def test_inputs_are_only_what_the_task_names(rig: Rig) -> None:
    rig.worker(kind="ova")
    rig.create(kind="ova", replication_count=2)
    rig.run(until="verify")
    one = rig.held[0]
    assert set(one.inputs) == {"vm", "volumes", "digest"}
    assert one.inputs["digest"] == "d"
    assert (one.source, one.destination.sealed if one.destination else None) == (None, "ciphertext")


def test_a_claim_needs_a_live_session_and_the_epoch_it_saw(rig: Rig) -> None:
    session_id = rig.worker()
    made = rig.create()
    rig.advance()
    task_id = rig.tasks(made)["inspect"].id
    now = rig.clock()
    assert rig.db.write(placing.claim, [Claim(task_id, 0, "nobody", "h")], now) == []
    assert rig.db.write(placing.claim, [Claim(task_id, 7, session_id, "h")], now) == []
    wanted = Claim(task_id, 0, session_id, "h")
    assert rig.db.write(placing.claim, [wanted, Claim("unknown", 0, session_id, "h")], now) == [wanted]
    assert rig.db.write(placing.claim, [Claim(task_id, 0, "nobody", "h")], now) == []
    task = rig.tasks(made)["inspect"]
    assert (task.status, task.epoch, task.session_id, task.host) == ("RUNNING", 1, session_id, "h")


def test_a_claim_that_outlived_its_session_is_freed(rig: Rig) -> None:
    """The claim had read the session as live; the session died before the claim was committed."""
    session_id = rig.worker()
    made = rig.create()
    rig.run(until="inspect")
    rig.db.write(sessions.end, [session_id], rig.clock())
    assert rig.states(made)["inspect"] == "RUNNING"
    assert rig.reap() == []
    assert rig.states(made)["inspect"] == "PENDING"
