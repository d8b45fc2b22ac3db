# SPDX-License-Identifier: Apache-2.0
"""Puts a compiled graph, progress and events below a migration, as a conductor does."""

from __future__ import annotations

from coriolis.domain.capabilities import Capability
from coriolis.domain.compile import Options, Platform, compile_instance
from coriolis.domain.recipes.migrate import choose
from coriolis.store import actions, events, executions, progress, tasks
from coriolis.store.engine import Database


def grow(db: Database, migration_id: str, *, events_each: int = 2, items_each: int = 2) -> str:
    """Compile every instance, and give each task some history. Gives the id of the execution."""
    with db.writer() as conn:
        row = actions.get(conn, migration_id, None)
        run = executions.latest(conn, [migration_id])[migration_id]
        source, destination = (
            Platform(words[0], frozenset(map(Capability, words[1:])))
            for words in (run.capabilities["source"], run.capabilities["destination"])
        )
        made = [
            task
            for instance in row.instances
            for task in compile_instance(
                choose(source, destination),
                execution_id=run.id,
                instance=instance,
                source=source,
                destination=destination,
                options=Options(rounds=row.replication_count, shutdown=row.shutdown_instances),
            )
        ]
        positions = {(run.id, instance): place for place, instance in enumerate(row.instances)}
        tasks.insert(conn, made, positions, {run.id: ()}, db.utcnow())
        report = [
            progress.Report(item=f"item-{n}", done=n, total=items_each, message=f"Step {n}") for n in range(items_each)
        ]
        progress.store(conn, {task.id: report for task in made}, db.utcnow())
        for task in made:
            new = [
                events.NewEvent(execution_id=run.id, level="INFO", message=f"Event {n}", task_id=task.id)
                for n in range(events_each)
            ]
            events.append(conn, new, db.utcnow())
    return run.id


def finish(db: Database, migration_id: str, status: str) -> None:
    """Set the final state on the migration and its run."""
    with db.writer() as conn:
        run = executions.latest(conn, [migration_id])[migration_id]
        now = db.utcnow()
        executions.update(conn, [{"b_id": run.id, "state": status, "finished_at": now, "updated_at": now}])
        actions.update(conn, [{"b_id": migration_id, "last_execution_status": status, "updated_at": now}])
