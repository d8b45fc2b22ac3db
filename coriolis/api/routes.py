# SPDX-License-Identifier: Apache-2.0
"""Every path of the service. Dispatch, policies, metrics and the reference are made from this table.

Paths without a policy are public and whole; the others are below ``/v1/{project_id}`` or, for convenience, below
``/v1`` with the project of the token. A path may end in ``.json``.
"""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.schemas import endpoints as endpoint_schemas
from coriolis.api.schemas import migrations as migration_schemas
from coriolis.api.v1 import (
    endpoints,
    events,
    inventory,
    migrations,
    progress_updates,
    providers,
    tasks,
    versions,
)

_PAGE = ("marker", "limit", "sort_key", "sort_dir")

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/", handler=versions.index, policy=None, summary="List the versions of the API"),
    Route(method="GET", path="/v1", handler=versions.show, policy=None, summary="Show version 1 of the API"),
    # ---- migrations
    Route(
        method="GET",
        path="/migrations",
        handler=migrations.index,
        policy="migration:migrations:list",
        summary="List migrations, newest first",
        query=(*_PAGE, "status"),
    ),
    Route(
        method="GET",
        path="/migrations/detail",
        handler=migrations.index,
        policy="migration:migrations:list",
        summary="List migrations (the same list, for older clients)",
        query=(*_PAGE, "status"),
    ),
    Route(
        method="POST",
        path="/migrations",
        handler=migrations.create,
        policy="migration:migrations:create",
        summary="Create a migration and start it",
        schema=migration_schemas.CREATE,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}",
        handler=migrations.show,
        policy="migration:migrations:show",
        summary="Show a migration with its tasks",
    ),
    Route(
        method="DELETE",
        path="/migrations/{migration_id}",
        handler=migrations.delete,
        policy="migration:migrations:delete",
        summary="Delete a migration that has ended",
        status=204,
    ),
    Route(
        method="POST",
        path="/migrations/{migration_id}/actions",
        handler=migrations.action,
        policy="migration:migrations:cancel",
        summary="Cancel a migration",
        status=204,
        schema=migration_schemas.ACTION,
    ),
    Route(
        method="POST",
        path="/migrations/{migration_id}/action",
        handler=migrations.action,
        policy="migration:migrations:cancel",
        summary="Cancel a migration (the path of the first release)",
        status=204,
        schema=migration_schemas.ACTION,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/tasks",
        handler=tasks.index,
        policy="migration:tasks:list",
        summary="List the tasks of a migration's latest run, in order",
        query=_PAGE,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/tasks/{task_id}",
        handler=tasks.show,
        policy="migration:tasks:show",
        summary="Show a task",
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/tasks/{task_id}/progress_updates",
        handler=progress_updates.index,
        policy="migration:progress_updates:list",
        summary="List how far each item of a task has come",
        query=_PAGE,
    ),
    Route(
        method="GET",
        path="/migrations/{migration_id}/events",
        handler=events.index,
        policy="migration:events:list",
        summary="List what happened, oldest first",
        query=_PAGE,
    ),
    # ---- endpoints
    Route(
        method="GET",
        path="/endpoints",
        handler=endpoints.index,
        policy="migration:endpoints:list",
        summary="List endpoints, newest first",
        query=_PAGE,
    ),
    Route(
        method="POST",
        path="/endpoints",
        handler=endpoints.create,
        policy="migration:endpoints:create",
        summary="Create an endpoint",
        schema=endpoint_schemas.CREATE,
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}",
        handler=endpoints.show,
        policy="migration:endpoints:show",
        summary="Show an endpoint",
    ),
    Route(
        method="PUT",
        path="/endpoints/{endpoint_id}",
        handler=endpoints.update,
        policy="migration:endpoints:update",
        summary="Update an endpoint",
        schema=endpoint_schemas.UPDATE,
    ),
    Route(
        method="DELETE",
        path="/endpoints/{endpoint_id}",
        handler=endpoints.delete,
        policy="migration:endpoints:delete",
        summary="Delete an endpoint that no migration uses",
        status=204,
    ),
    Route(
        method="POST",
        path="/endpoints/{endpoint_id}/actions",
        handler=endpoints.action,
        policy="migration:endpoints:validate_connection",
        summary="Check that an endpoint can be reached with its credentials",
        schema=endpoint_schemas.ACTION,
    ),
    # ---- what is on an endpoint
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/instances",
        handler=inventory.list_instances,
        policy="migration:endpoints:list_instances",
        summary="List the instances of an endpoint",
        query=("marker", "limit", "name", "env", "refresh"),
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/instances/{instance}",
        handler=inventory.get_instance,
        policy="migration:endpoints:get_instance",
        summary="Show an instance; its name or id is URL-safe base64 in the path",
        query=("env",),
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/networks",
        handler=inventory.list_networks,
        policy="migration:endpoints:list_networks",
        summary="List the networks of an endpoint",
        query=("env",),
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/storage",
        handler=inventory.list_storage,
        policy="migration:endpoints:list_storage",
        summary="List the storage of an endpoint",
        query=("env",),
    ),
    # ---- providers
    Route(
        method="GET",
        path="/providers",
        handler=providers.index,
        policy="migration:providers:list",
        summary="List the platforms that live workers serve",
    ),
    Route(
        method="GET",
        path="/providers/{platform}/schemas/{type}",
        handler=providers.schemas,
        policy="migration:providers:show_schemas",
        summary="Show a JSON schema of a provider",
    ),
)
