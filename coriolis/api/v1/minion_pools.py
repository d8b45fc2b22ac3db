# SPDX-License-Identifier: Apache-2.0
"""Minion pools: create, look, update, delete, allocate, refresh, deallocate."""

from __future__ import annotations

from typing import Any

from coriolis.api import environments
from coriolis.api.delegation import leave
from coriolis.api.idempotency import request_hash
from coriolis.api.paging import page
from coriolis.api.request import ApiRequest
from coriolis.api.schemas.minion_pools import FIXED
from coriolis.api.services import Services
from coriolis.api.v1 import runs
from coriolis.api.v1.identifiers import object_id
from coriolis.api.views import minion_pools as view
from coriolis.api.views.masking import restore
from coriolis.commands import minion_pools as commands
from coriolis.domain.errors import CoriolisError, Invalid, Unsupported
from coriolis.rpc.messages import CONDUCTOR
from coriolis.store import endpoints
from coriolis.store import minion_pools as queries
from coriolis.store.minion_rows import MinionPool

Json = Any

_EVENTS_SHOWN = 100
_ACTIONS = {"allocate": commands.allocate, "refresh": commands.refresh}


def index(request: ApiRequest, services: Services) -> Json:
    wanted = page(request.query)
    everywhere = request.query.flag("all_projects")
    if everywhere:
        _require("list_all_projects", request, services)
    with services.db.reader() as conn:
        rows = queries.page(conn, None if everywhere else request.project_id, wanted)
        machines = queries.machines(conn, [row.id for row in rows])
        types = endpoints.find(conn, sorted({row.endpoint_id for row in rows}), None) if rows else {}
    schemas = {row.id: _known_schema(types[row.endpoint_id].type, row.platform, services) for row in rows}
    return {"minion_pools": [view.listed(row, machines[row.id], schemas[row.id]) for row in rows]}


def create(request: ApiRequest, services: Services) -> Json:
    body = request.body["minion_pool"]
    options = _checked(body["environment_options"] or {}, body["endpoint_id"], body["platform"], request, services)
    spec = commands.NewPool(
        name=body["name"],
        endpoint_id=body["endpoint_id"],
        platform=body["platform"],
        os_type=_os_type(body["os_type"], body["platform"]),
        environment_options=options,
        minimum_minions=body.get("minimum_minions") or 1,
        maximum_minions=body.get("maximum_minions"),
        minion_max_idle_time=body.get("minion_max_idle_time") or 1,
        minion_retention_strategy=body.get("minion_retention_strategy") or "delete",
        notes=body.get("notes"),
        skip_allocation=bool(body.get("skip_allocation")),
    )
    with leave(request, services, ends=() if spec.skip_allocation else (spec.endpoint_id,)) as caller:
        row = commands.create(
            services.db,
            caller,
            spec,
            idempotency_key=request.idempotency_key,
            request_hash=request_hash(services.vault, "minion_pools", request.body),
        )
    return _answer(row, services)


def show(request: ApiRequest, services: Services) -> Json:
    return _answer(_find(request, services), services, told=False)


def update(request: ApiRequest, services: Services) -> Json:
    row = _find(request, services)
    body = request.body["minion_pool"]
    for name in FIXED:
        if body.get(name) not in (None, getattr(row, name)):
            where = f"minion_pool.{name}"
            raise Invalid(f"{where}: cannot be changed: make a new minion pool", field=where)
    given = {name: value for name, value in body.items() if value is not None or name == "notes"}
    if "environment_options" in given:
        sent = restore(given["environment_options"], row.environment_options)
        given["environment_options"] = _checked(sent, row.endpoint_id, row.platform, request, services)
    if "os_type" in given:
        _os_type(given["os_type"], row.platform)
    return _answer(commands.update(services.db, request.caller, row.id, given, seen=row), services)


def delete(request: ApiRequest, services: Services) -> None:
    commands.delete(services.db, request.caller, object_id(request, "minion_pool_id", "minion pool"))


def action(request: ApiRequest, services: Services) -> Json:
    """``allocate``, ``refresh`` or ``deallocate``; each has a policy of its own."""
    row = _find(request, services)
    ((name, given),) = request.body.items()
    _require(name, request, services)
    with leave(request, services, ends=(row.endpoint_id,)) as caller:
        if name == "deallocate":
            force = bool((given or {}).get("force"))
            return _answer(commands.deallocate(services.db, caller, row.id, force=force), services)
        return _answer(_ACTIONS[name](services.db, caller, row.id), services)


def use(body: dict[str, Json]) -> commands.Use:
    """The pools that a job's body names; null and nothing mean none."""
    mappings = body.get("instance_osmorphing_minion_pool_mappings") or {}
    return commands.Use(
        origin=body.get("origin_minion_pool_id") or None,
        destination=body.get("destination_minion_pool_id") or None,
        morphing={instance: pool for instance, pool in mappings.items() if pool},
    )


# ---- parts -----------------------------------------------------------------------------------------------------


def _require(verb: str, request: ApiRequest, services: Services) -> None:
    """:raises Forbidden: the policy of this verb refuses it"""
    owner = {"project_id": request.context.project_id, "user_id": request.context.user_id}
    services.authority.require(f"migration:minion_pools:{verb}", request.context, owner)


def _find(request: ApiRequest, services: Services) -> MinionPool:
    key = object_id(request, "minion_pool_id", "minion pool")
    with services.db.reader() as conn:
        return queries.get(conn, key, request.caller.scope)


def _answer(row: MinionPool, services: Services, *, told: bool = True) -> Json:
    if told:
        services.bus.cast(CONDUCTOR, runs.NEWS)
    with services.db.reader() as conn:
        machines = queries.machines(conn, [row.id])[row.id]
        events, first = queries.latest_events(conn, row.id, _EVENTS_SHOWN)
        steps = queries.latest_progress(conn, row.id, _EVENTS_SHOWN)
        endpoint = endpoints.get(conn, row.endpoint_id, None)
    schema = _known_schema(endpoint.type, row.platform, services)
    return {"minion_pool": view.shown(row, machines, events, first, steps, schema)}


def _os_type(os_type: str, platform: str) -> str:
    """:raises Invalid: a source pool of another system than Linux, as the contract has it"""
    if platform == commands.SOURCE and os_type != "linux":
        where = "minion_pool.os_type"
        raise Invalid(f"{where}: minions of a source must be linux", field=where)
    return os_type


def _checked(
    options: dict[str, Json], endpoint_id: str, platform: str, request: ApiRequest, services: Services
) -> dict[str, Json]:
    """:raises Invalid: no such endpoint, or they do not fit the provider's schema. :raises Unsupported: no minions"""
    where = "minion_pool.endpoint_id"
    try:
        with services.db.reader() as conn:
            endpoint = endpoints.get(conn, endpoint_id, request.caller.scope)
    except CoriolisError as error:
        raise Invalid(f"{where}: {error.message}", field=where) from error
    schema = getattr(services.catalogue.schemas(endpoint.type), f"{platform}_minion_pool")
    if schema is None:
        raise Unsupported(f"The provider '{endpoint.type}' makes no minions for a {platform}.", field=where)
    pruned: dict[str, Json] = environments.without_nulls(options)
    environments.check(pruned, schema, endpoint.type, "minion_pool.environment_options")
    return pruned


def _known_schema(platform: str, side: str, services: Services) -> Json:
    """None when no worker can tell it at the moment: then names decide what is masked."""
    try:
        return getattr(services.catalogue.schemas(platform), f"{side}_minion_pool")
    except CoriolisError:
        return None
