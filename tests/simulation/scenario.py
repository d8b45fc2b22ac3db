# SPDX-License-Identifier: Apache-2.0
"""One seed: a migration of up to three machines in a hostile world, and what must be true at its end."""

from __future__ import annotations

import random
import shutil
import unittest.mock
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from coriolis.commands import endpoints as endpoint_commands
from coriolis.commands import migrations as migration_commands
from coriolis.commands.caller import Caller
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.domain.errors import InvalidState, Unavailable
from coriolis.domain.model import EffectState, ExecutionState, Role, Task, TaskState
from coriolis.domain.states import FINAL_EXECUTION_STATES, FINAL_TASK_STATES
from coriolis.store import effects, executions, schema, sessions, tasks
from coriolis.store.engine import Database
from coriolis.store.rows import ExecutionInstance
from tests.simulation import kinds
from tests.simulation.agent import Agent, Child
from tests.simulation.cloud import Cloud
from tests.simulation.services import SimDatabase, Site
from tests.simulation.world import Network, World

HORIZON = 2 * 3600.0  # virtual seconds after which a run counts as endless; the longest of ours takes some 1000
AFTERMATH = 70.0  # virtual seconds in which zombies may still try
CALLER = Caller(user_id="user", project_id="project")


@dataclass(frozen=True)
class Verdict:
    seed: int
    state: ExecutionState
    seconds: float
    violations: list[str]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class Plan:
    """What a seed does to the world."""

    instances: tuple[str, ...]
    disks: int
    workers: int
    kills: int
    freezes: int
    cuts: int  # of a worker's network
    fences_itself: bool
    drains: int
    cancel_at: float | None
    force: bool
    poison: tuple[str, str] | None  # (instance, kind): refused for good
    killer: tuple[str, str] | None  # (instance, kind): takes its worker down
    shutdown: bool
    rounds: int


def template(path: Path) -> Path:
    """A file with the tables, to be copied for each seed."""
    db = Database(f"sqlite:///{path}", synchronous="OFF")
    schema.upgrade(db)
    db.dispose()
    return path


def draw(world: World) -> Plan:
    rng = world.rng
    makers = ("volumes", "snapshot", "shutdown", "copy", "verify", "deploy", "finalize", "plan")
    sick = rng.random()
    instances = tuple(f"vm-{number}" for number in range(rng.choice((1, 1, 2, 2, 3))))
    return Plan(
        instances=instances,
        disks=rng.choice((1, 2)),
        workers=max(2, len(instances)),
        kills=rng.randint(0, 4),
        freezes=rng.randint(0, 4),
        cuts=rng.randint(0, 3),
        fences_itself=rng.random() < 0.6,
        drains=rng.randint(0, 1),
        cancel_at=rng.uniform(1.0, 90.0) if rng.random() < 0.35 else None,
        force=rng.random() < 0.5,
        poison=(rng.choice(instances), rng.choice(makers)) if sick < 0.35 else None,
        killer=(rng.choice(instances), rng.choice(makers)) if sick > 0.9 else None,
        shutdown=rng.random() < 0.7,
        rounds=rng.choice((1, 1, 2)),
    )


class Scenario:
    def __init__(self, seed: int, folder: Path, empty: Path, horizon: float) -> None:
        self.seed, self.horizon = seed, horizon
        self.world = World(seed)
        path = folder / f"seed-{seed}.db"
        shutil.copyfile(empty, path)
        self.db = SimDatabase(f"sqlite:///{path}", clock=self.world.clock, synchronous="OFF", pool_size=2)
        self.db.world = self.world
        self.plan = draw(self.world)
        network = Network(self.world, loss=0.06, doubles=0.08, slow=0.08)
        self.site = Site(self.world, self.db, network)
        self.site.befall = self._befall
        self.cloud = Cloud(self.world, self.plan.instances, self.plan.disks, flaky=0.02)
        self.cloud.strike = self._strike
        self.agents = [self._agent(f"host-{number}") for number in range(self.plan.workers)]
        self.run_id = ""
        self.ended = False
        self.migration_id = ""

    def _agent(self, host: str) -> Agent:
        return Agent(self.site, self.world, self.cloud, host, fences_itself=self.plan.fences_itself)

    # ---- the hostile world

    def _befall(self, child: Child) -> None:
        where = (child.assign.instance, child.assign.kind)
        rng = self.world.rng
        if where == self.plan.poison:
            if child.assign.kind != "volumes":
                raise kinds.Refused
            child.refuse_at = self.cloud.disks[-1]
        if where == self.plan.killer:
            self.world.at(rng.uniform(0.0, 2.0), lambda: self._kill(child.agent))
        if rng.random() < 0.03:
            self.world.at(rng.uniform(0.0, 3.0), lambda: self._kill_child(child))
        if rng.random() < 0.03:
            child.freeze(rng.uniform(5.0, 45.0))

    def _strike(self, child: Child) -> bool:
        """In the middle of creating something, where it hurts most."""
        if self.world.rng.random() > 0.2:
            return False
        self.world.count("struck while creating")
        self.world.at(self.world.rng.uniform(0.2, 1.0), lambda: self._blow(child))
        return True

    def _blow(self, child: Child) -> None:
        rng, agent = self.world.rng, child.agent
        if not child.alive:
            return
        blow = rng.choice(("freeze", "freeze child", "kill", "kill child", "cut"))
        if self.plan.cancel_at is not None and rng.random() < 0.5:
            blow = "cancel"
        if blow == "freeze":
            agent.freeze(rng.uniform(10.0, 45.0))
        elif blow == "freeze child":
            child.freeze(rng.uniform(10.0, 45.0))
        elif blow == "kill":
            self._kill(agent)
        elif blow == "kill child":
            self._kill_child(child)
        elif blow == "cut":
            agent.cut_until = self.world.now + rng.uniform(30.0, 45.0)
        else:
            self._cancel(True)

    def _kill_child(self, child: Child) -> None:
        if child.alive and child.agent.children.get(child.key[0]) is child and self.world.now >= child.agent.thaws_at:
            self.world.count("children killed")
            child.died()

    def _kill(self, agent: Agent) -> None:
        if agent.alive:
            self.world.count("workers killed")
            agent.kill()

    def _trouble(self) -> None:
        plan, world, rng = self.plan, self.world, self.world.rng
        for _ in range(plan.kills):
            world.at(rng.uniform(1.0, 100.0), lambda: self._kill(rng.choice(self.agents)))
        for _ in range(plan.freezes):
            world.at(rng.uniform(1.0, 100.0), self._freeze)
        for _ in range(plan.cuts):
            world.at(rng.uniform(1.0, 100.0), self._cut)
        for _ in range(plan.drains):
            world.at(rng.uniform(1.0, 90.0), self._drain)
        if plan.cancel_at is not None:
            at = plan.cancel_at
            world.at(at, lambda: self._cancel(plan.force))
            if not plan.force and rng.random() < 0.3:
                world.at(at + rng.uniform(1.0, 30.0), lambda: self._cancel(True))
        world.at(5.0, self._replace)

    def _freeze(self) -> None:
        """Long enough to lose the lease, often with a creation under way. See ``domain.effects`` for the bound: the
        quarantine has to outlast a freeze and a request."""
        agent = self.world.rng.choice(self.agents)
        if agent.alive:
            self.world.count("workers frozen")
            agent.freeze(self.world.rng.uniform(10.0, 45.0))

    def _cut(self) -> None:
        agent = self.world.rng.choice(self.agents)
        self.world.count("workers cut off")
        agent.cut_until = self.world.now + self.world.rng.uniform(10.0, 45.0)

    def _drain(self) -> None:
        agent = self.world.rng.choice(self.agents)
        if agent.session is not None:
            self.db.write(sessions.drain, agent.session)

    def _replace(self) -> None:
        """Somebody starts a worker where one is gone."""
        for number, agent in enumerate(self.agents):
            if not agent.alive:
                self.agents[number] = self._agent(agent.host)
        self.world.at(self.world.rng.uniform(5.0, 15.0), self._replace)

    def _cancel(self, force: bool) -> None:
        if not self.migration_id:
            return
        try:
            migration_commands.cancel(self.db, CALLER, self.migration_id, force=force)
            self.world.count("cancels")
        except InvalidState:
            pass

    # ---- the run

    def run(self) -> Verdict:
        self.world.at(0.0, self._submit)
        self.world.at(1.0, self._look)
        self._trouble()
        ended = self.world.run(lambda: self.ended, self.horizon)
        seconds = self.world.now
        if not ended:
            self.world.blame(f"does not end: {self._open_tasks()}")
        # From here on the services go on, and zombies may still come back.
        self.world.run(lambda: False, self.world.now + AFTERMATH)
        state = ExecutionState.UNEXECUTED
        if self.run_id:
            run = self.db.read(executions.get, self.run_id)
            state = ExecutionState(run.state)
            self._judge(state)
        self.site.truth.close()
        self.db.dispose()
        return Verdict(self.seed, state, seconds, self.world.violations, self.world.counts)

    def _submit(self) -> None:
        try:
            ends = [
                endpoint_commands.create(
                    self.db,
                    CALLER,
                    NewEndpoint(name=name, type=name, sealed="sealed"),
                    idempotency_key=name,
                    request_hash=name,
                )
                for name in ("left", "right")
            ]
            spec = NewMigration(
                origin=ends[0].id,
                destination=ends[1].id,
                instances=self.plan.instances,
                shutdown_instances=self.plan.shutdown,
                replication_count=self.plan.rounds,
            )
            row = migration_commands.create(self.db, CALLER, spec, idempotency_key="job", request_hash="job")
        except Unavailable:  # no worker yet
            self.world.at(1.0, self._submit)
            return
        self.migration_id = row.id
        self.run_id = self.db.read(executions.latest, [row.id])[row.id].id
        self.db.crash_chance, self.db.twice_chance = 0.01, 0.02

    def _look(self) -> None:
        query = "SELECT state FROM execution WHERE id = ?"
        row = self.site.truth.execute(query, (self.run_id,)).fetchone()
        if row is not None and row[0] in FINAL_EXECUTION_STATES:
            self.ended = True
        else:
            self.world.at(2.0, self._look)

    # ---- the judgement

    def _graph(self, position: int) -> dict[str, Task]:
        key = (self.run_id, position)
        return self.db.read(tasks.of_instances, [key])[key]

    def _open_tasks(self) -> list[str]:
        return [
            f"{task.instance}/{task.name} {task.state}"
            for position in range(len(self.plan.instances))
            for task in self._graph(position).values()
            if task.state not in FINAL_TASK_STATES
        ]

    def _judge(self, state: ExecutionState) -> None:
        rows = self.db.read(executions.instances_of, [self.run_id])[self.run_id]
        for row in rows:
            self._judge_instance(row, self._graph(row.position))
        states = {row.state for row in rows}
        expected = next((s for s in ("ERROR", "CANCELED", "COMPLETED") if s in states), None)
        if state in FINAL_EXECUTION_STATES and state != expected:
            self.world.blame(f"the execution is {state}, its instances are {sorted(states)}")

    def _judge_instance(self, row: ExecutionInstance, graph: dict[str, Task]) -> None:
        name, world = row.instance, self.world
        world.count(f"instances {row.state}")
        if row.state not in FINAL_EXECUTION_STATES:
            return  # endless, which is noted already
        for task in graph.values():
            if task.state not in FINAL_TASK_STATES:
                world.blame(f"{name} is {row.state}, but {task.name} is {task.state}")
            if task.role is not Role.WORK and task.state is TaskState.ERROR:
                world.blame(f"{name}: {task.name} failed: {task.error}")
        sick = {pair[0] for pair in (self.plan.poison, self.plan.killer) if pair}
        unlucky = any(task.lost_sessions >= 3 or task.attempts >= 5 for task in graph.values())
        if row.state == ExecutionState.ERROR and name not in sick and not unlucky:
            world.blame(f"{name} failed, but nothing was wrong with it: {row.message}")
        if row.state == ExecutionState.CANCELED and self.plan.cancel_at is None:
            world.blame(f"{name} is cancelled, but nobody asked for it")
        self._judge_cloud(row)

    def _judge_cloud(self, row: ExecutionInstance) -> None:
        name, world = row.instance, self.world
        left = sorted((thing.kind, thing.on) for thing in self.cloud.things.values() if thing.instance == name)
        ledger = self.db.read(effects.of_instances, [(self.run_id, row.position)])[(self.run_id, row.position)]
        live = [effect for effect in ledger if effect.state is EffectState.LIVE]
        if row.state == ExecutionState.COMPLETED:
            wanted = [("instance", True), *[("volume", False)] * len(self.cloud.disks)]
            if left != wanted:
                world.blame(f"{name} is completed and has {left}")
            if self.cloud.source_on[name] == self.plan.shutdown:
                world.blame(f"{name} is completed and its source is {'on' if self.plan.shutdown else 'off'}")
            return
        if left:
            world.blame(f"{name} is {row.state} and has left behind {left}")
        if live:
            world.blame(f"{name} is {row.state} and its ledger still has {[effect.name for effect in live]}")
        if not self.cloud.source_on[name]:
            world.blame(f"{name} is {row.state} and its source is off")


def run(seed: int, folder: Path, empty: Path, horizon: float = HORIZON) -> Verdict:
    """The verdict on one seed."""
    rng = random.Random(f"uuid {seed}")

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128), version=4)

    with unittest.mock.patch("uuid.uuid4", uuid4):
        return Scenario(seed, folder, empty, horizon).run()
