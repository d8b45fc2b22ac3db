# SPDX-License-Identifier: Apache-2.0
"""From the body of a create to a checked order, whichever of the two forms it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coriolis.api import environments, validation
from coriolis.api.request import ApiRequest
from coriolis.api.schemas.migrations import OF_A_REPLICA, STORAGE_MAPPINGS
from coriolis.api.schemas.user_scripts import normalise
from coriolis.api.services import Services
from coriolis.api.v1 import endpoints, minion_pools
from coriolis.api.v1.accounts import seal
from coriolis.commands.endpoints import NewEndpoint
from coriolis.commands.migrations import NewMigration
from coriolis.domain.errors import Invalid

Json = Any

_ROUNDS = 2
_STORAGE_MAPPINGS = validation.compile_schema(STORAGE_MAPPINGS)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One end of the migration, in either form."""

    platform: str
    account: str | NewEndpoint
    environment: dict[str, Json]
    environment_field: str


def read(request: ApiRequest, services: Services) -> NewMigration:
    """:raises Invalid: names the field and the cure. :raises Unavailable: no worker can tell the schemas"""
    body: dict[str, Json] = request.body["migration"]
    _refuse_what_is_of_a_replica(body)
    if "origin" in body:
        origin = _inline(body, "origin", "source_environment", services)
        destination = _inline(body, "destination", "target_environment", services)
    else:
        origin = _by_id(body, "origin", "source_environment", request, services)
        destination = _by_id(body, "destination", "destination_environment", request, services)
    environment = dict(destination.environment)
    # The first release had both maps inside the target environment.
    network_map = _merged("network_map", environment, body, destination.environment_field)
    storage_mappings = _merged("storage_mappings", environment, body, destination.environment_field)
    validation.check(_STORAGE_MAPPINGS, storage_mappings, "migration.storage_mappings")
    for end, part, given in ((origin, "source", origin.environment), (destination, "destination", environment)):
        schema = getattr(services.catalogue.schemas(end.platform), part)
        environments.check(given, schema, end.platform, end.environment_field)
    return NewMigration(
        origin=origin.account,
        destination=destination.account,
        instances=tuple(body["instances"]),
        source_environment=origin.environment,
        destination_environment=environment,
        network_map=network_map,
        storage_mappings=storage_mappings,
        user_scripts=normalise(body.get("user_scripts"), "migration.user_scripts"),
        notes=body.get("notes"),
        shutdown_instances=bool(body.get("shutdown_instances")),
        replication_count=body.get("replication_count") or _ROUNDS,
        skip_os_morphing=bool(body.get("skip_os_morphing")),
        minions=minion_pools.use(body),
    )


def _refuse_what_is_of_a_replica(body: dict[str, Json]) -> None:
    for name, why in OF_A_REPLICA.items():
        if body.get(name):
            raise Invalid(f"migration.{name}: {why}: leave it out", field=f"migration.{name}")


def _by_id(body: dict[str, Json], side: str, field: str, request: ApiRequest, services: Services) -> _Side:
    row = endpoints.named(body, side, "migration", request, services)
    return _Side(
        platform=row.type,
        account=row.id,
        environment=environments.without_nulls(body.get(field) or {}),
        environment_field=f"migration.{field}",
    )


def _inline(body: dict[str, Json], side: str, field: str, services: Services) -> _Side:
    given, where = body[side], f"migration.{side}"
    platform = given["type"]
    services.catalogue.require(platform, f"{where}.type")
    info = given.get("connection_info")
    if given.get("secret_ref") is not None:
        if info:
            raise Invalid(f"{where}: give either connection_info or secret_ref, not both", field=where)
        info = {"secret_ref": given["secret_ref"]}
    if info is None:
        raise Invalid(f"{where}.connection_info: is required (or secret_ref)", field=f"{where}.connection_info")
    schema = services.catalogue.schemas(platform, f"{where}.type").connection
    if schema is not None:
        validation.check_provider_data(schema, info, f"{where}.connection_info")
    kept = seal(services.vault, info, f"{where}.connection_info")
    outer = "source_environment" if side == "origin" else "destination_environment"
    inner, general = given.get(field) or {}, body.get(outer) or {}
    return _Side(
        platform=platform,
        account=NewEndpoint(
            name=f"{platform} (of one migration)",
            type=platform,
            sealed=kept.sealed,
            secret_ref=kept.secret_ref,
        ),
        environment=environments.without_nulls({**general, **inner}),
        environment_field=f"{where}.{field}" if inner else f"migration.{outer}",
    )


def _merged(name: str, environment: dict[str, Json], body: dict[str, Json], field: str) -> dict[str, Json]:
    """The map of the body, or the one inside the environment, which is taken out of it."""
    inner = environment.pop(name, None) or {}
    if not isinstance(inner, dict):
        raise Invalid(f"{field}.{name}: must be an object", field=f"{field}.{name}")
    return {**inner, **environments.without_nulls(body.get(name) or {})}
