# SPDX-License-Identifier: Apache-2.0
"""Limits of the bytes that copies move."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.schemas import bandwidth_budgets as schemas
from coriolis.api.v1 import bandwidth_budgets

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/bandwidth_budgets",
        handler=bandwidth_budgets.index,
        policy="migration:bandwidth_budgets:list",
        summary="List bandwidth budgets, newest first",
        query=PAGE,
        answer=schemas.BUDGETS,
    ),
    Route(
        method="POST",
        path="/bandwidth_budgets",
        handler=bandwidth_budgets.create,
        policy="migration:bandwidth_budgets:create",
        summary="Create a bandwidth budget",
        schema=schemas.CREATE,
        answer=schemas.ONE_BUDGET,
    ),
    Route(
        method="GET",
        path="/bandwidth_budgets/{bandwidth_budget_id}",
        handler=bandwidth_budgets.show,
        policy="migration:bandwidth_budgets:show",
        summary="Show a bandwidth budget and what uses it now",
        answer=schemas.ONE_BUDGET,
    ),
    Route(
        method="PUT",
        path="/bandwidth_budgets/{bandwidth_budget_id}",
        handler=bandwidth_budgets.update,
        policy="migration:bandwidth_budgets:update",
        summary="Update a bandwidth budget; running copies feel it within five seconds",
        schema=schemas.UPDATE,
        answer=schemas.ONE_BUDGET,
    ),
    Route(
        method="DELETE",
        path="/bandwidth_budgets/{bandwidth_budget_id}",
        handler=bandwidth_budgets.delete,
        policy="migration:bandwidth_budgets:delete",
        summary="Delete a bandwidth budget",
        status=204,
    ),
)
