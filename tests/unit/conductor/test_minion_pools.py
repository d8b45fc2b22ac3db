# SPDX-License-Identifier: Apache-2.0
"""Minion pools through the store: their machines, and the executions that use them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import executions as execution_commands
from coriolis.commands import minion_pools as commands
from coriolis.commands import transfers
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.minion_pools import NewPool, Use
from coriolis.commands.transfers import NewTransfer
from coriolis.conductor import minion_pools
from coriolis.domain.errors import Conflict, Invalid, InvalidState
from coriolis.domain.minions import Choice, Machine, MachineStatus, choose, surplus
from coriolis.store import executions
from coriolis.store import minion_pools as queries
from coriolis.store.minion_rows import MinionMachine, MinionPool
from coriolis.store.rows import Execution
from tests.unit.conductor.rig import CALLER, Behave, Rig, badly, well

MINION: dict[str, Any] = {"ref": "m-1", "name": "minion", "running": True, "address": {"ip": "192.0.2.9"}}


def minions(assign: Any) -> Any:
    given = {
        "ready_minion": {"transfer_result": MINION},
        "volumes": {"volumes": []},
        "snapshot": {"snapshot": {"ref": "s"}},
    }
    if assign.kind in given:
        return {"outcome": "completed", "outputs": given[assign.kind]}
    return well(assign)


class World:
    """Two endpoints of a fake platform with minions, and a pool at the source."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        rig.worker(kind="fake")
        self.ends = [
            endpoint_commands.create(rig.db, CALLER, NewEndpoint(name=name, type="fake", sealed=name)).id
            for name in ("from", "to")
        ]

    def pool(self, **more: Any) -> MinionPool:
        given: dict[str, Any] = {"minimum_minions": 1, "maximum_minions": 2, "minion_max_idle_time": 3600, **more}
        spec = NewPool(name="p", endpoint_id=self.ends[0], platform="source", os_type="linux", **given)
        return commands.create(self.rig.db, CALLER, spec)

    def transfer(self, pool: MinionPool, *instances: str) -> str:
        spec = NewTransfer(
            origin=self.ends[0],
            destination=self.ends[1],
            instances=instances or ("vm-1",),
            minions=Use(origin=pool.id),
        )
        return transfers.create(self.rig.db, CALLER, spec).id

    def execute(self, transfer_id: str) -> Execution:
        self.rig.clock.forward(1)
        return execution_commands.create(self.rig.db, CALLER, transfer_id)

    def run(self, behave: Behave = minions, until: str | None = None) -> None:
        for _ in range(6):
            minion_pools.turn(self.rig.db)
            self.rig.run(behave, until=until)
            if until is not None and self.rig.held:
                return

    def status(self, pool: MinionPool) -> str:
        return self.rig.db.read(queries.get, pool.id, None).status

    def machines(self, pool: MinionPool) -> list[MinionMachine]:
        return self.rig.db.read(queries.machines, [pool.id])[pool.id]

    def state(self, run: Execution) -> str:
        return self.rig.db.read(executions.find, [run.id])[run.id].state


@pytest.fixture
def world(rig: Rig) -> World:
    return World(rig)


def test_allocated_refreshed_deallocated_deleted(world: World) -> None:
    pool = world.pool(minimum_minions=2)
    assert pool.status == "ALLOCATING_MACHINES"
    world.run()
    assert world.status(pool) == "ALLOCATED"
    assert [(one.status, one.powered_on, one.made) for one in world.machines(pool)] == [("AVAILABLE", True, MINION)] * 2
    with pytest.raises(InvalidState, match="DEALLOCATED"):
        commands.allocate(world.rig.db, CALLER, pool.id)
    with pytest.raises(InvalidState, match="is ALLOCATED"):
        commands.delete(world.rig.db, CALLER, pool.id)
    assert commands.refresh(world.rig.db, CALLER, pool.id).status == "IN_MAINTENANCE"
    world.run()
    assert world.status(pool) == "ALLOCATED"
    assert commands.deallocate(world.rig.db, CALLER, pool.id).status == "DEALLOCATING_MACHINES"
    world.run()
    assert world.status(pool) == "DEALLOCATED"
    assert world.machines(pool) == []
    with pytest.raises(Conflict, match="at the same moment"):
        commands.update(world.rig.db, CALLER, pool.id, {"maximum_minions": 4}, seen=replace(pool, updated_at=None))
    assert commands.update(world.rig.db, CALLER, pool.id, {"maximum_minions": 5}).maximum_minions == 5
    commands.delete(world.rig.db, CALLER, pool.id)
    assert world.rig.db.read(queries.machines, [pool.id]) == {pool.id: []}


def test_a_pool_that_cannot_be_made_is_in_error_and_can_be_cleared(world: World) -> None:
    pool = world.pool()
    world.run(badly("ready_minion"))
    assert world.status(pool) == "ERROR"
    commands.deallocate(world.rig.db, CALLER, pool.id)
    world.run()
    assert world.status(pool) == "DEALLOCATED"


def test_an_execution_takes_a_machine_for_each_instance_and_gives_it_back(world: World) -> None:
    pool = world.pool()
    world.run()
    run = world.execute(world.transfer(pool, "vm-1", "vm-2"))
    assert run.state == "AWAITING_MINION_ALLOCATIONS"
    minion_pools.turn(world.rig.db)
    assert [one.status for one in world.machines(pool)] == ["HEALTHCHECKING", "ALLOCATING"]
    world.run(until="inspect")
    assert world.state(run) == "RUNNING"
    assert {(one.status, one.execution_id) for one in world.machines(pool)} == {("IN_USE", run.id)}
    with pytest.raises(InvalidState, match="uses a machine"):
        commands.deallocate(world.rig.db, CALLER, pool.id)
    for assign in world.rig.held:
        world.rig.end(assign)
    world.run()
    assert world.state(run) == "COMPLETED"
    assert {(one.status, one.execution_id) for one in world.machines(pool)} == {("AVAILABLE", None)}


def test_the_second_execution_waits_for_the_first(world: World) -> None:
    pool = world.pool(maximum_minions=1)
    world.run()
    first, second = (world.execute(world.transfer(pool, name)) for name in ("vm-1", "vm-2"))
    world.run(until="inspect")
    assert (world.state(first), world.state(second)) == ("RUNNING", "AWAITING_MINION_ALLOCATIONS")
    for assign in world.rig.held:
        world.rig.end(assign)
    world.run()
    assert (world.state(first), world.state(second)) == ("COMPLETED", "COMPLETED")


def test_an_execution_whose_machine_cannot_be_made_ends(world: World) -> None:
    pool = world.pool()
    world.run()
    run = world.execute(world.transfer(pool))
    world.run(badly("ready_minion"))
    assert world.state(run) == "ERROR_ALLOCATING_MINIONS"
    assert world.status(pool) == "ALLOCATED"
    assert world.machines(pool) == []


def test_a_waiting_execution_can_be_cancelled(world: World) -> None:
    pool = world.pool()
    world.run()
    transfer_id = world.transfer(pool)
    run = world.execute(transfer_id)
    minion_pools.turn(world.rig.db)
    execution_commands.cancel(world.rig.db, CALLER, transfer_id, run.id)
    world.run()
    assert world.state(run) == "CANCELED"
    assert [(one.status, one.execution_id) for one in world.machines(pool)] == [("AVAILABLE", None)]


def test_a_forced_deallocation_ends_those_who_wait(world: World) -> None:
    pool = world.pool(maximum_minions=1)
    world.run()
    first, second = (world.execute(world.transfer(pool, name)) for name in ("vm-1", "vm-2"))
    world.run(until="inspect")
    commands.deallocate(world.rig.db, CALLER, pool.id, force=True)
    for assign in world.rig.held:
        world.rig.end(assign)
    world.run()
    assert world.status(pool) == "DEALLOCATED"
    assert (world.state(first), world.state(second)) == ("COMPLETED", "ERROR_ALLOCATING_MINIONS")


@pytest.mark.parametrize(("strategy", "left"), [("delete", [True]), ("poweroff", [True, False])])
def test_spare_machines_are_retired(world: World, strategy: str, left: list[bool]) -> None:
    pool = world.pool(minion_retention_strategy=strategy)
    world.run()
    world.execute(world.transfer(pool, "vm-1", "vm-2"))
    world.run()
    assert len(world.machines(pool)) == 2
    world.rig.clock.forward(3601)
    world.run()
    assert [one.powered_on for one in world.machines(pool)] == left
    assert {one.status for one in world.machines(pool)} == {"AVAILABLE"}


def test_what_does_not_fit_is_refused(world: World) -> None:
    pool = world.pool(minimum_minions=1, maximum_minions=1)
    with pytest.raises(Invalid, match="Allocate it first"):
        world.transfer(pool)
    world.run()
    with pytest.raises(Invalid, match="at most 1 machine"):
        world.transfer(pool, "vm-1", "vm-2")
    with pytest.raises(Invalid, match="maximum_minions"):
        world.pool(minimum_minions=3)
    unknown = Use(destination="x")
    spec = NewTransfer(origin=world.ends[0], destination=world.ends[1], instances=("vm-1",), minions=unknown)
    with pytest.raises(Invalid, match="There is no minion pool"):
        transfers.create(world.rig.db, CALLER, spec)
    transfer_id = world.transfer(pool)
    commands.deallocate(world.rig.db, CALLER, pool.id)
    world.run()
    with pytest.raises(InvalidState, match=transfer_id):
        commands.delete(world.rig.db, CALLER, pool.id)


def test_all_or_nothing(rig: Rig) -> None:
    now = rig.clock.now
    free = [Machine(position=n, status=MachineStatus.AVAILABLE, on=n > 0, since=now) for n in range(2)]
    assert choose(free, 2, 3) == Choice(existing=(1, 0), new=())
    assert choose(free, 3, 3) == Choice(existing=(1, 0), new=(2,))
    assert choose(free, 4, 3) is None
    assert surplus(free, 1, now - now, now) == (1,)
