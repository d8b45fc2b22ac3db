# SPDX-License-Identifier: Apache-2.0
"""Minion pools."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.routes.older import with_action
from coriolis.api.schemas import minion_pools as schemas
from coriolis.api.v1 import minion_pools

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/minion_pools",
        handler=minion_pools.index,
        policy="migration:minion_pools:list",
        action_policies=("migration:minion_pools:list_all_projects",),
        summary="List minion pools, newest first",
        query=(*PAGE, "all_projects"),
        answer=schemas.POOLS,
    ),
    Route(
        method="POST",
        path="/minion_pools",
        handler=minion_pools.create,
        policy="migration:minion_pools:create",
        summary="Create a minion pool and, unless told otherwise, its machines",
        repeatable=True,
        schema=schemas.CREATE,
        answer=schemas.ONE_POOL,
    ),
    Route(
        method="GET",
        path="/minion_pools/{minion_pool_id}",
        handler=minion_pools.show,
        policy="migration:minion_pools:show",
        summary="Show a minion pool with its machines and latest events",
        answer=schemas.ONE_POOL,
    ),
    Route(
        method="PUT",
        path="/minion_pools/{minion_pool_id}",
        handler=minion_pools.update,
        policy="migration:minion_pools:update",
        summary="Update a minion pool that has no machines",
        schema=schemas.UPDATE,
        answer=schemas.ONE_POOL,
    ),
    Route(
        method="DELETE",
        path="/minion_pools/{minion_pool_id}",
        handler=minion_pools.delete,
        policy="migration:minion_pools:delete",
        summary="Delete a minion pool that has no machines",
        status=204,
    ),
    *with_action(
        Route(
            method="POST",
            path="/minion_pools/{minion_pool_id}/actions",
            handler=minion_pools.action,
            policy="migration:minion_pools:show",
            action_policies=tuple(f"migration:minion_pools:{name}" for name in ("allocate", "refresh", "deallocate")),
            summary="Allocate, refresh or deallocate a minion pool",
            schema=schemas.ACTION,
            answer=schemas.ONE_POOL,
        )
    ),
)
