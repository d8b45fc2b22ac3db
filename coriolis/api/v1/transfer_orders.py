# SPDX-License-Identifier: Apache-2.0
"""From the bodies about transfers to checked wishes."""

from __future__ import annotations

import dataclasses
from typing import Any

from coriolis.api import environments, validation
from coriolis.api.request import ApiRequest
from coriolis.api.schemas.migrations import STORAGE_MAPPINGS
from coriolis.api.schemas.transfers import FIXED
from coriolis.api.schemas.user_scripts import normalise
from coriolis.api.services import Services
from coriolis.api.v1 import endpoints, minion_pools
from coriolis.commands.transfers import CHANGEABLE, REPLICA, NewTransfer
from coriolis.domain.errors import Invalid
from coriolis.domain.mappings import SHALLOW, merged
from coriolis.store.rows import Action, Endpoint

Json = Any

_STORAGE_MAPPINGS = validation.compile_schema(STORAGE_MAPPINGS)
_INNER = ("network_map", "storage_mappings")  # an answer shows them inside the destination environment, too


def new(request: ApiRequest, services: Services) -> NewTransfer:
    """:raises Invalid: names the field and the cure. :raises Unavailable: no worker can tell the schemas"""
    transfer = request.body["transfer"]
    body = given(transfer)
    origin, destination = (
        endpoints.named(transfer, side, "transfer", request, services) for side in ("origin", "destination")
    )
    _check_different(origin, destination, services)
    check_environments(body, origin, destination, services)
    return NewTransfer(
        origin=origin.id,
        destination=destination.id,
        instances=tuple(transfer["instances"]),
        scenario=transfer.get("scenario") or REPLICA,
        source_environment=body.get("source_environment") or {},
        destination_environment=body.get("destination_environment") or {},
        network_map=body.get("network_map") or {},
        storage_mappings=body.get("storage_mappings") or {},
        user_scripts=normalise(transfer.get("user_scripts"), "transfer.user_scripts"),
        notes=body.get("notes"),
        clone_disks=body.get("clone_disks", True),
        skip_os_morphing=body.get("skip_os_morphing", False),
        minions=minion_pools.use(transfer),
    )


def changes(request: ApiRequest, stored: Action, ends: tuple[Endpoint, Endpoint], services: Services) -> Json:
    """The fields that an update names, checked as they will be once they are merged.

    :raises Invalid: a field that cannot be changed, or a value that does not fit
    """
    transfer: dict[str, Json] = request.body["transfer"]
    for name in FIXED:
        if name in transfer:
            raise Invalid(f"transfer.{name}: cannot be changed: make a new transfer", field=f"transfer.{name}")
    wanted = given(transfer)
    if "user_scripts" in wanted:
        wanted["user_scripts"] = _changed_scripts(wanted["user_scripts"])
    whole = {**dataclasses.asdict(stored), **merged(dataclasses.asdict(stored), wanted)}
    check_environments(whole, *ends, services)
    return wanted


def given(body: dict[str, Json]) -> dict[str, Json]:
    """The options that a body names, without nulls (which mean "not said"; of notes: none).

    :raises Invalid: a map of a wrong form
    """
    found = {name: value for name, value in body.items() if name in CHANGEABLE and value is not None}
    if "notes" in body:
        found["notes"] = body["notes"]
    for name in SHALLOW:
        if name in found:
            found[name] = environments.without_nulls(found[name])
    environment = found.get("destination_environment", {})
    for name in _INNER:
        inner = environment.pop(name, None)
        if inner is not None and not isinstance(inner, dict):
            where = f"transfer.destination_environment.{name}"
            raise Invalid(f"{where}: must be an object", field=where)
        if inner:
            found[name] = {**inner, **found.get(name, {})}
    if "storage_mappings" in found:
        found["storage_mappings"] = environments.without_nulls(found["storage_mappings"])
        validation.check(_STORAGE_MAPPINGS, found["storage_mappings"], "transfer.storage_mappings")
    return found


def check_environments(body: dict[str, Json], origin: Endpoint, destination: Endpoint, services: Services) -> None:
    """:raises Invalid: an environment does not fit its provider's schema"""
    for row, side, name in (
        (origin, "source", "source_environment"),
        (destination, "destination", "destination_environment"),
    ):
        schema = getattr(services.catalogue.schemas(row.type), side)
        environments.check(body.get(name) or {}, schema, row.type, f"transfer.{name}")


def _changed_scripts(scripts: dict[str, Json]) -> dict[str, Json]:
    """The list form; what is null or empty removes what is stored."""
    listed = normalise(scripts, "transfer.user_scripts")
    return {
        group: {name: listed[group].get(name) for name in scripts.get(group) or {}} for group in ("global", "instances")
    }


def _check_different(origin: Endpoint, destination: Endpoint, services: Services) -> None:
    """:raises Invalid: two endpoints that are one account"""
    if origin.id == destination.id or origin.type != destination.type or not (origin.sealed and destination.sealed):
        return  # the command refuses the same id, and the same reference
    if services.vault.unseal(origin.sealed) == services.vault.unseal(destination.sealed):
        where = "transfer.destination_endpoint_id"
        raise Invalid(f"{where}: both endpoints have the same connection info: choose another one", field=where)
