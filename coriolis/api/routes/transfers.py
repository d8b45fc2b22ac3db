# SPDX-License-Identifier: Apache-2.0
"""Transfers and their executions."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.routes.older import with_action, with_detail
from coriolis.api.schemas import transfers as schemas
from coriolis.api.schemas.tasks import EVENTS
from coriolis.api.v1 import executions, history, transfers

_FILTERS = (*PAGE, "status", "show_deleted", "include_task_info")

ROUTES: tuple[Route, ...] = (
    *with_detail(
        Route(
            method="GET",
            path="/transfers",
            handler=transfers.index,
            policy="migration:transfers:list",
            summary="List transfers, newest first",
            query=_FILTERS,
            answer=schemas.TRANSFERS,
        )
    ),
    Route(
        method="POST",
        path="/transfers",
        handler=transfers.create,
        policy="migration:transfers:create",
        summary="Create a transfer",
        repeatable=True,
        schema=schemas.CREATE,
        answer=schemas.ONE_TRANSFER,
    ),
    Route(
        method="GET",
        path="/transfers/{transfer_id}",
        handler=transfers.show,
        policy="migration:transfers:show",
        summary="Show a transfer",
        query=("include_task_info",),
        answer=schemas.ONE_TRANSFER,
    ),
    Route(
        method="PUT",
        path="/transfers/{transfer_id}",
        handler=transfers.update,
        policy="migration:transfers:update",
        summary="Update a transfer, by an execution",
        schema=schemas.UPDATE,
        answer=schemas.ONE_EXECUTION,
    ),
    Route(
        method="DELETE",
        path="/transfers/{transfer_id}",
        handler=transfers.delete,
        policy="migration:transfers:delete",
        summary="Delete a transfer that is not running",
        status=204,
        query=("delete_disks",),
    ),
    *with_action(
        Route(
            method="POST",
            path="/transfers/{transfer_id}/actions",
            handler=transfers.action,
            policy="migration:transfers:delete_disks",
            summary="Delete the disks of a transfer, by an execution",
            schema=schemas.TRANSFER_ACTION,
            answer=schemas.ONE_EXECUTION,
        )
    ),
    *with_detail(
        Route(
            method="GET",
            path="/transfers/{transfer_id}/executions",
            handler=executions.index,
            policy="migration:transfer_executions:list",
            summary="List the executions of a transfer, newest first",
            query=(*PAGE, "status"),
            answer=schemas.EXECUTIONS,
        )
    ),
    Route(
        method="POST",
        path="/transfers/{transfer_id}/executions",
        handler=executions.create,
        policy="migration:transfer_executions:create",
        summary="Execute a transfer",
        repeatable=True,
        schema=schemas.EXECUTE,
        answer=schemas.ONE_EXECUTION,
    ),
    Route(
        method="GET",
        path="/transfers/{transfer_id}/executions/{execution_id}",
        handler=executions.show,
        policy="migration:transfer_executions:show",
        summary="Show an execution with its tasks",
        answer=schemas.ONE_EXECUTION,
    ),
    Route(
        method="GET",
        path="/transfers/{transfer_id}/executions/{execution_id}/events",
        handler=executions.events,
        policy="migration:transfer_executions:show",
        summary="List what happened, oldest first; wait for more (since), or get it as it comes (text/event-stream)",
        query=history.QUERY,
        answer=EVENTS,
        produces=history.PRODUCES,
    ),
    Route(
        method="DELETE",
        path="/transfers/{transfer_id}/executions/{execution_id}",
        handler=executions.delete,
        policy="migration:transfer_executions:delete",
        summary="Delete an execution that has ended",
        status=204,
    ),
    *with_action(
        Route(
            method="POST",
            path="/transfers/{transfer_id}/executions/{execution_id}/actions",
            handler=executions.action,
            policy="migration:transfer_executions:cancel",
            summary="Cancel an execution, or retry what it did not complete",
            status=204,
            schema=schemas.EXECUTION_ACTION,
            answer=schemas.ONE_EXECUTION,
        )
    ),
)
