# SPDX-License-Identifier: Apache-2.0
"""Migrations, their tasks and their history."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.routes.older import with_action, with_detail
from coriolis.api.schemas import migrations as schemas
from coriolis.api.schemas import tasks as task_schemas
from coriolis.api.v1 import events, history, migrations, progress_updates, tasks

ROUTES: tuple[Route, ...] = (
    *with_detail(
        Route(
            method="GET",
            path="/migrations",
            handler=migrations.index,
            policy="migration:migrations:list",
            summary="List migrations, newest first",
            query=(*PAGE, "status"),
            answer=schemas.MIGRATIONS,
        )
    ),
    Route(
        method="POST",
        path="/migrations",
        handler=migrations.create,
        policy="migration:migrations:create",
        summary="Create a migration and start it, or only tell what it would do",
        query=("dry_run",),
        repeatable=True,
        schema=schemas.CREATE,
        answer=schemas.MADE_OR_REHEARSED,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}",
        handler=migrations.show,
        policy="migration:migrations:show",
        summary="Show a migration with its tasks",
        answer=schemas.ONE_MIGRATION,
    ),
    Route(
        method="DELETE",
        path="/migrations/{migration_id}",
        handler=migrations.delete,
        policy="migration:migrations:delete",
        summary="Delete a migration that has ended",
        status=204,
    ),
    *with_action(
        Route(
            method="POST",
            path="/migrations/{migration_id}/actions",
            handler=migrations.action,
            policy="migration:migrations:cancel",
            summary="Cancel a migration, or retry what it did not complete",
            status=204,
            schema=schemas.ACTION,
            answer=schemas.ONE_MIGRATION,
        )
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/tasks",
        handler=tasks.index,
        policy="migration:tasks:list",
        summary="List the tasks of a migration's latest run, in order",
        query=PAGE,
        answer=task_schemas.TASKS,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/tasks/{task_id}",
        handler=tasks.show,
        policy="migration:tasks:show",
        summary="Show a task",
        answer=task_schemas.ONE_TASK,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/tasks/{task_id}/progress_updates",
        handler=progress_updates.index,
        policy="migration:progress_updates:list",
        summary="List how far each item of a task has come",
        query=PAGE,
        answer=task_schemas.PROGRESS_UPDATES,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/events",
        handler=events.index,
        policy="migration:events:list",
        summary="List what happened, oldest first; wait for more (since), or get it as it comes (text/event-stream)",
        query=history.QUERY,
        answer=task_schemas.EVENTS,
        produces=history.PRODUCES,
    ),
)
