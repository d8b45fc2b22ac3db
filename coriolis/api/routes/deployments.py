# SPDX-License-Identifier: Apache-2.0
"""Deployments of transfers."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.routes.older import with_action, with_detail
from coriolis.api.schemas import deployments as schemas
from coriolis.api.schemas.tasks import EVENTS
from coriolis.api.v1 import deployments, history

_FILTERS = (*PAGE, "status", "show_deleted", "include_task_info")

ROUTES: tuple[Route, ...] = (
    *with_detail(
        Route(
            method="GET",
            path="/deployments",
            handler=deployments.index,
            policy="migration:deployments:list",
            summary="List deployments, newest first",
            query=_FILTERS,
            answer=schemas.DEPLOYMENTS,
        )
    ),
    Route(
        method="POST",
        path="/deployments",
        handler=deployments.create,
        policy="migration:deployments:create",
        summary="Deploy the replicas of a transfer, or only tell what that would do",
        query=("dry_run",),
        repeatable=True,
        schema=schemas.CREATE,
        answer=schemas.MADE_OR_REHEARSED,
    ),
    Route(
        method="GET",
        path="/deployments/{deployment_id}",
        handler=deployments.show,
        policy="migration:deployments:show",
        summary="Show a deployment with its tasks",
        query=("include_task_info",),
        answer=schemas.ONE_DEPLOYMENT,
    ),
    Route(
        method="GET",
        path="/deployments/{deployment_id}/events",
        handler=deployments.events,
        policy="migration:deployments:show",
        summary="List what happened, oldest first; wait for more (since), or get it as it comes (text/event-stream)",
        query=history.QUERY,
        answer=EVENTS,
        produces=history.PRODUCES,
    ),
    Route(
        method="DELETE",
        path="/deployments/{deployment_id}",
        handler=deployments.delete,
        policy="migration:deployments:delete",
        summary="Delete a deployment that has ended, or waits",
        status=204,
    ),
    *with_action(
        Route(
            method="POST",
            path="/deployments/{deployment_id}/actions",
            handler=deployments.action,
            policy="migration:deployments:cancel",
            summary="Cancel a deployment, or retry what it did not complete",
            status=204,
            schema=schemas.ACTION,
            answer=schemas.ONE_DEPLOYMENT,
        )
    ),
)
