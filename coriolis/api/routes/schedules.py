# SPDX-License-Identifier: Apache-2.0
"""When transfers are executed by themselves."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.paging import PAGE
from coriolis.api.schemas import schedules as schemas
from coriolis.api.v1 import schedules

_ALL = "/transfers/{transfer_id}/schedules"
_ONE = f"{_ALL}/{{schedule_id}}"

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path=_ALL,
        handler=schedules.index,
        policy="migration:transfer_schedules:list",
        summary="List the schedules of a transfer, newest first",
        query=(*PAGE, "show_expired"),
        answer=schemas.SCHEDULES,
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=schedules.create,
        policy="migration:transfer_schedules:create",
        summary="Create a schedule of a transfer; the body has no envelope",
        repeatable=True,
        schema=schemas.CREATE,
        answer=schemas.ONE_SCHEDULE,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=schedules.show,
        policy="migration:transfer_schedules:show",
        summary="Show a schedule of a transfer",
        answer=schemas.ONE_SCHEDULE,
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=schedules.update,
        policy="migration:transfer_schedules:update",
        summary="Update a schedule of a transfer; the body has no envelope",
        schema=schemas.UPDATE,
        answer=schemas.ONE_SCHEDULE,
        fails=(409,),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=schedules.delete,
        policy="migration:transfer_schedules:delete",
        summary="Delete a schedule of a transfer; what it has started goes on",
        status=204,
    ),
)
