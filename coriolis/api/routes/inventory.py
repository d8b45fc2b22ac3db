# SPDX-License-Identifier: Apache-2.0
"""What is on an endpoint."""

from __future__ import annotations

from coriolis.api.dispatch import Route
from coriolis.api.schemas import inventory as schemas
from coriolis.api.v1 import inventory

ASKING_A_WORKER = (405, 409, 502)  # the provider lacks the part, the name is not unique, the provider broke

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/instances",
        handler=inventory.list_instances,
        policy="migration:endpoints:list_instances",
        summary="List the instances of an endpoint",
        query=("marker", "limit", "name", "env", "refresh"),
        answer=schemas.INSTANCES,
        fails=ASKING_A_WORKER,
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/instances/{instance}",
        handler=inventory.get_instance,
        policy="migration:endpoints:get_instance",
        summary="Show an instance; its name or id is URL-safe base64 in the path",
        query=("env",),
        answer=schemas.ONE_INSTANCE,
        fails=ASKING_A_WORKER,
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/inventory",
        handler=inventory.export,
        policy="migration:endpoints:export_inventory",
        summary="Export the instances of an endpoint as CSV",
        query=("env",),
        answer=schemas.CSV_TEXT,
        fails=ASKING_A_WORKER,
        produces=("application/json", inventory.CSV),
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/networks",
        handler=inventory.list_networks,
        policy="migration:endpoints:list_networks",
        summary="List the networks of an endpoint",
        query=("env",),
        answer=schemas.NETWORKS,
        fails=ASKING_A_WORKER,
    ),
    Route(
        method="GET",
        path="/endpoints/{endpoint_id}/storage",
        handler=inventory.list_storage,
        policy="migration:endpoints:list_storage",
        summary="List the storage of an endpoint",
        query=("env",),
        answer=schemas.ONE_STORAGE,
        fails=ASKING_A_WORKER,
    ),
    *(
        Route(
            method="GET",
            path=f"/endpoints/{{endpoint_id}}/{of}-options",
            handler=handler,
            policy=f"migration:endpoints:list_{of.replace('-', '_')}_options",
            summary=f"List the values that {words} of an endpoint can have",
            query=("env", "options"),
            answer=answer,
            fails=ASKING_A_WORKER,
        )
        for of, handler, answer, words in (
            ("source", inventory.source_options, schemas.SOURCE_OPTIONS, "source options"),
            (
                "destination",
                inventory.destination_options,
                schemas.DESTINATION_OPTIONS,
                "destination options",
            ),
            (
                "source-minion-pool",
                inventory.source_minion_pool_options,
                schemas.SOURCE_MINION_POOL_OPTIONS,
                "options of source minion pools",
            ),
            (
                "destination-minion-pool",
                inventory.destination_minion_pool_options,
                schemas.DESTINATION_MINION_POOL_OPTIONS,
                "options of destination minion pools",
            ),
        )
    ),
)
